"""Saved models in fresh processes: on TensorFlow and on JAX, in training, and without `resnets`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from resnets.keras import create_model
from resnets.nn import ResNet
from resnets.spec import Head, ResNetSpec, Stem

# Keras' own way of reading its variables, under NumPy 2.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept:DeprecationWarning"
)

PHOTOS = 8
SIDE = 17
NORMED_SIDES = {"bn1": 17, "layer1": 5}
"""Of what the norms of PLAIN see, in its stem and its stage."""
PLAIN = ResNetSpec(
    "plain",
    (1,),
    (16,),
    strides=(2,),
    stem=Stem(8, 3, 1, "max"),
    num_classes=5,
    image_size=SIDE,
)
MIXED = ResNetSpec(
    "mixed",
    (1,),
    (64,),
    order="pre",
    strides=(2,),
    shortcut="D",
    norm="group",
    activation="prelu",
    standardized=True,
    antialias="blur",
    attention="eca",
    stem=Stem(32, 3, 2, "max"),
    head=Head(scale=0.5),
    num_classes=5,
    image_size=SIDE,
)
BUILT_IN = [
    PLAIN,
    PLAIN.replace(name="option-a", shortcut="A", padding="tf"),
    PLAIN.replace(name="grouped", block="bottleneck", groups=2, attention="se", antialias="avg"),
    PLAIN.replace(name="faces", order="arcface", activation="prelu", head=Head("all", norm=True)),
    PLAIN.replace(
        name="last", shortcut="slim", order="pre", attention="eca", head=Head("max", scale=2.0)
    ),
]
TOLERANCE = 1e-4


@pytest.fixture
def batch(tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    classes = random.integers(5, size=PHOTOS)
    photos = random.standard_normal((PHOTOS, SIDE, SIDE, 3)).astype("float32")
    (tmp_path / "batch").mkdir()
    np.savez(tmp_path / "batch" / "batch.npz", photos=photos, classes=classes)
    return photos, classes


def run(what: str, folder: Path, backend: str) -> None:
    script = Path(__file__).with_name("fresh_process.py")
    done = subprocess.run(
        [sys.executable, script, what, folder],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    assert done.stdout.split()[-1] == backend


def logits(net: ResNet, photos: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return net(torch.from_numpy(photos.transpose(0, 3, 1, 2))).numpy()


def trained(net: ResNet, photos: np.ndarray, classes: np.ndarray) -> None:
    """Take one step of SGD."""
    net.train()
    found = net(torch.from_numpy(photos.transpose(0, 3, 1, 2)))
    F.cross_entropy(found, torch.from_numpy(classes)).backward()
    torch.optim.SGD(net.parameters(), 0.1).step()


def biased(name: str, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return running statistics as if PyTorch averaged the biased variance, as Keras does."""
    if not name.endswith("running_var"):
        return after
    values = PHOTOS * NORMED_SIDES[name.partition(".")[0]] ** 2
    return 0.9 * before + (after - 0.9 * before) * (values - 1) / values


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_saved_model_computes_and_learns_as_in_pytorch(
    backend: str,
    tmp_path: Path,
    batch: tuple[np.ndarray, np.ndarray],
    torch_net: Callable[..., ResNet],
    torch_state: Callable[[ResNet], dict[str, np.ndarray]],
) -> None:
    photos, classes = batch
    nets = {spec.name: torch_net(spec) for spec in (PLAIN, MIXED)}
    for name, net in nets.items():
        create_model(net.spec, weights=torch_state(net)).save(tmp_path / f"{name}.keras")
    run("train", tmp_path, backend)
    for name, net in nets.items():
        with np.load(tmp_path / f"{name}.npz", allow_pickle=False) as found:
            np.testing.assert_allclose(found["logits"], logits(net, photos), atol=TOLERANCE)
            before = torch_state(net)
            trained(net, photos, classes)
            for tensor, after in torch_state(net).items():
                wanted = biased(tensor, before[tensor], after)
                np.testing.assert_allclose(found[tensor], wanted, atol=TOLERANCE, err_msg=tensor)
            assert found["losses"][-1] < 0.9 * found["losses"][0]


def test_built_in_layers_load_without_this_package(
    tmp_path: Path,
    batch: tuple[np.ndarray, np.ndarray],
    torch_net: Callable[..., ResNet],
    torch_state: Callable[[ResNet], dict[str, np.ndarray]],
) -> None:
    photos, _ = batch
    nets = {spec.name: torch_net(spec) for spec in BUILT_IN}
    for name, net in nets.items():
        model = create_model(net.spec, weights=torch_state(net))
        model.save(tmp_path / f"{name}.keras")
    nets["weights-only"] = net
    (tmp_path / "weights-only.json").write_text(model.to_json())
    model.save_weights(tmp_path / "weights-only.weights.h5")
    run("load", tmp_path, "tensorflow")
    for name, net in nets.items():
        with np.load(tmp_path / f"{name}.npz", allow_pickle=False) as found:
            np.testing.assert_allclose(found["logits"], logits(net, photos), atol=TOLERANCE)
