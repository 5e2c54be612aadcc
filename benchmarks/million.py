"""A million files: how long until the first batch, and how much memory.

    python benchmarks/million.py --json benchmarks/results/million/result.json

Makes a folder of hard links to a few photos, in a hundred classes with train and val, and opens it
twice in processes of their own, as `resnets train` does: listing, fingerprint, plan, and some
batches decoded as they come. The first time every file is opened, the second time none.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from side_by_side import machine

CLASSES = 100
LINKS = 30_000  # to one file; file systems have a limit


def make(folder: Path, files: int) -> None:
    """Write photos, and links to them until there are so many files."""
    rng = np.random.default_rng(0)
    photos = []
    for number in range(-(-files // LINKS)):
        photos.append(folder / f"{number}.jpg")
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((96, 96)).save(photos[-1], quality=80)
    for split, part in (("train", 0.9), ("val", 0.1)):
        for label in range(CLASSES):
            place = folder / "data" / split / f"class {label:03}"
            place.mkdir(parents=True)
            for i in range(int(files * part / CLASSES)):
                os.link(photos[(label + i * CLASSES) // LINKS % len(photos)], place / f"{i:06}.jpg")


def open_once(data: Path) -> dict[str, float]:
    """Open the data as training does; return seconds and MiB."""
    from resnets.data.cache import ImageCache, Storage
    from resnets.data.plan import Plan
    from resnets.data.preprocess import Preprocess
    from resnets.data.sources import open_dataset

    began = time.monotonic()
    dataset = open_dataset(data)
    listed = time.monotonic()
    dataset.fingerprint()
    known = time.monotonic()
    samples = dataset.splits["train"]
    cache = ImageCache(samples, Preprocess.for_photos(64, 64), Storage("none"))
    plan = Plan(len(samples), 64, 0)
    for step in range(20):
        cache.get(plan.batch(*divmod(step, plan.steps)))
    done = time.monotonic()
    return {
        "files": sum(len(split) for name, split in dataset.splits.items() if name != "all"),
        "listing_s": round(listed - began, 2),
        "fingerprint_s": round(known - listed, 2),
        "twenty_batches_s": round(done - known, 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def open_apart(data: Path, environment: dict[str, str]) -> dict[str, float]:
    """Do `open_once` in a process of its own."""
    command = [sys.executable, __file__, "--open", str(data)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def start_training(work: Path, environment: dict[str, str]) -> dict[str, float]:
    """Start the command on these files; return seconds and MiB until its first checkpoint."""
    command = [sys.executable, "-m", "resnets", "train", str(work / "data"), "--out", "run"]
    # A network so small that what is measured is the loader.
    options = ["--model", "resnet8", "--size", "32", "--quiet", "--checkpoint-every", "20steps"]
    began, peak = time.monotonic(), 0
    process = psutil.Popen([*command, *options], cwd=work, env=environment)
    checkpoints = work / "run" / "checkpoints"
    while process.poll() is None and not list(checkpoints.glob("00000002")):
        memory = process.memory_info()  # what is shared are libraries, and the disk's cache
        peak = max(peak, memory.rss - memory.shared)
        time.sleep(0.2)
    seconds = time.monotonic() - began
    process.kill()
    process.wait()
    return {"twenty_steps_s": round(seconds, 1), "peak_of_its_own_mib": round(peak / 2**20)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, help="where the folder is made, for a while")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(open_once(options.open)))
        return
    results = machine()
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        make(Path(work), options.files)
        environment = {**os.environ, "RESNETS_CACHE": str(Path(work) / "cache")}
        for time_ in ("first", "second"):
            results[time_] = open_apart(Path(work) / "data", environment)
            print(time_, results[time_], flush=True)
        results["train"] = start_training(Path(work), environment)
        print("resnets train", results["train"], flush=True)
    peaks = [results[name]["peak_mib"] for name in ("first", "second")]
    small = max(*peaks, results["train"]["peak_of_its_own_mib"]) < 1024
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(not small)


if __name__ == "__main__":
    main()
