"""Several processes against one, and against the death of one of them.

    python benchmarks/ranks.py --data cifar10/ --json benchmarks/results/kill/ranks.json

1. Two gloo processes with `sync_bn` and one process train with the same batches: the loss of every
   epoch is compared, and the digests of the samples have to be the same.
2. One of two processes is killed at a random moment, many times: how long until the whole run has
   ended, and whether it comes to the same bits when it is resumed.
3. torchrun restarts the processes after a kill, and they go on to the end.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from kill import ENVIRONMENT, Series, differences, finish, hashes, make_data
from side_by_side import machine

from resnets.training import checkpoint

TWO = ["--speed", "exact", "--nproc", "2"]
GENTLE = ["--set", "lr=0.001", "--set", "accumulate=1", "--set", "sync_bn=true"]


def losses(run: Path) -> list[tuple[float, float]]:
    with (run / "history.csv").open() as file:
        return [(float(row["train_loss"]), float(row["val_loss"])) for row in csv.DictReader(file)]


def samples(run: Path) -> str:
    newest = checkpoint.generations(run / "checkpoints")[-1]
    return str(json.loads((newest / checkpoint.STATE).read_text())["progress"]["samples"])


def compare(series: Series) -> dict[str, Any]:
    """Train in one process and in two; return how far apart their losses are."""
    finish(series.train("one", ["--speed", "exact", *GENTLE]))
    finish(series.train("two", [*TWO, *GENTLE]))
    one, two = losses(series.folder / "one"), losses(series.folder / "two")
    apart = [
        abs(a - b) / a
        for first, second in zip(one, two, strict=True)
        for a, b in zip(first, second, strict=True)
    ]
    found = {
        "largest relative difference of a loss": max(apart),
        "samples": samples(series.folder / "one") == samples(series.folder / "two"),
        "one": one,
        "two": two,
    }
    print(
        f"one and two processes: losses within {max(apart):.1e}, samples alike: {found['samples']}",
        flush=True,
    )
    return found


def start(arguments: list[str], module: str = "resnets") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        start_new_session=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )


def workers(launcher: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the training processes below a launcher that are still there."""
    found = []
    with suppress(psutil.NoSuchProcess):  # it, or one of them, has just ended
        for child in psutil.Process(launcher.pid).children(recursive=True):
            if "train" in child.cmdline() or "resume" in child.cmdline():
                found.append(child)
    return found


def wait_for_checkpoints(run: Path, launcher: subprocess.Popen[bytes], count: int = 1) -> None:
    while len(checkpoint.generations(run / "checkpoints")) < count and launcher.poll() is None:
        time.sleep(0.05)


def kill_one(series: Series, name: str, rng: random.Random, expected: dict[str, str]) -> Any:
    """Kill one of two processes; return the seconds until all have ended, and what differs."""
    run = series.folder / name
    launcher = start(series.train(name, TWO))
    wait_for_checkpoints(run, launcher)
    time.sleep(rng.uniform(0.0, 3.0))
    alive = workers(launcher)
    if launcher.poll() is not None or len(alive) < 2:
        launcher.communicate()
        return None
    rank = rng.randrange(2)
    alive[rank].kill()
    began = time.monotonic()
    launcher.communicate(timeout=120)
    seconds = time.monotonic() - began
    left = [child.pid for child in alive if child.is_running()]
    if launcher.returncode != 137:
        left.append(launcher.returncode)
    finish(series.resume(name, 1))
    wrong = differences(hashes(run), expected)
    shutil.rmtree(run)
    return {"rank": rank, "seconds": round(seconds, 2), "left": left, "differs": wrong}


def restart(series: Series, expected: dict[str, str]) -> dict[str, Any]:
    """Kill one process under torchrun, which starts all again."""
    arguments = series.train("torchrun", ["--speed", "exact"])
    run = series.folder / "torchrun"
    options = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "2", "-m", "resnets"]
    launcher = start([*options, *arguments], "torch.distributed.run")
    wait_for_checkpoints(run, launcher, 2)
    time.sleep(1.0)
    alive = workers(launcher)
    killed = launcher.poll() is None and len(alive) == 2
    if killed:
        alive[-1].kill()
    _, error = launcher.communicate(timeout=300)
    wrong = (
        differences(hashes(run), expected) if launcher.returncode == 0 else [error.decode()[-500:]]
    )
    print(f"torchrun: status {launcher.returncode}, differs: {wrong}", flush=True)
    return {"killed": killed, "status": launcher.returncode, "differs": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--data", default="sign-digits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        series = Series(make_data(options.data, folder / "data", 40, 15), folder / "runs")
        series.folder.mkdir()
        compared = compare(series)
        finish(series.train("control", TWO))
        expected = hashes(series.folder / "control")
        kills: list[dict[str, Any]] = []
        while len(kills) < options.kills:
            found = kill_one(series, f"killed-{len(kills)}", rng, expected)
            if found is None:  # it had ended before
                shutil.rmtree(series.folder / f"killed-{len(kills)}", ignore_errors=True)
                continue
            kills.append(found)
            print(f"kill {len(kills):2}: {found}", flush=True)
        restarted = restart(series, expected)
    seconds = [kill["seconds"] for kill in kills]
    good = all(not kill["differs"] and not kill["left"] for kill in kills) and max(seconds) < 60
    print(
        f"{len(kills)} kills: noticed after {statistics.median(seconds):.1f} s in the median, "
        f"{max(seconds):.1f} s at most; the same bits afterwards: {good}"
    )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        results = {"compared": compared, "kills": kills, "torchrun": restarted}
        options.json.write_text(json.dumps(machine() | results, indent=1) + "\n")
    alike = compared["samples"] and compared["largest relative difference of a loss"] < 1e-4
    sys.exit(not (good and alike and restarted["killed"] and not restarted["differs"]))


if __name__ == "__main__":
    main()
