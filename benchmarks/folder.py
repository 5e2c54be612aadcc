"""Training on a folder of photos, from the start of the process to its end: peers and us in turn.

    python benchmarks/folder.py                     # photos are made
    python benchmarks/folder.py --photos photos/    # with train/<class>/ and val/<class>/

The same network (ResNet-18), photos, size, batch, epochs and number of workers for all: files are
decoded and augmented as each does by default, and every epoch ends with a validation. Ours is the
command `resnets train`.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
from functools import partial
from itertools import pairwise
from pathlib import Path

from peer_loops import PEERS
from photos import MADE, make_photos
from side_by_side import (
    Aim,
    Comparison,
    Ratio,
    Watched,
    in_turn,
    parser,
    publish,
    rounds_of,
    watch,
)

from resnets.data.images import EXTENSIONS

LOOPS = Path(__file__).with_name("peer_loops.py")
OURS = "resnets"
EPOCH = re.compile(r"epoch +(\d+)/\d+ ")
NOTES = (
    "timm: train.py's defaults (random resized crop, mirror, colour jitter 0.4, smoothing 0.1, its "
    "loader), but for the schedule, the batch and the workers",
    "torchvision: its reference's defaults (random resized crop, mirror), but for the schedule, "
    "the workers and the printed averages",
    "keras: image_dataset_from_directory at 8/7 of the size, mirror and random crop as layers in "
    "the data's map, fit on TensorFlow; as many threads as it takes",
    "resnets: the command with the recipe that it chooses; its seconds include judging the best "
    "weights once more and a report; photos are decoded once, before the first epoch",
    "epoch s: from one epoch's end to the next, validation included; images/s: training photos in "
    "such an epoch; start s: until the end of the first epoch",
    "peak_mib: of all its processes, what they share counted once, looked at every 0.25 s",
)


def ours(options: argparse.Namespace) -> Watched:
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "resnets", "train", options.photos.absolute()]
        chosen = {
            "--model": "resnet18",
            "--size": options.size,
            "--batch-size": options.batch,
            "--epochs": options.epochs,
            "--workers": options.workers,
            "--out": Path(work) / "run",
        }
        return watch(
            [*command, *(word for pair in chosen.items() for word in pair)], cwd=Path(work)
        )


def theirs(options: argparse.Namespace, peer: str) -> Watched:
    command = [sys.executable, LOOPS, peer, options.photos]
    names = ("size", "batch", "epochs", "workers")
    return watch([*command, *(w for n in names for w in (f"--{n}", getattr(options, n)))])


def figures(done: Watched, photos: int, epochs: int) -> dict[str, float]:
    """Return what the printed ends of epochs tell."""
    ends = [when for when, line in done.lines if EPOCH.match(line)]
    if len(ends) != epochs:
        raise RuntimeError(f"{len(ends)} of {epochs} epochs have been reported: {done.lines[-5:]}")
    epoch = statistics.median(b - a for a, b in pairwise(ends))
    return {
        "seconds": done.seconds,
        "start s": ends[0],
        "epoch s": epoch,
        "images/s": photos / epoch,
        "peak_mib": done.peak_mib,
    }


def compare(options: argparse.Namespace) -> list[Comparison]:
    train = options.photos / "train"
    count = sum(path.suffix.lower() in EXTENSIONS for path in train.rglob("*"))
    contenders = {
        name: lambda run=run: figures(run(), count, options.epochs)
        for name, run in {
            **{peer: partial(theirs, options, peer) for peer in options.peers},
            OURS: partial(ours, options),
        }.items()
    }
    rounds = in_turn(contenders, rounds_of(options))
    where = f"ResNet-18 at {options.size} px, {count} photos, {options.epochs} epochs"
    aim = Aim("≥", 1.0)  # not to be slower than anybody
    ratios = [Ratio(OURS, peer, aim) for peer in options.peers]
    shared = {"rounds": rounds, "ratios": ratios}
    return [
        Comparison(f"whole training, {where}", "s", figure="seconds", better="less", **shared),
        Comparison(
            f"epochs from the second, {where}",
            "images/s",
            figure="images/s",
            also=("epoch s", "start s", "peak_mib"),
            **shared,
        ),
    ]


def main() -> None:
    options = _options()
    if options.quick:
        options.size, options.epochs, options.batch, options.count = 32, 2, 8, 40
    with tempfile.TemporaryDirectory() as work:
        notes = list(NOTES)
        if options.photos is None:
            options.photos = make_photos(Path(work) / "photos", options.count)
            notes.append(MADE)
        missing = [split for split in ("train", "val") if not (options.photos / split).is_dir()]
        if missing:
            sys.exit(f"{options.photos} has no folder {missing[0]}")
        publish(options, "folder", compare(options), notes)


def _options() -> argparse.Namespace:
    made = parser(__doc__, rounds=3)
    made.add_argument("--photos", type=Path, help="a folder with train/<class>/ and val/<class>/")
    made.add_argument("--count", type=int, default=1000, help="of photos, where they are made")
    made.add_argument("--size", type=int, default=160)
    made.add_argument("--batch", type=int, default=32)
    made.add_argument("--epochs", type=int, default=3)
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    return made.parse_args()


if __name__ == "__main__":
    main()
