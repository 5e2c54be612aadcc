"""A training step: images a second and memory, timm's and ours in turn.

    python benchmarks/steps.py
    python benchmarks/steps.py --rows resnet50@224 --rounds 3

Every contender steps on the same few batches in memory, in a fresh process each round: forward,
loss, backward, SGD with Nesterov's momentum. `timm` is what its `train.py` does by default (NCHW,
float32, eager); the contenders below it are what a reader of its help can ask for. `ours` is the
product's own `Stepper`, which also turns bytes into numbers and watches for nonsense. Beside the
rates stands what this machine's matrix product does, in float32 and bf16.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from side_by_side import (
    PRODUCT,
    Aim,
    Comparison,
    Ratio,
    in_turn,
    measured,
    parser,
    publish,
    rounds_of,
)

from resnets.zoo import get_spec

BATCHES = 4  # that the steps go through
WARM = 3  # steps that are not counted: memory and caches fill up, and a compiler compiles
LEAST = 5  # steps that are


@dataclass(frozen=True)
class Row:
    """A network and its photos; `peer` builds the same one for timm's way of stepping."""

    model: str
    size: int
    batch: int
    classes: int
    peer: str


@dataclass(frozen=True)
class ByHand:
    """What is asked of timm's step beyond its defaults."""

    channels_last: bool = False
    bf16: bool = False
    compile: bool = False


ROWS = {
    "resnet18@224": Row("resnet18", 224, 32, 1000, "timm"),
    "resnet50@224": Row("resnet50", 224, 16, 1000, "timm"),
    "resnet20@32": Row("resnet20", 32, 128, 10, "ours"),
    "resnet18_small@32": Row("resnet18_small", 32, 64, 10, "small stem"),
}
PEERS = {
    "timm": ByHand(),
    "timm channels-last compiled": ByHand(channels_last=True, compile=True),
    "timm channels-last compiled bf16": ByHand(channels_last=True, bf16=True, compile=True),
}
OURS = "ours"
NOTES = (
    "timm: create_model, create_optimizer_v2('sgd', momentum 0.9, weight decay 2e-5), "
    "LabelSmoothingCrossEntropy(0.1), as train.py's defaults; its photos are numbers already",
    "resnet20@32: timm has no such network, so its way of stepping is given ours, eager as built",
    "resnet18_small@32: timm's resnet18, its stem a 3×3 convolution of stride 1 without pooling",
    "ours: the same optimiser, loss and rate, no augmentation, and bytes for photos; "
    "GOMP_SPINCOUNT as the command sets it",
    "GFLOP/s are 6 × multiply-adds × images/s: two for each, forward and twice backward",
    "first s: until the first step is done, compilation included",
)


def peer_net(row: Row) -> Any:
    import timm
    from torch import nn

    import resnets

    def small_stem() -> nn.Module:
        net = timm.create_model("resnet18", num_classes=row.classes)
        net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        net.maxpool = nn.Identity()
        return net

    builders: dict[str, Callable[[], nn.Module]] = {
        "timm": partial(timm.create_model, row.model, num_classes=row.classes),
        "ours": partial(resnets.create_model, row.model, num_classes=row.classes),
        "small stem": small_stem,
    }
    return builders[row.peer]()


def peer_step(row: Row, how: ByHand) -> Callable[[int], None]:
    """Return timm's step, on batch number so many."""
    import torch
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2

    kind = torch.channels_last if how.channels_last else torch.contiguous_format
    net = peer_net(row).train().to(memory_format=kind)
    optimizer = create_optimizer_v2(net, opt="sgd", lr=0.01, weight_decay=2e-5, momentum=0.9)
    criterion = LabelSmoothingCrossEntropy(0.1)
    forward = torch.compile(net) if how.compile else net
    autocast = partial(torch.autocast, "cpu", torch.bfloat16) if how.bf16 else nullcontext
    batches = [
        (torch.randn(row.batch, 3, row.size, row.size).to(memory_format=kind), labels)
        for labels in torch.randint(row.classes, (BATCHES, row.batch))
    ]

    def step(number: int) -> None:
        images, labels = batches[number % BATCHES]
        with autocast():
            loss = criterion(forward(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def our_step(row: Row) -> Callable[[int], None]:
    """Return the product's step, on batch number so many."""
    import numpy as np

    import resnets
    from resnets.console import Console
    from resnets.data.cache import ImageCache, Storage
    from resnets.data.plan import Plan
    from resnets.data.preprocess import Preprocess
    from resnets.data.samples import ArrayReader, Samples
    from resnets.tasks.classify import Classify
    from resnets.training.distributed import Alone
    from resnets.training.machine import Machine
    from resnets.training.recipe import Recipe
    from resnets.training.speed import Speed, choose_speed
    from resnets.training.step import Stepper
    from resnets.training.trial import Trial

    recipe = Recipe(
        name="benchmark",
        epochs=10_000,  # for a long run a compiler is worth its time
        batch_size=row.batch,
        lr=0.01,
        schedule="step",
        warmup_epochs=0,
        weight_decay=2e-5,
        label_smoothing=0.1,
        crop="none",
        flip=False,
    )
    net = resnets.create_model(row.model, num_classes=row.classes)
    task = Classify(tuple(map(str, range(row.classes))), 0.1, (1.0,) * row.classes)
    plan = Plan(BATCHES * row.batch, row.batch, 0)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (plan.n, row.size, row.size, 3), np.uint8)
    labels = rng.integers(0, row.classes, plan.n)
    samples = Samples(tuple(map(str, range(plan.n))), labels, ArrayReader((pixels,), ("made",)))
    cache = ImageCache(samples, Preprocess.for_photos(row.size, row.size), Storage("memory"))
    batches = [cache.get(plan.batch(0, at)) for at in range(BATCHES)]
    trial = Trial(Machine.detect("cpu"), net, task, recipe, plan, cache, Alone(), print)
    machine = choose_speed(Speed.parse("auto"), trial, Console(quiet=True))
    machine.take()
    stepper = Stepper(net, task, recipe, cache.preprocess, plan, machine, Alone())
    stepper.begin(0)

    def step(number: int) -> None:
        at = number % BATCHES
        chosen, photos = batches[at]
        outcome = stepper(chosen, photos, labels[chosen], 0, at, lambda: False)
        if outcome.problem:
            raise RuntimeError(outcome.problem)

    return step


def time_steps(build: Callable[[], Callable[[int], None]], batch: int, seconds: float) -> Any:
    """Return images a second, and the seconds until the first step is done."""
    began = time.perf_counter()
    step = build()
    step(0)
    first = time.perf_counter() - began
    for number in range(1, WARM):
        step(number)
    start, done = time.perf_counter(), 0
    while done < LEAST or time.perf_counter() - start < seconds:
        step(done)
        done += 1
    rate = done * batch / (time.perf_counter() - start)
    return {"images/s": rate, "first s": first}


def matrix_product(side: int = 2048, times: int = 15) -> dict[str, float]:
    """Return what a product of square matrices does, GFLOP/s by precision."""
    import torch

    rates = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = torch.randn(2, side, side).to(dtype)
        taken = []
        for _ in range(times):
            start = time.perf_counter()
            torch.mm(a, b)
            taken.append(time.perf_counter() - start)
        rates[name] = 2 * side**3 / statistics.median(taken) / 1e9
    return rates


def measure(row: str, contender: str, seconds: float, batch: int) -> dict[str, float]:
    """Measure a contender in a fresh process, with batches of so many."""
    environment = PRODUCT if contender == OURS else None
    options = ["--measure", row, contender, "--seconds", seconds, "--batch", batch]
    return dict(measured(__file__, *options, env=environment))


def compare(name: str, options: argparse.Namespace) -> Comparison:
    row = ROWS[name]
    batch = 8 if options.quick else row.batch
    seconds = 0.1 if options.quick else options.seconds
    flops = 6 * get_spec(row.model).replace(num_classes=row.classes).macs(row.size)

    def once(contender: str) -> dict[str, float]:
        figures = measure(name, contender, seconds, batch)
        return figures | {"GFLOP/s": figures["images/s"] * flops / 1e9}

    peers = [peer for peer in PEERS if not (options.quick and PEERS[peer].compile)]
    contenders = {name: partial(once, name) for name in (*peers, OURS)}
    aim = Aim("≥", 2.3)
    return Comparison(
        f"training step, {name}, batches of {batch}",
        "images/s",
        in_turn(contenders, rounds_of(options)),
        "images/s",
        also=("GFLOP/s", "first s", "peak_mib"),
        ratios=[Ratio(OURS, peer, aim if peer == "timm" else None) for peer in PEERS],
    )


def main() -> None:
    options = _options()
    if options.measure:
        name, contender = options.measure
        row = replace(ROWS[name], batch=options.batch)
        build = our_step if contender == OURS else partial(peer_step, how=PEERS[contender])
        print(json.dumps(time_steps(partial(build, row), row.batch, options.seconds)))
        return
    rates = matrix_product()
    shown = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    print(f"matrix product, GFLOP/s: {shown}", flush=True)
    rows = options.rows or (["resnet20@32"] if options.quick else list(ROWS))
    publish(
        options,
        "steps",
        [compare(name, options) for name in rows],
        NOTES,
        matrix_product_gflops=rates,
    )


def _options() -> argparse.Namespace:
    made = parser(__doc__, rounds=5)
    made.add_argument("--rows", nargs="+", choices=ROWS, metavar="ROW", help=", ".join(ROWS))
    made.add_argument("--seconds", type=float, default=10, help="of steps that are counted")
    made.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    made.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    return made.parse_args()


if __name__ == "__main__":
    main()
