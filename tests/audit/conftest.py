"""Data sets with known faults, made of built-in photos by what the benchmark plants."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from planted import Photo, Planted, encoded
from planted_sets import Copy, plant_folder, plant_grey, plant_table

from resnets.audit.check import Audit, check
from resnets.console import Console
from resnets.data.images import decode
from resnets.data.sources import open_dataset

PHOTOS, COPIES = 560, 70


@dataclass(frozen=True)
class Case:
    """A data set with faults, and what the check says of it."""

    root: Path
    planted: list[Planted]
    found: Audit
    copies: list[Copy]
    good: list[str]


@pytest.fixture(scope="session")
def photos() -> list[Photo]:
    """Return built-in photos as JPEG files of 96 pixels, with their classes."""
    samples = open_dataset("sign-digits").splits["all"]
    chosen = np.random.default_rng(0).permutation(len(samples))[:PHOTOS]
    return [
        (str(samples.labels[i]), encoded(_scaled(decode(samples.read(int(i)))), quality=92))
        for i in chosen
    ]


def _scaled(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def cases(photos: list[Photo], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """Return a function that gives a data set with faults by its name."""
    made: dict[str, Case] = {}

    def case(name: str) -> Case:
        if name not in made:
            made[name] = _make(name, photos, tmp_path_factory.mktemp("planted") / name)
        return made[name]

    return case


def _make(name: str, photos: list[Photo], root: Path) -> Case:
    copies: list[Copy] = []
    good: list[str] = []
    options: dict[str, str] = {}
    if name == "folder":
        planted, copies, good = plant_folder(root, photos, COPIES)
    elif name == "table":
        planted, options = plant_table(root, photos), {"group_by": "person"}
    else:
        planted = plant_grey(root, photos)
    found = check(str(root), console=Console(quiet=True), **options)
    return Case(root, planted, found, copies, good)


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a folder of class folders with pictures of noise."""

    def make(classes: int = 2, count: int = 12, side: int = 32, name: str = "data") -> Path:
        rng = np.random.default_rng(0)
        for label in range(classes):
            folder = tmp_path / name / f"class {label}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
                image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
                image.save(folder / f"{number}.png")
        return tmp_path / name

    return make
