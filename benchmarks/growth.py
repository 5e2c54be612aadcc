"""What predicting and training cost as the number of files grows, and how fast the command starts.

    python benchmarks/growth.py
    python benchmarks/growth.py --files 1000 100000 --work /mnt/fast

Folders of a thousand to a million hard links to a few photos, as in `million.py`. `predict` goes
over all of them with a small network and writes its rows; the data is opened as `train` does, and
a training is started until its twentieth step. Cost for each photo should not grow. Then
`resnets --help` and `import resnets`, which must open no socket.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from million import make, open_apart, start_training
from side_by_side import (
    PRODUCT,
    Aim,
    Comparison,
    Figures,
    Ratio,
    in_turn,
    measured,
    parser,
    publish,
    rounds_of,
    watch,
)

FILES = (1_000, 10_000, 100_000, 1_000_000)
MODEL, SIZE = "resnet20", 32
LEAST = 20_000
"""Photos over which a rate is taken: a smaller folder is predicted several times."""
STARTS = {
    "resnets --help": (["-m", "resnets", "--help"], 0.3),
    "import resnets": (["-c", "import resnets"], 0.5),
    "python alone": (["-c", "pass"], None),
}
LISTENER = """
import runpy, sys
def hook(event, arguments):
    if event.startswith("socket."):
        sys.exit(f"a socket: {event}")
sys.addaudithook(hook)
sys.argv = sys.argv[1:]
kind, what, *rest = sys.argv
sys.argv = [what, *rest]
runpy.run_module(what, run_name="__main__", alter_sys=True) if kind == "-m" else exec(what)
"""
"""Runs a module or a line, and ends where it does anything with a socket."""
NOTES = (
    f"predict: {MODEL} at {SIZE} px over JPEG files of 96 px, Predictor.stream and rows to a file "
    "as the command; images/s from the first row to the last, start s until the first row; a "
    f"folder of less than {LEAST:,} is gone over several times",
    "train's beginning: listing and fingerprint, first and again; batches of 64 decoded as they "
    "come; train s: `resnets train` (resnet8 at 32 px) until its twentieth step is saved, up to "
    "100,000 photos being decoded before the first",
    "the files are hard links to a few photos: their content is in memory, their names are not",
)


def predict(model: str, folder: str, rows: str, times: str) -> None:
    """Predict all photos of a folder so many times in this process; print how long it takes."""
    from resnets.data.scan import find_images
    from resnets.predict import Predictor
    from resnets.rows import open_rows
    from resnets.training.inference import BATCH

    began = time.perf_counter()
    folders, first, count = [folder] * int(times), 0.0, 0
    with open_rows(Path(rows), 5) as write:
        predictor = Predictor.load(model)
        for row in predictor.stream((path, path) for path in find_images(folders)):
            write(row)
            first = first or time.perf_counter()
            count += 1
    rate = (count - BATCH) / (time.perf_counter() - first)  # the first batch was there by then
    print(json.dumps({"images/s": rate, "start s": first - began, "photos": count}))


def write_model(path: Path) -> None:
    """Write a model file with random weights for ten classes."""
    import resnets
    from resnets.data.preprocess import Preprocess
    from resnets.weights import model_file

    net = resnets.create_model(MODEL)
    classes = tuple(map(str, range(net.spec.num_classes)))
    preprocess = Preprocess.for_photos(SIZE, SIZE)
    model_file.save(model_file.Model(net.spec, classes, preprocess, net.state_dict()), path)


def grow(options: argparse.Namespace, rounds: int) -> list[Comparison]:
    """Measure every number of files in turn."""
    names = {f"{files:,} files": files for files in options.files}
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        model = Path(work) / "model.safetensors"
        write_model(model)
        folders = {name: Path(work) / str(files) for name, files in names.items()}
        for name, folder in folders.items():
            folder.mkdir()
            make(folder, names[name])

        def predicted(name: str) -> Figures:
            folder = folders[name]
            rows = folder / "rows.jsonl"
            times = 1 if options.quick else max(1, LEAST // names[name])
            arguments = ["--measure", model, folder / "data", rows, times]
            figures = measured(__file__, *arguments, env=PRODUCT)
            rows.unlink()
            return figures

        def opened(folder: Path) -> Figures:
            environment = {**os.environ, "RESNETS_CACHE": str(folder / "cache")}
            opening = open_apart(folder / "data", environment)
            again = open_apart(folder / "data", environment)
            training = start_training(folder, environment)
            return {
                "first s": opening["listing_s"] + opening["fingerprint_s"],
                "again s": again["listing_s"] + again["fingerprint_s"],
                "batches/s": 20 / again["twenty_batches_s"],
                "opening peak_mib": max(opening["peak_mib"], again["peak_mib"]),
                "train s": training["twenty_steps_s"],
                "train peak_mib": training["peak_of_its_own_mib"],
            }

        predictions = in_turn({name: partial(predicted, name) for name in names}, rounds)
        openings = in_turn({n: partial(opened, f) for n, f in folders.items()}, 1)
    least, *others = names
    flat = [Ratio(name, least, Aim("≥", 0.9)) for name in others]
    return [
        Comparison(
            "predict as files grow",
            "images/s",
            predictions,
            "images/s",
            also=("start s", "peak_mib"),
            ratios=flat,
        ),
        Comparison(
            "train's beginning as files grow",
            "batches/s",
            openings,
            "batches/s",
            also=("first s", "again s", "opening peak_mib", "train s", "train peak_mib"),
            ratios=flat,
        ),
    ]


def start(command: list[str]) -> Figures:
    """Run the interpreter once, watched and once more under a hook that allows no socket."""
    done = watch([sys.executable, *command])
    watch([sys.executable, "-c", LISTENER, *command])
    return {"seconds": done.seconds}


def starts(rounds: int) -> Comparison:
    contenders: dict[str, Callable[[], Figures]] = {
        name: partial(start, command) for name, (command, _) in STARTS.items()
    }
    return Comparison(
        "from start to end, no socket opened",
        "s",
        in_turn(contenders, rounds),
        "seconds",
        better="less",
        aims={name: Aim("≤", most) for name, (_, most) in STARTS.items() if most},
    )


def main() -> None:
    options = _options()
    if options.measure:
        return predict(*options.measure)
    if options.quick:
        options.files = [1000, 2000]
    rounds = rounds_of(options)
    compared = [starts(3 if options.quick else 10), *grow(options, rounds)]
    publish(options, "growth", compared, NOTES)


def _options() -> argparse.Namespace:
    made = parser(__doc__, rounds=1)
    made.add_argument("--files", type=int, nargs="+", default=list(FILES))
    made.add_argument("--work", type=Path, help="where the folders are made, for a while")
    made.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    return made.parse_args()


if __name__ == "__main__":
    main()
