"""Data sets with faults that are known: what `resnets check` is to find, and where.

`plant_folder` makes train and test folders of photos with one or more faults of every kind that
folders can have, and copies across the splits in every manner; `plant_table` and `plant_grey` make
two small data sets for the faults that only those can have. Any photos will do.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from planted import CLASSES, FILES, Photo, Planted, Plot, encoded
from planted_photos import PHOTOS


@dataclass(frozen=True)
class Copy:
    """A copy across the splits: of which photo, and how it was made."""

    original: str
    copy: str
    manner: str


# -- copies ---------------------------------------------------------------------------------------


def _bright_by(image: Image.Image, by: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(by)


def _scaled(image: Image.Image, by: float) -> Image.Image:
    size = [max(1, round(side * by)) for side in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.BICUBIC)


Make = Callable[[bytes, Image.Image, np.random.Generator], tuple[bytes, str]]
MANNERS: dict[str, Make] = {
    "same file": lambda content, image, rng: (content, ".jpg"),
    "same pixels, as PNG": lambda content, image, rng: (encoded(image, "PNG"), ".png"),
    "JPEG of quality 40–90": lambda content, image, rng: (
        encoded(image, quality=int(rng.integers(40, 91))),
        ".jpg",
    ),
    "scaled to 50–150 %": lambda content, image, rng: (
        encoded(_scaled(image, rng.uniform(0.5, 1.5)), quality=90),
        ".jpg",
    ),
    "mirrored": lambda content, image, rng: (encoded(ImageOps.mirror(image), quality=90), ".jpg"),
    "brightness × 0.6–1.5": lambda content, image, rng: (
        encoded(_bright_by(image, rng.uniform(0.6, 1.5)), quality=90),
        ".jpg",
    ),
    "all of these": lambda content, image, rng: (
        encoded(
            _bright_by(
                ImageOps.mirror(_scaled(image, rng.uniform(0.5, 1.5))), rng.uniform(0.7, 1.4)
            ),
            quality=int(rng.integers(40, 91)),
        ),
        ".jpg",
    ),
}
EXACT = ("same file", "same pixels, as PNG")


def _plant_copies(
    plot: Plot, originals: Sequence[tuple[str, Photo]], rng: np.random.Generator
) -> list[Copy]:
    copies = []
    manners = list(MANNERS)
    for number, (path, (label, content)) in enumerate(originals):
        manner = manners[number % len(manners)]
        image = Image.open(io.BytesIO(content)).convert("RGB")
        made, suffix = MANNERS[manner](content, image, rng)
        name = f"test/{label}/copy-{number:04}{suffix}"
        (plot.root / name).write_bytes(made)
        copies.append(Copy(path, name, manner))
    return copies


def _plant_few_copies(plot: Plot, labels: Sequence[str]) -> None:
    """Plant copies within a split, and with another label."""
    first, second = labels[:2]
    for kind, folder, again in (
        ("exact-copies", f"train/{first}", f"train/{first}"),
        ("exact-labels", f"train/{first}", f"train/{second}"),
    ):
        (original,) = plot.fill(folder, 1)
        plot.add(kind, (plot.root / original).read_bytes(), folder=again)
    for kind, folder, again in (
        ("near-copies", f"train/{first}", f"train/{first}"),
        ("near-labels", f"train/{first}", f"train/{second}"),
    ):
        (original,) = plot.fill(folder, 1)
        image = Image.open(plot.root / original).convert("RGB")
        plot.add(kind, encoded(_scaled(image, 0.8), quality=70), folder=again)


# -- data sets ------------------------------------------------------------------------------------


def plant_folder(
    root: Path, photos: Sequence[Photo], copies: int, per_kind: int = 1, seed: int = 0
) -> tuple[list[Planted], list[Copy], list[str]]:
    """Make the folder `root` of train and test with faults; a quarter of `photos`, at most 300, are
    kept for them. Return the faults, the copies across the splits, and the good photos."""
    rng = np.random.default_rng(seed)
    mixed = [photos[i] for i in rng.permutation(len(photos))]
    reserved = min(300, len(mixed) // 2)
    labels = sorted({label for label, _ in mixed})
    plot = Plot(root, iter(mixed[:reserved]), host=labels[0])
    good: list[tuple[str, Photo]] = []
    for split, label in ((split, label) for split in ("train", "test") for label in labels):
        (root / split / label).mkdir(parents=True)
    for number, photo in enumerate(mixed[reserved:]):
        name = f"{'test' if number % 3 == 0 else 'train'}/{photo[0]}/{number:05}.jpg"
        (root / name).write_bytes(photo[1])
        good.append((name, photo))
    made = _plant_copies(plot, [g for g in good if g[0].startswith("train")][:copies], rng)
    _plant_few_copies(plot, labels)
    for _ in range(per_kind):
        for plant in PHOTOS.values():
            plant(plot)
    for plant in (*FILES.values(), *CLASSES.values()):
        plant(plot)
    plot.planted.append(Planted("imbalance", ""))
    return plot.planted, made, [name for name, _ in good]


def plant_table(root: Path, photos: Sequence[Photo]) -> list[Planted]:
    """Make ``root/photos.csv`` with faulty rows, of two classes and two splits."""
    root.mkdir()
    rows = []
    for number, (_, content) in enumerate(photos[:40]):
        (root / f"{number}.jpg").write_bytes(content)
        split = "test" if number % 4 == 0 else "train"
        rows.append([f"{number}.jpg", "ab"[number // 2 % 2], split, f"person {number // 3}"])
    shutil.copy(root / "1.jpg", root.parent / "outside.jpg")
    (root / "extra.jpg").write_bytes(photos[40][1])
    faults = {
        "row-repeated": rows[1],
        "row-two-labels": ["2.jpg", "a", rows[2][2], ""],
        "row-two-splits": ["3.jpg", rows[3][1], "test", ""],
        "row-no-file": ["gone.jpg", "a", "train", ""],
        "row-no-label": ["5.jpg", "", "train", ""],
        "row-no-path": ["", "a", "train", ""],
        "row-bad-split": ["6.jpg", rows[6][1], "holdout", ""],
        "row-outside": ["../outside.jpg", "a", "train", ""],
    }
    planted = [Planted(kind, f"row {len(rows) + n}") for n, kind in enumerate(faults)]
    with (root / "photos.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["path", "label", "split", "person"], *rows, *faults.values()])
    more = ("group-leak", "0.jpg"), ("split-small", "test"), ("not-in-table", "extra.jpg")
    return [*planted, *(Planted(*row) for row in more)]


def plant_grey(root: Path, photos: Sequence[Photo]) -> list[Planted]:
    """Make a folder of grey photos with one in colour, and a class folder that cannot be listed."""
    for number, (_, content) in enumerate(photos[:40]):
        image = Image.open(io.BytesIO(content)).convert("RGB" if number == 0 else "L")
        folder = root / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{number}.png")
    (root / "closed").mkdir(mode=0)
    return [Planted("colour", "a/0.png"), Planted("folder-unreadable", "closed/")]
