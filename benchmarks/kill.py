"""Kill real trainings with SIGKILL at any moment, resume them, and compare every bit.

    python benchmarks/kill.py --runs 100 --data cifar10/ --json benchmarks/results/kill/result.json
    python benchmarks/kill.py --negative

Each variant (plain, bf16, and both bf16 and compiled in every tenth run) is first trained twice
without a kill: the two must agree. Then each run is killed one to five times, with its process
group: at random moments and at the `sabotage.MOMENTS`, each of which comes first in turn; the
number of workers changes from piece to piece. What is compared: the weights, BN's statistics, the
average and its counter, the optimiser's state, progress (position, best score, patience, history,
digest of the samples), and both model files and the predictions.

``--negative`` drops one piece of state at a resume, each in turn: the comparison must turn red.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from sabotage import MOMENTS, PIECES
from safetensors.torch import load_file
from side_by_side import machine

from resnets.data.images import decode
from resnets.data.plan import Plan
from resnets.data.sources import open_dataset
from resnets.training import checkpoint

SABOTAGE = Path(__file__).with_name("sabotage.py")
TIMES = ("seconds", "images_per_second", "checkpoint_seconds", "saving")
VARIANTS = {"plain": ["--speed", "exact"], "bf16": ["--speed", "precision=bf16"]}
COMPILED = {"compiled": ["--speed", "precision=bf16,compile=true"]}
BATCH, ACCUMULATE = 32, 2
MOST_KILLS = 5
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
"""One thread for each run, as another number of them gives other last bits."""
TIMEOUT = 600


@dataclass(frozen=True)
class Series:
    """What is trained, and where its runs go."""

    data: Path
    folder: Path

    def train(self, name: str, variant: Sequence[str], workers: int = 1) -> list[str]:
        """Return the arguments of a training that uses every piece of state there is."""
        settings = (
            *("ema=0.95", "mixup=0.3", "cutmix=0.3", "patience=3"),
            f"accumulate={ACCUMULATE}",
        )
        return [
            *("train", str(self.data), "--model", "resnet8", "--size", "16", "--device", "cpu"),
            *("--epochs", "4", "--batch-size", str(BATCH), "--seed", "7", "--quiet"),
            *("--checkpoint-every", "3steps", "--workers", str(workers)),
            *(part for setting in settings for part in ("--set", setting)),
            *variant,
            *("--out", str(self.folder / name)),
        ]

    def resume(self, name: str, workers: int) -> list[str]:
        return ["resume", str(self.folder / name), "--quiet", "--workers", str(workers)]


def make_data(source: str | Path, folder: Path, train: int, val: int) -> Path:
    """Write some photos of each class of a data set as PNG files, in train and val."""
    dataset = open_dataset(source)
    for split, count in (("train", train), ("val", val)):
        samples = dataset.splits["train" if split == "train" else "test"]
        for label, name in enumerate(dataset.classes):
            for i in np.flatnonzero(samples.labels == label)[:count]:
                path = folder / split / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(decode(samples.read(int(i)))).save(path)
    return folder


# -- what a run has come to -----------------------------------------------------------------------


def digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def hash_tensors(tensors: dict[str, torch.Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        found.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        found.update(value.view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def without_times(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in TIMES}


def hashes(run: Path) -> dict[str, str]:
    """Return a digest of each part of a finished run."""
    newest = checkpoint.generations(run / "checkpoints")[-1]
    tensors = load_file(newest / checkpoint.TENSORS)
    values = json.loads((newest / checkpoint.STATE).read_text())
    progress = without_times(values["progress"])
    history = [without_times(row) for row in progress.pop("history")]
    found = {"history": digest(history), "ema counter": digest(values["ema_updates"])}
    found |= {name: digest(value) for name, value in progress.items()}
    for part in ("net", "ema", "optimizer", "best"):
        found[part] = hash_tensors({k: v for k, v in tensors.items() if k.startswith(f"{part}.")})
    for name in ("best", "last"):
        file = run / f"{name}.safetensors"
        found[f"{name} file"] = hash_tensors(load_file(file)) if file.exists() else "missing"
    with (run / "history.csv").open() as table:
        found["history.csv"] = digest([without_times(row) for row in csv.DictReader(table)])
    found["splits.csv"] = hashlib.sha256((run / "splits.csv").read_bytes()).hexdigest()[:16]
    answers = pq.read_table(run / "predictions.parquet").to_pydict()
    return found | {"predictions": digest({k: [str(v) for v in c] for k, c in answers.items()})}


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    return [name for name in expected if found.get(name) != expected[name]]


# -- running and killing --------------------------------------------------------------------------


def start(arguments: Sequence[str], plan: str | None = None) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own."""
    command = [sys.executable, "-m", "resnets"]
    if plan:
        command = [sys.executable, str(SABOTAGE), plan, "--"]
    return subprocess.Popen(
        [*command, *arguments],
        start_new_session=True,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(arguments: Sequence[str], plan: str | None = None) -> None:
    process = start(arguments, plan)
    _, error = process.communicate(timeout=TIMEOUT)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {process.returncode}\n{error.decode()}")


def kill_once(arguments: Sequence[str], how: str, seconds: float) -> bool:
    """Run a command that is killed: after `seconds` if `how` is ``random``, else by sabotage.

    Returns whether it was killed; if not, it has come to its end.
    """
    process = start(arguments, None if how == "random" else how)
    try:
        process.wait(timeout=seconds if how == "random" else TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    _, error = process.communicate()
    if process.returncode == -signal.SIGKILL:
        return True
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {process.returncode}\n{error.decode()}")
    return False


def killed_run(
    series: Series, name: str, variant: Sequence[str], rng: random.Random, first: str, usual: float
) -> list[str]:
    """Train with one to five kills, the first of them at the moment `first`.

    A piece that ends before its kill is due ends the run. Returns what the kills were.
    """
    arguments = series.train(name, variant, workers=rng.choice([0, 1, 2]))
    kills: list[str] = []
    for number in range(rng.randint(1, MOST_KILLS)):
        moment = first if number == 0 else rng.choice(["random", *MOMENTS])
        seconds = rng.uniform(0.3 * usual, 1.05 * usual)
        how = moment if moment == "random" else f"die:{moment}:{rng.randint(1, MOMENTS[moment][1])}"
        if not kill_once(arguments, how, seconds):
            return kills
        kills.append(f"random:{seconds:.2f}s" if moment == "random" else how)
        if (series.folder / name / "config.yaml").exists():
            arguments = series.resume(name, rng.choice([0, 1, 2]))
    finish(arguments)
    return kills


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        folder = Path(work)
        series = Series(make_data(options.data, folder / "data", *options.photos), folder / "runs")
        series.folder.mkdir()
        variants = VARIANTS | (COMPILED if options.compiled else {})
        if options.negative:
            variants = {"plain": VARIANTS["plain"]}
        results: dict[str, Any] = {"variants": {}, "runs": [], "negative": {}}
        controls = {}
        for variant, extra in variants.items():
            began = time.monotonic()
            for number in (1, 2):
                finish(series.train(f"{variant}-control-{number}", extra))
            usual = (time.monotonic() - began) / 2
            first, second = (hashes(series.folder / f"{variant}-control-{n}") for n in (1, 2))
            if differences(first, second):
                sys.exit(f"{variant}: two runs differ without a kill: {differences(first, second)}")
            controls[variant] = first, usual
            results["variants"][variant] = {"seconds": round(usual, 2), "hashes": first}
            print(f"{variant}: two controls agree, {usual:.1f} s each", flush=True)
        red = (_negative if options.negative else _runs)(
            options, series, variants, controls, results
        )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(machine() | results, indent=1) + "\n")
    sys.exit(1 if red else 0)


Controls = dict[str, tuple[dict[str, str], float]]


def _runs(
    options: argparse.Namespace,
    series: Series,
    variants: dict[str, list[str]],
    controls: Controls,
    results: dict[str, Any],
) -> bool:
    """Kill and compare; return whether any run differs."""
    moments = ["random", *MOMENTS]

    def one(number: int) -> dict[str, Any]:
        rng = random.Random(f"{options.seed} {number}")
        compiled = options.compiled and number % 10 == 9  # to compile takes a while each time
        variant = "compiled" if compiled else list(VARIANTS)[number % len(VARIANTS)]
        moment = moments[number // len(VARIANTS) % len(moments)]
        expected, usual = controls[variant]
        name = f"{variant}-{number}"
        while not (kills := killed_run(series, name, variants[variant], rng, moment, usual)):
            shutil.rmtree(series.folder / name)  # it had ended before: once more
        wrong = differences(hashes(series.folder / name), expected)
        shutil.rmtree(series.folder / name)
        verdict = f"differs: {', '.join(wrong)}" if wrong else "the same bits"
        print(
            f"run {number + 1:3} {variant:8} {' '.join(kills) or 'not hit'}: {verdict}", flush=True
        )
        return {"variant": variant, "kills": kills, "differs": wrong}

    with ThreadPoolExecutor(options.jobs) as pool:
        results["runs"] = list(pool.map(one, range(options.runs)))
    same = sum(not run["differs"] for run in results["runs"])
    kills = sum(len(run["kills"]) for run in results["runs"])
    print(f"{same} of {options.runs} runs came to the same bits, after {kills} kills")
    return same < options.runs


def _negative(
    options: argparse.Namespace,
    series: Series,
    variants: dict[str, list[str]],
    controls: Controls,
    results: dict[str, Any],
) -> bool:
    """Drop each piece of state in turn; return whether one was not noticed."""
    expected, _ = controls["plain"]
    after = _within_a_worse_epoch(series, "plain-control-1", "best" in options.pieces)

    def one(piece: str) -> tuple[str, list[str]]:
        name = f"without-{piece}"
        arguments = series.train(name, variants["plain"])
        if not kill_once(arguments, f"die:accumulation:{after}", 0):
            raise RuntimeError("the run ended before it was killed")
        finish(series.resume(name, 1), f"forget:{piece}")
        wrong = differences(hashes(series.folder / name), expected)
        print(f"without {piece:13} {', '.join(wrong) or 'NOT NOTICED'}", flush=True)
        return piece, wrong

    with ThreadPoolExecutor(options.jobs) as pool:
        results["negative"] = dict(pool.map(one, options.pieces))
    red = sum(bool(wrong) for wrong in results["negative"].values())
    print(f"{red} of {len(options.pieces)} dropped pieces were noticed")
    return red < len(options.pieces)


def _within_a_worse_epoch(series: Series, control: str, must: bool) -> int:
    """Return a number of parts of steps within an epoch that is not the best so far.

    A run that has forgotten its best score takes that epoch for the best; in any other epoch it
    would come to the right one again. The last epoch does if there is no such epoch, unless there
    must be.
    """
    with (series.folder / control / "history.csv").open() as file:
        scores = [float(row["val_top1"]) for row in csv.DictReader(file)]
    worse = [epoch for epoch in range(1, len(scores)) if scores[epoch] < max(scores[:epoch])]
    if must and not worse:
        sys.exit("no epoch of the control is worse than one before it: give other --photos")
    photos = sum(path.is_file() for path in (series.data / "train").rglob("*"))
    parts = Plan(photos, BATCH, 0).steps * ACCUMULATE
    return (worse or [len(scores) - 1])[-1] * parts + parts // 3


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--data", default="sign-digits", help="labelled photos with a test split")
    parser.add_argument("--photos", type=int, nargs=2, default=(40, 15), help="a class: train, val")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--no-compiled", dest="compiled", action="store_false")
    parser.add_argument("--negative", action="store_true")
    parser.add_argument("--pieces", nargs="+", choices=PIECES, default=list(PIECES))
    parser.add_argument("--work", type=Path, help="a folder for the runs; a temporary one if none")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
