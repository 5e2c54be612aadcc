"""3×3 convolutions of stride 1 on the CPU: torch's own and Winograd's in turn, layer by layer.

    python benchmarks/convolutions.py

Forward, and both gradients, in float32 and channels-last, with data in memory. GFLOP/s are those
of the direct sum for both, so that their ratio is that of their times; the error is the largest
difference from float64, in parts of the largest value.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial

from side_by_side import PRODUCT, Comparison, Ratio, in_turn, parser, publish, rounds_of

os.environ |= PRODUCT

import torch
from torch import Tensor
from torch.nn import functional as F

from resnets.nn import winograd
from resnets.training.memory import keep_pages

LAYERS = {  # batch, channels, side in pixels
    **{f"resnet18@224, {c} at {s} px": (32, c, s) for c, s in ((64, 56), (128, 28), (256, 14))},
    "resnet18@224, 512 at 7 px": (32, 512, 7),
    **{f"resnet18_small@32, {c} at {s} px": (64, c, s) for c, s in ((64, 32), (128, 16), (256, 8))},
    "resnet18_small@32, 512 at 4 px": (64, 512, 4),
    **{f"resnet20@32, {c} at {s} px": (128, c, s) for c, s in ((16, 32), (32, 16), (64, 8))},
}
CONTENDERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "direct": partial(F.conv2d, padding=1),
    "winograd": lambda x, weight: torch.ops.resnets.winograd(x, weight, 1),
}
NOTES = (
    "F(4×4, 3×3), Lavin and Gray 2016, arXiv:1509.09308; the products are torch's bmm",
    f"training takes it from {winograd.FEWEST} channels and {winograd.SMALLEST} px on, where trial "
    "steps say that it is faster",
)


def pass_through(
    convolve: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, gradient: Tensor
) -> list[Tensor]:
    """Return the outputs and the gradients of photos and weights."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = convolve(x, weight)
    return [y.detach(), *torch.autograd.grad(y, (x, weight), gradient)]


def compare(name: str, options: argparse.Namespace) -> Comparison:
    batch, channels, side = LAYERS[name]
    batch = 2 if options.quick else batch
    torch.manual_seed(0)
    last = torch.channels_last
    x, gradient = torch.randn(2, batch, channels, side, side)
    x, gradient = (t.contiguous(memory_format=last) for t in (x, gradient))
    weight = (torch.randn(channels, channels, 3, 3) / (9 * channels) ** 0.5).contiguous(
        memory_format=last
    )
    exact = pass_through(CONTENDERS["direct"], *(t.double() for t in (x, weight, gradient)))
    flops = 6 * 9 * batch * channels**2 * side**2

    def once(contender: str) -> dict[str, float]:
        taken, convolve = [], CONTENDERS[contender]
        found = pass_through(convolve, x, weight, gradient)
        until = time.perf_counter() + (0 if options.quick else options.seconds)
        while not taken or time.perf_counter() < until:
            began = time.perf_counter()
            pass_through(convolve, x, weight, gradient)
            taken.append(time.perf_counter() - began)
        errors = [
            float((own - right).abs().max() / right.abs().max())
            for own, right in zip(found, exact, strict=True)
        ]
        return {"GFLOP/s": flops / sorted(taken)[len(taken) // 2] / 1e9, "error": max(errors)}

    return Comparison(
        f"{name}, batches of {batch}",
        "GFLOP/s",
        in_turn(
            {contender: partial(once, contender) for contender in CONTENDERS}, rounds_of(options)
        ),
        "GFLOP/s",
        also=("error",),
        ratios=[Ratio("winograd", "direct")],
    )


def main() -> None:
    made = parser(__doc__, rounds=5)
    made.add_argument("--seconds", type=float, default=1, help="of each contender in a round")
    options = made.parse_args()
    keep_pages()
    winograd.library()
    publish(options, "convolutions", [compare(name, options) for name in LAYERS], NOTES)


if __name__ == "__main__":
    main()
