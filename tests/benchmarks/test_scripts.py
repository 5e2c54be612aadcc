"""Every script of `benchmarks/` starts, and what its tables hold fits the product."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import ablation
import growth
import pytest
import steps
from side_by_side import watch
from trainings import Book

from resnets.errors import UserError
from resnets.training.recipe import override
from resnets.training.recipes import get_recipe
from resnets.zoo import get_spec

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py") if "parse_args" in path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_help(script: str) -> None:
    command = [sys.executable, f"benchmarks/{script}", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


@pytest.mark.parametrize("row", steps.ROWS.values(), ids=list(steps.ROWS))
def test_a_peer_steps_on_the_same_network(row: steps.Row) -> None:
    spec = get_spec(row.model).replace(num_classes=row.classes)
    peer = steps.peer_net(row)
    assert sum(p.numel() for p in peer.parameters()) == spec.params()


@pytest.mark.parametrize("contender", ["peer", "ours"])
def test_a_contender_steps(contender: str) -> None:
    row = steps.Row("resnet8", 32, 4, 10, "ours")
    build = {
        "peer": partial(steps.peer_step, row, steps.ByHand()),
        "ours": partial(steps.our_step, row),
    }
    assert steps.time_steps(build[contender], row.batch, 0)["images/s"] > 0


def test_lines_of_the_ablation_change_the_recipe_or_say_that_they_do_not() -> None:
    base = get_recipe("tiny-photos")
    for name, fields in ablation.LINES.items():
        values = ablation.changes("tiny-photos", fields)
        assert (override(base, values) == base) == (not values), name
    assert ablation.changes("tiny-photos", ("ema=0.998",)) == {}
    half = ablation.changes("tiny-photos", ("batch_size=½", "lr=½"))
    assert half == {"batch_size": "32", "lr": "0.05"}
    with pytest.raises(UserError, match="no field"):
        ablation.changes("tiny-photos", ("emma=0",))


def test_a_book_trains_only_what_it_does_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, int]] = []

    def train(data: str, arguments: list[str], seed: int) -> dict[str, float]:
        trained.append((" ".join(arguments), seed))
        return {"seed": seed, "top1": 0.5 + seed / 10, "seconds": 60.0}

    monkeypatch.setattr("trainings.train", train)
    Book(tmp_path, "somewhere/cifar10", True).fill("a", ["--epochs", "1"], [0])
    book = Book(tmp_path, "elsewhere/cifar10", True)
    line = book.fill("a", ["--epochs", "1"], [0, 1])
    assert trained == [("--epochs 1", 0), ("--epochs 1", 1)]
    assert line["top1"]["mean"] == 0.55
    book.fill("a", ["--epochs", "2"], [0])  # another line by the same name
    assert trained[2:] == [("--epochs 2", 0)]
    assert not Book(tmp_path, "other", True).lines  # other data
    assert not Book(tmp_path, "cifar10", False).lines  # anew


def test_a_socket_is_noticed() -> None:
    command = [sys.executable, "-c", growth.LISTENER, "-c"]
    watch([*command, "import json"])
    with pytest.raises(RuntimeError, match=r"a socket: socket\.__new__"):
        watch([*command, "import socket; socket.socket()"])
