"""Damaged files of every format: one line, or what is there; never another error, never a hang."""

from __future__ import annotations

# TensorFlow and Triton crash where TensorFlow is imported first; torchvision brings Triton.
import torchvision  # noqa: F401

# isort: split
import os
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import h5py
import keras
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import nn

from resnets.errors import UserError
from resnets.weights.readers import read

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
FLIPS = 200


def _state() -> dict[str, object]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))
    return {"state_dict": net.state_dict(), "epoch": 3, "arch": "resnet"}


def _torch(path: Path) -> None:
    torch.save(_state(), path)


def _legacy(path: Path) -> None:
    torch.save(_state(), path, _use_new_zipfile_serialization=False)


def _safetensors(path: Path) -> None:
    save_file(_state()["state_dict"], path, {"format": "pt"})


def _model() -> keras.Model:
    image = keras.Input((4, 4, 3), name="photo")
    x = keras.layers.Conv2D(2, 3, name="conv")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    return keras.Model(image, keras.layers.Dense(2, name="top")(x))


def _saved_as(name: str) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        file = path.with_name(name)
        (_model().save_weights if name.endswith(".weights.h5") else _model().save)(file)
        file.rename(path)

    return save


def _keras_2(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["conv", "norm"]
        for layer, weights in {"conv": ["kernel", "bias"], "norm": ["gamma", "beta"]}.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{weight}:0" for weight in weights]
            for weight in weights:
                group[f"{layer}/{weight}:0"] = np.ones(6, "f4")


def _onnx(path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((2, 3, 3, 3), "f4"), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 4, 4])],
        [weight],
    )
    onnx.save(helper.make_model(graph, producer_name="maker"), path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "torch": _torch,
    "torch legacy": _legacy,
    "safetensors": _safetensors,
    "keras": _saved_as("model.keras"),
    "h5": _saved_as("model.h5"),
    "h5 weights": _saved_as("model.weights.h5"),
    "h5 keras 2": _keras_2,
    "onnx": _onnx,
}


@cache
def written(kind: str, folder: Path) -> bytes:
    WRITERS[kind](folder / "whole")
    return (folder / "whole").read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


def try_to_read(path: Path, data: bytes) -> bool:
    """Return if it could be read; fail where anything but one line comes out."""
    path.write_bytes(data)
    try:
        found = read(path)
    except UserError as error:
        message = str(error)
    else:
        assert all(torch.isfinite(tensor).all() for tensor in found.tensors.values())
        return True
    assert len(message.splitlines()) == 1, message
    assert len(message) < 800, message
    return False


@pytest.mark.parametrize("kind", WRITERS)
def test_cut_short(kind: str, folder: Path, tmp_path: Path) -> None:
    data = written(kind, folder)
    assert try_to_read(tmp_path / "cut", data)
    lengths = {0, 1, 4, 7, 8, 9, 20, 24, 60, 100, *range(0, len(data), len(data) // 30)}
    lengths |= {len(data) - cut for cut in (1, 2, 8, 20, 30, 100)}
    for length in sorted(lengths):
        assert not try_to_read(tmp_path / "cut", data[:length]), length


@pytest.mark.parametrize("kind", WRITERS)
def test_flipped_bytes(
    kind: str, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = written(kind, folder)
    rng = random.Random(f"{kind} 1")
    survived = 0
    for _ in range(FLIPS):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 3))):
            # Mostly near the ends, where the formats keep what is not weights.
            end = rng.choice((len(data), min(len(data), 2_000)))
            place = rng.randrange(end) * rng.choice((1, -1))
            changed[place] ^= rng.choice((1 << rng.randrange(8), rng.randrange(1, 256)))
        survived += try_to_read(tmp_path / "flipped", changed)
    assert os.listdir(tmp_path) == ["flipped"]
    assert survived < FLIPS
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", WRITERS)
def test_longer_than_it_was(kind: str, folder: Path, tmp_path: Path) -> None:
    data = written(kind, folder)
    for more in (bytes(1), bytes(100), b"PK\x03\x04" * 20, data):
        try_to_read(tmp_path / "longer", data + more)
    try_to_read(tmp_path / "longer", data[:100] + data)
