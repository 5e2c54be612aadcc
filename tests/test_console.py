"""What people see holds no control characters, whatever files and classes are called."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console as RichConsole

import resnets
from resnets.console import Console
from resnets.errors import Interrupted
from resnets.weights import model_file

Run = Callable[..., tuple[int, str, str]]
EVIL = "a\x1b[2J\x1b]0;owned\x07\nzz\r\x9bc"
SHOWN = r"a\x1b[2J\x1b]0;owned\x07\x0azz\x0d\x9bc"
RAW = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f]|^zz", re.MULTILINE)
"""Control characters but for tabs and newlines, and what follows the newline of the name."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return photos whose class, files and folder have such names; one of them is broken."""
    rng, root = np.random.default_rng(0), tmp_path / f"photos {EVIL}"
    for label, base in ((EVIL, 0), ("light", 150)):
        (root / label).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(base, base + 100, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{i}{EVIL}.png")
    (root / "light" / f"broken{EVIL}.png").write_bytes(b"no photo")
    return root


def test_no_verb_shows_them(run: Run, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / f"run {EVIL}"
    model, more = out / "best.safetensors", tmp_path / f"more{EVIL}"
    train = ["--model", "resnet20", "--size", "16", "--epochs", "1", "--workers", "0"]
    broken = photos / "light" / f"broken{EVIL}.png"
    commands: list[tuple[int, list[object]]] = [
        (0, ["train", photos, *train, "--out", out]),
        (2, ["train", photos, *train, "--out", out]),
        (0, ["evaluate", model, photos, "--split", "all", "--out", f"{more}.parquet"]),
        (0, ["evaluate", model, photos, "--against", model]),
        (2, ["evaluate", model, more]),
        (0, ["predict", model, photos]),
        (2, ["predict", model, broken]),
        (0, ["describe", model]),
        (2, ["describe", f"{more}.safetensors"]),
        (1, ["check", photos]),
        (2, ["train", photos, "--stem", EVIL]),
        (2, [EVIL]),
    ]
    for status, command in commands:
        found, printed, said = run(*command)
        assert found == status, said
        for text in (printed, said):
            assert not RAW.search(text), (command, text)
        assert r"\x1b[2J" in printed + said, command
    assert model_file.load(model).classes == (EVIL, "light")  # which has it as it is


def test_explain_shows_none(run: Run, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("captum")
    saved = model_file.Model(
        spec=(net := resnets.create_model("resnet20", num_classes=2)).spec,
        classes=(EVIL, "light"),
        preprocess=resnets.data.preprocess.Preprocess.for_photos(16, 16),
        weights=net.state_dict(),
    )
    model_file.save(saved, tmp_path / "m.safetensors")
    out = ["--out", tmp_path / f"{EVIL}.html", "--test", "none"]
    _, printed, said = run("explain", tmp_path / "m.safetensors", photos / "light", *out)
    assert r"broken" + SHOWN in printed
    assert f"wrote    {tmp_path}/{SHOWN}.html" in said
    assert not RAW.search(printed)
    assert not RAW.search(said)


def test_a_traceback_shows_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNETS_DEBUG", "1")  # as --debug does, for good
    _, _, said = run("train", EVIL)
    assert "Traceback" in said
    assert f"resnets: error: {SHOWN}" in said
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f]", said)


def test_lines_warnings_and_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    console, screen = Console(), io.StringIO()
    terminal = RichConsole(file=screen, force_terminal=True, width=200, color_system=None)
    monkeypatch.setattr(console, "_rich", terminal)
    console.say(EVIL)
    console.warn(EVIL)
    assert screen.getvalue().splitlines() == [SHOWN, f"warning: {SHOWN}"]
    with console.track(f"Evaluating {EVIL} [bold]", 2) as advance:
        advance(1)
    shown = screen.getvalue()
    assert f"Evaluating {SHOWN} [bold]" in shown
    assert "owned\x07" not in shown  # the bar has control characters of its own
    assert "\x1b[2J" not in shown


def test_an_interrupted_run_shows_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Interrupted(f"stopped; continue with: resnets resume {EVIL}")

    monkeypatch.setattr("resnets.experiment.train", stop)
    status, printed, _ = run("train", "sign-digits")
    assert (status, printed) == (130, f"stopped; continue with: resnets resume {SHOWN}\n")
