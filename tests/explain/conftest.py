"""A small network with drawn weights, and photos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from resnets.data.preprocess import Preprocess
from resnets.data.sources import open_dataset
from resnets.nn import ResNet
from resnets.spec import ResNetSpec
from resnets.weights import model_file
from resnets.weights.model_file import Model
from resnets.zoo import get_spec

CLASSES = ("0", "<script>alert('1')</script>", "ł" * 40)
Make = Callable[..., Path]


def spec(channels: int = 3, classes: int = len(CLASSES)) -> ResNetSpec:
    return get_spec("resnet8").replace(in_channels=channels, num_classes=classes)


@pytest.fixture
def net(draw: Callable[[nn.Module], None]) -> ResNet:
    made = ResNet(spec()).eval()
    draw(made)
    return made


@pytest.fixture
def make(tmp_path: Path, draw: Callable[[nn.Module], None]) -> Make:
    """Return a function that writes a model file for photos of 32 px."""

    def write(
        channels: int = 3, mirrored: bool = False, classes: tuple[str, ...] = CLASSES
    ) -> Path:
        made = ResNet(spec(channels, len(classes)))
        draw(made)
        photos = Preprocess.for_photos(32, 36, channels)
        if mirrored:
            photos = Preprocess.from_dict({**photos.to_dict(), "mirrored": True})
        path = tmp_path / f"model{channels}{mirrored}.safetensors"
        model_file.save(Model(made.spec, classes, photos, made.state_dict()), path)
        return path

    return write


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with three photos, of which one is grey, and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    samples = open_dataset("sign-digits").splits["test"]
    for i, mode in ((0, "RGB"), (60, "L"), (90, "RGB")):
        pixels = Preprocess.for_photos(48, 48).prepare(samples.read(i))
        Image.fromarray(pixels).convert(mode).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"not a photo")
    return folder


@pytest.fixture
def images() -> torch.Tensor:
    drawn = np.random.default_rng(0).normal(size=(2, 3, 32, 32))
    return torch.from_numpy(drawn.astype(np.float32))
