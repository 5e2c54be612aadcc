"""A model of three signs, untrained, and real photos of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import nn

from resnets.data.preprocess import Preprocess
from resnets.data.sources import open_dataset
from resnets.nn import ResNet
from resnets.spec import ResNetSpec, Stem
from resnets.weights.model_file import Model

SPEC = ResNetSpec("tiny", (1, 2), (8, 16), stem=Stem(8, 3, 1, "max"), num_classes=3, image_size=24)


@pytest.fixture(scope="session")
def model(draw: Callable[[nn.Module], None]) -> Model:
    net = ResNet(SPEC)
    draw(net)
    return Model(SPEC, ("one", "two", "three"), Preprocess.for_photos(24, 28), net.state_dict())


@pytest.fixture(scope="session")
def photos() -> list[Any]:
    """Return 90 encoded photos: more than a batch, in pieces of which the last is not full."""
    signs = open_dataset("sign-digits").splits["all"]
    return [signs.read(int(i)) for i in np.linspace(0, len(signs) - 1, 90)]
