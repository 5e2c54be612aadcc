"""Trainings by the command line, each a fresh process, kept in a book that can be gone on with."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from side_by_side import VERDICTS, moments, watch, write

from resnets.weights import model_file

QUICK = ("--model", "resnet8", "--size", "32", "--epochs", "1", "--batch-size", "64")
"""A training of seconds, whatever the recipe is."""


def train(data: str, arguments: Sequence[str], seed: int) -> dict[str, Any]:
    """Train once; return the seconds from the start of the process to its end, and the judgement.

    The command ends when the best weights have been judged and the report is written.

    Raises:
      RuntimeError: the command failed; the message has its last lines.
    """
    source = str(Path(data).absolute()) if Path(data).exists() else data
    with tempfile.TemporaryDirectory() as work:
        run = Path(work) / "run"
        command = [sys.executable, "-m", "resnets", "train", source, *arguments]
        done = watch([*command, "--seed", str(seed), "--out", run], cwd=Path(work))
        metrics = model_file.load(run / "best.safetensors").metrics
    judged = {name: metrics[name] for name in ("split", "n", "top1")}
    return {
        "seed": seed,
        "seconds": round(done.seconds, 1),
        **judged,
        "peak_mib": round(done.peak_mib),
        "date": date.today().isoformat(),
    }


@dataclass
class Book:
    """Lines of trainings in a folder's ``result.json``, written after each training.

    Without a folder nothing is written. With `resume`, what is there already with the same
    arguments on the same data is not trained again.
    """

    folder: Path | None
    data: str
    resume: bool
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        path = self.folder and self.folder / "result.json"
        if self.resume and path and path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            self.lines = found["lines"] if found["data"] == self._name else {}

    def fill(self, name: str, arguments: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
        """Train with every seed that the line does not have; return the line."""
        line = self.lines.get(name, {})
        if line.get("arguments") != [*arguments]:
            line = {"arguments": [*arguments], "runs": []}
        self.lines[name] = line
        for seed in seeds:
            if seed in [run["seed"] for run in line["runs"]]:
                continue
            line["runs"].append(train(self.data, arguments, seed))
            for figure in ("top1", "seconds"):
                line[figure] = moments(run[figure] for run in line["runs"])
            self.save()
            last = line["runs"][-1]
            print(f"{name}, seed {seed}: top-1 {last['top1']:.4f} in {last['seconds']:.0f} s")
        return line

    def save(self) -> None:
        if self.folder:
            write(self.folder, {"data": self._name, **self.more, "lines": self.lines})

    def table(self) -> Iterator[str]:
        """Yield a line for people for every line, with what it has more than the first in top-1."""
        width = max(map(len, self.lines), default=0)
        base = next(iter(self.lines.values()))["top1"]["mean"] if self.lines else 0
        for name, line in self.lines.items():
            top1, seconds = line["top1"], line["seconds"]
            deviation = "" if top1["sd"] is None else f" ± {100 * top1['sd']:.2f}"
            yield (
                f"{name:{width}}  top-1 {100 * top1['mean']:.2f}{deviation} %, "
                f"{100 * top1['low']:.2f}–{100 * top1['high']:.2f}, "
                f"{100 * (top1['mean'] - base):+.2f}; {seconds['mean'] / 60:.1f} min, "
                f"{seconds['low'] / 60:.1f}–{seconds['high'] / 60:.1f}; {len(line['runs'])} seeds"
                + (f"; aim {line['aim']}: {VERDICTS[line['met']]}" if "aim" in line else "")
            )

    @property
    def _name(self) -> str:
        return Path(self.data).name
