"""Full disks, truncated files, flipped bits and NaNs: the last good state survives, and is used.

    python benchmarks/faults.py --json benchmarks/results/kill/faults.json

A small training is run once. Then, many times each:

- a write fails (`RLIMIT_FSIZE` at a random size), in a save and in whole commands: the error is one
  line with status 2, the generation before it verifies, the best weights are a whole file, the old
  or the new, and a resume comes to the same bits;
- a file of the newest checkpoint, or a model file, is truncated or has one bit flipped: the damaged
  one is reported and the generation before it is loaded; a damaged model file is refused; and a
  resume comes to the same bits;
- a NaN or infinity in the loss, a gradient, a weight or the average: the run ends with status 2 and
  one line, its files are finite, and a resume comes to the same bits as a run that had none.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from kill import ENVIRONMENT, Series, differences, finish, hashes, make_data, start
from sabotage import NONSENSE
from side_by_side import machine
from torch import Tensor

from resnets.errors import UserError
from resnets.training import checkpoint
from resnets.training.saver import Every, Saver
from resnets.weights import model_file

FILES = (checkpoint.TENSORS, checkpoint.STATE, checkpoint.MANIFEST)


class Keeper:
    """Keeps model files as a run does."""

    def __init__(self, run: Path) -> None:
        self.run, self.model = run, model_file.load(run / "best.safetensors")

    def keep(self, name: str, weights: Mapping[str, Tensor], row: Mapping[str, float]) -> None:
        model_file.save(self.model, self.run / f"{name}.safetensors")

    def history(self, rows: list[dict[str, float]]) -> None:
        pass


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def fail_a_write(run: Path, rng: random.Random) -> str:
    """Write on a full disk; return what is wrong afterwards, or nothing."""
    before = checkpoint.load_newest(run / "checkpoints", print)
    assert before is not None
    tensors, values = before
    saver = Saver(run / "checkpoints", Keeper(run), Every())
    saver.hold_best(tensors, {})
    largest = max(path.stat().st_size for path in run.rglob("*.safetensors"))
    with full_disk(rng.randrange(largest)):
        try:
            saver.save(lambda: (tensors, {**values, "new": True}), (tensors, {}))
            return "nothing was reported"
        except UserError as error:
            if len(str(error).splitlines()) != 1:
                return f"not one line: {error}"
    after = checkpoint.load_newest(run / "checkpoints", print)
    if after is None or after[1] != values or not same(after[0], tensors):
        return "the generation before it is not the one that loads"
    model_file.load(run / "best.safetensors")
    rubbish = [path.name for path in run.rglob(".*") if path.name != ".lock"]
    return f"left behind: {rubbish}" if rubbish else ""


def damage(path: Path, rng: random.Random, truncate: bool) -> None:
    content = bytearray(path.read_bytes())
    if truncate:
        content = content[: rng.randrange(len(content))]
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def damage_a_file(run: Path, rng: random.Random, truncate: bool) -> str:
    """Damage one file; return what is wrong with how that is met, or nothing."""
    name = rng.choice([*FILES, "best.safetensors"])
    if name not in FILES:
        damage(run / name, rng, truncate)
        try:
            model_file.load(run / name)
            return "a damaged model file was loaded"
        except UserError as error:
            return "" if len(str(error).splitlines()) == 1 else f"not one line: {error}"
    older, newer = checkpoint.generations(run / "checkpoints")
    expected = json.loads((older / checkpoint.STATE).read_text())
    damage(newer / name, rng, truncate)
    warnings: list[str] = []
    loaded = checkpoint.load_newest(run / "checkpoints", warnings.append)
    if loaded is None or loaded[1] != expected:
        return f"{name}: not the generation before it"
    return "" if len(warnings) == 1 and newer.name in warnings[0] else f"{name}: not reported"


def fail_a_command(series: Series, name: str, rng: random.Random, expected: dict[str, str]) -> str:
    """Train on a disk that is full after some bytes of a file; return what is wrong, or nothing."""
    limit = rng.randrange(2_000, 1_250_000)  # a checkpoint has more

    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    run = series.folder / name
    arguments = series.train(name, ["--speed", "exact"])
    command = [sys.executable, "-m", "resnets", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, preexec_fn=full)
    lines = [line for line in done.stderr.splitlines() if line.startswith("resnets: error: cannot")]
    if done.returncode != 2 or len(lines) != 1:
        return f"{limit} bytes: status {done.returncode}, {done.stderr[-300:]}"
    finish(series.resume(name, 1) if (run / "config.yaml").exists() else arguments)
    return ", ".join(differences(hashes(run), expected))


def damage_and_resume(
    series: Series, run: Path, rng: random.Random, expected: dict[str, str]
) -> str:
    """Damage a file of a run and resume it; return what is wrong then, or nothing."""
    name = rng.choice([*FILES, "best.safetensors"])
    newest = checkpoint.generations(run / "checkpoints")[-1]
    damage(newest / name if name in FILES else run / name, rng, rng.random() < 0.5)
    finish(series.resume(run.name, 1))
    return ", ".join(differences(hashes(run), expected))


def same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], value) for name, value in expected.items()
    )


def skip_nonsense(series: Series, name: str, plan: str) -> str:
    """Train over nonsense that is skipped; return what is wrong with how it ends, or nothing."""
    process = start([*series.train(name, ["--speed", "exact"]), "--on-nan", "skip"], plan)
    _, error = process.communicate()
    said = error.decode()
    return "" if process.returncode == 0 and said.count("skipped") == 1 else said[-300:]


def spoil_a_run(series: Series, name: str, plan: str, expected: dict[str, str]) -> str:
    """Train with nonsense in one step; return what is wrong with how it ends, or nothing."""
    process = start(series.train(name, ["--speed", "exact"]), plan)
    _, error = process.communicate()
    lines = [line for line in error.decode().splitlines() if line.startswith("resnets: error")]
    if process.returncode != 2 or len(lines) != 1:
        return f"status {process.returncode}, {error.decode()[-300:]}"
    run = series.folder / name
    for file in run.rglob("*.safetensors"):
        for tensor in checkpoint.load_file(file).values():
            if not bool(torch.isfinite(tensor.float()).all()):
                return f"{file.name} is not finite"
    finish(series.resume(name, 1))
    return ", ".join(differences(hashes(run), expected))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--disk-full", type=int, default=200)
    parser.add_argument("--truncations", type=int, default=200)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--nans", type=int, default=50)
    parser.add_argument("--commands", type=int, default=20, help="of each kind, by whole commands")
    parser.add_argument("--data", default="sign-digits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        series = Series(make_data(options.data, folder / "data", 40, 15), folder / "runs")
        series.folder.mkdir()
        finish(series.train("template", ["--speed", "exact"]))
        template = series.folder / "template"
        expected = hashes(template)

        def many(what: str, count: int, fault: Any) -> None:
            wrong = []
            for number in range(count):
                run = series.folder / f"{what}-{number}"
                if found := fault(run, number):
                    wrong.append(found)
                    print(f"{what} {number}: {found}", flush=True)
                shutil.rmtree(run, ignore_errors=True)
            results[what] = {"faults": count, "wrong": wrong}
            print(f"{what}: {count - len(wrong)} of {count} as promised", flush=True)

        def copied(run: Path) -> Path:
            shutil.copytree(template, run)
            return run

        many("disk full", options.disk_full, lambda run, n: fail_a_write(copied(run), rng))
        for what, count in (("truncation", options.truncations), ("flip", options.flips)):
            cut = what == "truncation"
            many(what, count, lambda run, n, cut=cut: damage_a_file(copied(run), rng, cut))
        commands = options.commands
        many(
            "command on a full disk",
            commands,
            lambda run, n: fail_a_command(series, run.name, rng, expected),
        )
        many(
            "resume of a damaged run",
            commands,
            lambda run, n: damage_and_resume(series, copied(run), rng, expected),
        )
        many(
            "nan, skipped",
            commands,
            lambda run, n: skip_nonsense(
                series, run.name, f"spoil:{('loss', 'gradient')[n % 2]}:{rng.randint(1, 45)}"
            ),
        )
        kinds = list(NONSENSE)
        many(
            "nan",
            options.nans,
            lambda run, n: spoil_a_run(
                series, run.name, f"spoil:{kinds[n % len(kinds)]}:{rng.randint(1, 45)}", expected
            ),
        )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(machine() | results, indent=1) + "\n")
    sys.exit(any(result["wrong"] for result in results.values()))


if __name__ == "__main__":
    main()
