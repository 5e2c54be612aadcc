"""Does the network wait for its photos? Where the time of a training step goes.

    python benchmarks/input.py --json benchmarks/results/input/result.json

Writes JPEGs of 500 × 375, and trains on them for two epochs with the product's own cache, plan,
augmentation and step: in the first epoch photos are decoded, the second one is measured. Prints,
for each size, the share of the time spent on waiting for photos, on augmenting them, on the forward
and backward pass, and on the update.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kill import machine
from PIL import Image

from resnets.data.cache import ImageCache, Storage
from resnets.data.loader import prefetch
from resnets.data.plan import Plan
from resnets.data.preprocess import Preprocess
from resnets.data.samples import Samples
from resnets.data.sources import open_dataset
from resnets.nn import ResNet
from resnets.tasks.classify import Classify
from resnets.training.distributed import Alone
from resnets.training.machine import Machine, default_workers
from resnets.training.recipes import get_recipe
from resnets.training.step import Stepper
from resnets.zoo import get_spec

CASES = {  # size, resize, network and recipe, as `train` chooses them; photos, batch
    "32 px": (32, 32, "resnet20", "tiny-photos", 1024, 128),
    "64 px": (64, 73, "resnet18", "small", 512, 128),
    "160 px": (160, 183, "resnet18", "small", 256, 64),
    "224 px": (224, 256, "resnet18", "large", 128, 32),
}
PARTS = {"_inputs": "augmenting", "_backward": "forward and backward", "_update": "update"}
CLASSES = 4


def make(folder: Path, photos: int) -> Samples:
    """Write photos with as much detail as a camera's."""
    rng = np.random.default_rng(0)
    for i in range(photos):
        place = folder / "train" / f"class {i % CLASSES}" / f"{i}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
        pixels = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = (pixels + rng.integers(-6, 7, pixels.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(place, quality=90)
    return open_dataset(folder).splits["train"]


class Clock:
    """Adds up the seconds of what is called through it, by name."""

    def __init__(self, device: str) -> None:
        self.seconds: Counter[str] = Counter()
        self._wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            self._wait()
            began = time.perf_counter()
            result = call(*arguments, **options)
            self._wait()
            self.seconds[name] += time.perf_counter() - began
            return result

        return run


def measure(case: str, samples: Samples, on: Machine, workers: int) -> dict[str, float]:
    """Train for two epochs; return the seconds of the first and the shares of the second."""
    size, resize, model, recipe_name, photos, batch = CASES[case]
    recipe = get_recipe(recipe_name)
    spec = get_spec(model).replace(num_classes=CLASSES, image_size=size)
    cache = ImageCache(
        samples.subset(np.arange(len(samples)) < photos),
        Preprocess.for_photos(size, resize),
        Storage("memory"),
    )
    plan = Plan(len(cache.samples), batch, 0)
    task = Classify(tuple(map(str, range(CLASSES))), weights=(1.0,) * CLASSES)
    stepper = Stepper(ResNet(spec), task, recipe, cache.preprocess, plan, on, Alone())
    seconds = {}
    for epoch in range(2):
        clock = Clock(on.device)
        for method, name in PARTS.items():
            setattr(stepper, method, clock.timed(name, getattr(Stepper, method).__get__(stepper)))
        stepper.begin(epoch)
        began = time.perf_counter()
        wanted = (plan.batch(epoch, step) for step in range(plan.steps))
        batches = prefetch(cache.get, wanted, workers)
        fetch = clock.timed("waiting for photos", batches.__next__)
        for step in range(plan.steps):
            indices, pixels = fetch()
            stepper(indices, pixels, cache.samples.labels[indices], epoch, step, lambda: False)
        seconds[epoch] = time.perf_counter() - began
    shares = {name: round(value / seconds[1], 4) for name, value in clock.seconds.items()}
    return {
        "images_per_second_first_epoch": round(plan.n / seconds[0], 1),
        "images_per_second": round(plan.n / seconds[1], 1),
        **shares,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--device")
    parser.add_argument("--workers", type=int, default=default_workers())
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    on = Machine.detect(options.device)
    on.take()
    results: dict[str, Any] = {**machine(), "device": on.device, "threads": on.threads}
    with tempfile.TemporaryDirectory() as work:
        samples = make(Path(work), max(CASES[case][4] for case in options.cases))
        for case in options.cases:
            results[case] = measure(case, samples, on, options.workers)
            print(case, results[case], flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
