"""Keras on one quiet thread, and PyTorch networks to compare with.

The backend is TensorFlow, unless KERAS_BACKEND names another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

# Read when TensorFlow is first imported.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import numpy as np
import pytest
import torch
from torch import nn

import resnets.keras  # noqa: F401  before keras itself, see there
from resnets.nn import ResNet
from resnets.spec import ResNetSpec

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm)
State = Mapping[str, np.ndarray]


def _torch_net(spec: ResNetSpec, seed: int = 0) -> ResNet:
    torch.manual_seed(seed)
    net = ResNet(spec).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, NORMS):
                module.weight.uniform_(0.5, 1.5)
            if isinstance(module, (*NORMS, nn.Conv2d, nn.Linear)) and module.bias is not None:
                module.bias.normal_(0, 0.1)
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
            if isinstance(module, nn.PReLU):
                module.weight.uniform_(-0.1, 0.5)
    return net


@pytest.fixture(scope="session")
def torch_net() -> Callable[..., ResNet]:
    """Return a function that builds the PyTorch network of a spec, with all weights at random."""
    return _torch_net


def _torch_state(net: ResNet) -> dict[str, np.ndarray]:
    return {
        name: value.numpy().copy()
        for name, value in net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


@pytest.fixture(scope="session")
def torch_state() -> Callable[[ResNet], State]:
    """Return a function that copies a network's weights, less the counts of batches."""
    return _torch_state


def _photos(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def _assert_same(model: Any, net: ResNet, height: int, width: int | None = None) -> None:
    photos = _photos(2, net.spec.in_channels, height, width or height)
    with torch.no_grad():
        expected = net(torch.from_numpy(photos)).numpy()
    found = np.asarray(model(photos.transpose(0, 2, 3, 1), training=False))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * max(1, abs(expected).max()))


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """Return a function that compares the logits of two networks on photos of one size."""
    return _assert_same
