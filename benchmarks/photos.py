"""Photos of natural size for the benchmarks, where none are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

CLASSES = 4
MEGAPIXELS = (0.2, 0.5)
MADE = (
    "the photos are random parts of the two that scikit-learn ships, scaled to 0.2–0.5 megapixels "
    "and saved as JPEG of quality 90, in classes that are drawn: there is nothing to learn in them"
)


def make_photos(folder: Path, count: int, seed: int = 0) -> Path:
    """Write so many JPEG files in ``train`` and ``val`` (a fifth) with a folder for each class."""
    rng = np.random.default_rng(seed)
    sources = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    for split in ("train", "val"):
        for label in range(CLASSES):
            (folder / split / f"class {label}").mkdir(parents=True)
    for number in range(count):
        split = "val" if number % 5 == 0 else "train"
        label = number // 5 % CLASSES if split == "val" else int(rng.integers(CLASSES))
        photo = _part(sources[int(rng.integers(len(sources)))], rng)
        photo.save(folder / split / f"class {label}" / f"{number:05}.jpg", quality=90)
    return folder


def _part(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    part = rng.uniform(0.5, 1, 2) * photo.size
    corner = rng.uniform(0, 1, 2) * (photo.size - part)
    shape = part * np.sqrt(rng.uniform(*MEGAPIXELS) * 1e6 / part.prod())
    width, height = (round(side) for side in shape)
    return photo.resize((width, height), Image.Resampling.BICUBIC, (*corner, *(corner + part)))
