"""Numbers for networks: what starts at 0 or 1 hides what is left out."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn


def _draw(net: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if not value.is_floating_point():
            value.zero_()
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.ndim == 1:
            value.normal_(1.0 if name.endswith("weight") else 0.0, 0.2, generator=generator)
        else:
            bound = math.sqrt(3 / value[0].numel())
            value.uniform_(-bound, bound, generator=generator)


@pytest.fixture(scope="session")
def draw() -> Callable[[nn.Module], None]:
    """Return a function that gives every tensor of a network, the norms' too, drawn values."""
    return _draw
