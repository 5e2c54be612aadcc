"""Shared by all tests: one thread, no deadlines, and networks that are measured once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

from resnets.nn import ResNet
from resnets.spec import ResNetSpec

torch.set_num_threads(1)
settings.register_profile("resnets", deadline=None, print_blob=True)
settings.load_profile("resnets")


@dataclass(frozen=True)
class Measured:
    """What a built network turns out to have; `shapes` are ``C H W`` by the name of the stage."""

    params: int
    weights: int
    macs: int
    depth: int
    shapes: dict[str, tuple[int, ...]]


@cache
def _measure(spec: ResNetSpec, size: tuple[int, int]) -> Measured:
    # On the meta device tensors have shapes but no numbers, so 1,202 layers cost little.
    with torch.device("meta"):
        net = ResNet(spec).eval()
        image = torch.empty(1, spec.in_channels, *size)
    layers = {n: m for n, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    macs = 0

    def count(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        macs += layer.weight.numel() * output[0, 0].numel()

    for layer in layers.values():
        layer.register_forward_hook(count)
    with torch.no_grad():
        features = net.forward_stages(image)
        assert net.forward_head(list(features.values())[-1]).shape == (
            1,
            spec.num_classes or spec.num_features,
        )
    norms = sum(p.numel() for m in net.modules() if _is_norm(m) for p in m.parameters())
    params = sum(p.numel() for p in net.parameters())
    return Measured(
        params=params,
        weights=params - norms,
        macs=macs,
        depth=sum("downsample" not in name for name in layers),
        shapes={name: tuple(feature.shape[1:]) for name, feature in features.items()},
    )


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d)


@pytest.fixture(scope="session")
def measure() -> Callable[[ResNetSpec, tuple[int, int]], Measured]:
    """Return a function that builds a spec and counts what was built, at (height, width)."""
    return _measure
