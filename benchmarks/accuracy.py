"""Time to accuracy on CIFAR-10, from a folder of PNG files to the judged model.

    python benchmarks/accuracy.py cifar10/ --seeds 5

Every seed is a fresh process of the command line; its seconds run from the start of the process
until it has ended, reading the files and the judgement on the 10,000 test photos included. Beside
them stands what the usual recipe would take here: 200 epochs of the small-stem ResNet-18 in
float32, from the measured rate of its step alone.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from typing import Any

import steps
from side_by_side import Aim, parser, target
from trainings import QUICK, Book

ALL = ("--val-fraction", "0")
"""All 50,000 photos train: nothing is chosen by a validation."""
PHOTOS, EPOCHS, BATCH = 50_000, 200, 128  # of the usual recipe


@dataclass(frozen=True)
class Setting:
    """How to train, and what is hoped for: top-1 in so many minutes."""

    arguments: tuple[str, ...]
    top1: float
    minutes: float


SETTINGS = {
    "fast": Setting(("--recipe", "fast", *ALL), 0.94, 12),
    "fast, short": Setting(("--recipe", "fast", *ALL, "--budget", "4m"), 0.90, 4),
}


def judged(line: dict[str, Any], setting: Setting) -> dict[str, Any]:
    """Return whether the means are what is hoped for."""
    top1, seconds = Aim("≥", setting.top1), Aim("≤", 60 * setting.minutes)
    met = top1.met(line["top1"]["mean"]) and seconds.met(line["seconds"]["mean"])
    return {"aim": f"{100 * setting.top1:g} % in ≤ {setting.minutes:g} min", "met": met}


def usual(rounds: int, seconds: float, batch: int) -> dict[str, Any]:
    """Return what the usual recipe would take, by extrapolation."""
    rates = [
        steps.measure("resnet18_small@32", "timm", seconds, batch)["images/s"]
        for _ in range(rounds)
    ]
    rate = statistics.median(rates)
    return {
        "what": f"small-stem ResNet-18, float32, eager, batches of {batch}: the step alone",
        "images/s": [round(rate, 1) for rate in rates],
        "epochs": EPOCHS,
        "hours": round(EPOCHS * PHOTOS / rate / 3600, 2),
    }


def main() -> None:
    options = _options()
    extra = QUICK if options.quick else ()
    book = Book(target(options, "accuracy"), options.data, options.resume)
    book.more["usual recipe"] = usual(
        *((1, 0.1, 8) if options.quick else (3, options.seconds, BATCH))
    )
    for name in options.settings[: 1 if options.quick else None]:
        setting = SETTINGS[name]
        arguments = extra or setting.arguments
        line = book.fill(name, arguments, range(options.seeds))
        line |= judged(line, setting)
        book.save()
    print("\n".join(book.table()))
    found = book.more["usual recipe"]
    print(f"{found['what']}: {EPOCHS} epochs would take {found['hours']:g} h")


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("data", help="CIFAR-10 as class folders in train and test")
    made.add_argument("--seeds", type=int, default=5)
    made.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    made.add_argument("--seconds", type=float, default=10, help="of steps of the usual recipe")
    made.add_argument("--resume", action="store_true", help="keep the runs that are written")
    return made.parse_args()


if __name__ == "__main__":
    main()
