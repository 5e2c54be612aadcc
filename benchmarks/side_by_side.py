"""Peers and us in turn, on the same data: what the benchmarks of speed share.

A contender is a function that measures once, in a fresh process, so that memory and threads are
clean. `in_turn` lets all of them measure, round after round: A B A B. What is reported of a
contender is the median over the rounds with the least and the greatest; a ratio is that of two
medians, with the least and the greatest of the ratios within a round. An aim that is missed is
printed as missed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import operator
import os
import platform
import shlex
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import psutil

from resnets.training.machine import Machine
from resnets.training.processes import count_cores
from resnets.version import VERSION

RESULTS = Path(__file__).with_name("results")
PACKAGES = (
    *("torch", "torchvision", "timm", "keras", "tensorflow-cpu", "openvino", "nncf"),
    *("onnx", "onnxruntime", "numpy", "pillow"),
)
PRODUCT = {"GOMP_SPINCOUNT": "20000"}
"""What the command `resnets` sets before it loads torch: for our contenders in Python."""
SAMPLING = 0.25  # seconds between two looks at the memory
VERDICTS = {True: "met", False: "MISSED"}
SIGNS = {"≥": operator.ge, "≤": operator.le}

Figures = Mapping[str, float]


# -- statistics -----------------------------------------------------------------------------------


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return the median, the least and the greatest."""
    found = [*values]
    return {
        "median": _short(statistics.median(found)),
        "low": _short(min(found)),
        "high": _short(max(found)),
    }


def moments(values: Iterable[float]) -> dict[str, float | None]:
    """Return the mean, the standard deviation (None of a single value) and the range."""
    found = [*values]
    return {
        "mean": _short(statistics.mean(found)),
        "sd": _short(statistics.stdev(found)) if len(found) > 1 else None,
        "low": _short(min(found)),
        "high": _short(max(found)),
    }


@dataclass(frozen=True)
class Aim:
    """What is hoped for, such as ``Aim("≥", 2.3)``."""

    sign: str
    value: float

    def met(self, value: float) -> bool:
        return bool(SIGNS[self.sign](value, self.value))


@dataclass(frozen=True)
class Ratio:
    """How many times as good contender `of` is as contender `to`."""

    of: str
    to: str
    aim: Aim | None = None


@dataclass(frozen=True)
class Comparison:
    """What the contenders have measured of one thing.

    Attributes:
      what, unit: of the values; `better` is ``more`` or ``less`` of them.
      rounds: of each contender, what it returned in each round.
      figure: which of it is compared; `also` are shown beside it.
      ratios: of contenders; those of one that is not there are left out.
      aims: for a contender's median itself.
    """

    what: str
    unit: str
    rounds: Mapping[str, Sequence[Figures]]
    figure: str
    better: str = "more"
    also: Sequence[str] = ()
    ratios: Sequence[Ratio] = ()
    aims: Mapping[str, Aim] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.better not in ("more", "less"):
            raise ValueError(f"better={self.better!r} is neither 'more' nor 'less'")

    def to_dict(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "unit": self.unit,
            "better": self.better,
            "contenders": {name: self._contender(name) for name in self.rounds},
            "ratios": [
                self._ratio(ratio)
                for ratio in self.ratios
                if {ratio.of, ratio.to} <= {*self.rounds}
            ],
        }

    def _values(self, name: str, figure: str = "") -> list[float]:
        return [figures[figure or self.figure] for figures in self.rounds[name]]

    def _contender(self, name: str) -> dict[str, Any]:
        result: dict[str, Any] = spread(self._values(name))
        result["values"] = [_short(value) for value in self._values(name)]
        result |= {figure: spread(self._values(name, figure)) for figure in self.also}
        return result | _judged(self.aims.get(name), result["median"])

    def _ratio(self, ratio: Ratio) -> dict[str, Any]:
        of, to = self._values(ratio.of), self._values(ratio.to)
        if self.better == "less":
            of, to = to, of
        within = spread(a / b for a, b in zip(of, to, strict=True))
        result = within | {"median": _short(statistics.median(of) / statistics.median(to))}
        return {"of": ratio.of, "to": ratio.to, **result, **_judged(ratio.aim, result["median"])}

    def lines(self) -> Iterator[str]:
        """Yield the table for people."""
        described = self.to_dict()
        width = max(map(len, self.rounds), default=0)
        yield f"{self.what}, {self.unit}"
        for name, found in described["contenders"].items():
            others = "".join(f"  {figure} {found[figure]['median']:g}" for figure in self.also)
            yield f"  {name:{width}}  {_range(found)}{others}{_verdict(found)}"
        for found in described["ratios"]:
            yield f"  {found['of']} / {found['to']}: × {_range(found)}{_verdict(found)}"


def _judged(aim: Aim | None, value: float) -> dict[str, Any]:
    return {} if aim is None else {"aim": f"{aim.sign} {aim.value:g}", "met": aim.met(value)}


def _verdict(found: Mapping[str, Any]) -> str:
    return f"  aim {found['aim']}: {VERDICTS[found['met']]}" if "aim" in found else ""


def _range(found: Mapping[str, float]) -> str:
    return f"{found['median']:8g} ({found['low']:g}–{found['high']:g})"


def _short(value: float) -> float:
    """Keep four digits: there is nothing in the others."""
    return float(f"{value:.4g}") if abs(value) < 1000 else float(round(value))


# -- measuring ------------------------------------------------------------------------------------


def in_turn(
    contenders: Mapping[str, Callable[[], Figures]], rounds: int
) -> dict[str, list[Figures]]:
    """Let all contenders measure, so many times one after the other."""
    found: dict[str, list[Figures]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, measure in contenders.items():
            found[name].append(measure())
            shown = ", ".join(f"{key} {value:.4g}" for key, value in found[name][-1].items())
            print(f"  round {number + 1}/{rounds}  {name}: {shown}", file=sys.stderr, flush=True)
    return found


@dataclass(frozen=True)
class Watched:
    """A command that has ended.

    Attributes:
      seconds: from start to end; `peak_mib`: of its whole tree of processes.
      lines: what it printed, each with the seconds after the start.
    """

    seconds: float
    peak_mib: float
    lines: list[tuple[float, str]]


def watch(
    command: Sequence[str | Path], env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Watched:
    """Run a command; `env` is added to the environment.

    Raises:
      RuntimeError: it did not end with status 0.
    """
    began = time.monotonic()
    process = psutil.Popen(
        [*map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **(env or {})},
        cwd=cwd,
    )
    peaks, over = [0.0], threading.Event()

    def sample() -> None:
        while not over.is_set():
            peaks[0] = max(peaks[0], memory(process))
            over.wait(SAMPLING)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        with process.stdout as output:
            lines = [(time.monotonic() - began, line.rstrip("\n")) for line in output]
        status = process.wait()
        seconds = time.monotonic() - began
    finally:
        over.set()
        sampler.join()
        with suppress(psutil.NoSuchProcess):
            process.kill()
    if status:
        said = "\n".join(line for _, line in lines[-20:])
        raise RuntimeError(f"{shlex.join(map(str, command))}: status {status}\n{said}")
    return Watched(seconds, peaks[0], lines)


def memory(process: psutil.Process) -> float:
    """Return the MiB that a process and its children hold, what they share counted once."""
    total = 0
    with suppress(psutil.Error):
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                # Summed RSS would count libraries, and the memory of a fork, once a process.
                total += one.memory_full_info().pss if psutil.LINUX else one.memory_info().rss
    return total / 2**20


def measured(script: str, *arguments: object, env: Mapping[str, str] | None = None) -> Figures:
    """Run a script in a fresh process; return the object that it prints last, and its memory."""
    command = [sys.executable, script, *map(str, arguments)]
    done = watch(command, env)
    *_, last = (line for _, line in done.lines if line.startswith("{"))
    figures: dict[str, float] = json.loads(last)
    return {**figures, "peak_mib": done.peak_mib}


# -- reporting ------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """Return what a reader of results needs to know of where they were measured."""
    described = Machine.detect("cpu").describe()
    versions = {"resnets": VERSION, "python": platform.python_version()}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "date": date.today().isoformat(),
        "command": shlex.join(["python", *map(_shown, sys.argv)]),
        "machine": described["hardware"],
        "cores": count_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": described["system"],
        "versions": versions,
    }


def _shown(argument: str) -> str:
    """Return an argument as others may type it: without where things lie on this machine."""
    path = Path(argument)
    return path.name if path.is_absolute() else argument


def parser(doc: str, rounds: int | None = None) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have; `rounds` for those in turn."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    made.add_argument(
        "--out", type=Path, help="folder of result.json; with --quick it is not written otherwise"
    )
    if rounds:
        made.add_argument("--rounds", type=int, help=f"{rounds} if not given, 1 with --quick")
        made.set_defaults(usual_rounds=rounds)
    return made


def target(options: argparse.Namespace, name: str) -> Path | None:
    """Return the folder of a benchmark's result, if it is to be written."""
    folder: Path | None = options.out or (None if options.quick else RESULTS / name)
    return folder


def rounds_of(options: argparse.Namespace) -> int:
    return options.rounds or (1 if options.quick else options.usual_rounds)


def publish(
    options: argparse.Namespace,
    name: str,
    comparisons: Sequence[Comparison],
    notes: Sequence[str],
    **more: Any,
) -> None:
    """Print the tables, and write all to ``result.json``."""
    for comparison in comparisons:
        print("\n".join(comparison.lines()), flush=True)
    for note in notes:
        print(f"note: {note}")
    if folder := target(options, name):
        described = [comparison.to_dict() for comparison in comparisons]
        write(folder, {"notes": [*notes], "comparisons": described, **more})


def write(folder: Path, values: Mapping[str, Any]) -> None:
    """Write ``result.json``, whole or not at all, with what it was measured on."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".result.json"
    text = json.dumps(machine() | dict(values), indent=1, ensure_ascii=False)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(folder / "result.json")
    print(f"written: {folder / 'result.json'}", file=sys.stderr)
