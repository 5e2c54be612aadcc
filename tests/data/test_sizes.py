"""`median_short_side`: from headers alone, whatever lies among the photos."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnets.data import images
from resnets.data.samples import FileReader, Samples
from resnets.data.sizes import median_short_side


def photos(root: Path, *sizes: tuple[int, int]) -> list[str]:
    names = [f"{i}.png" for i in range(len(sizes))]
    for name, size in zip(names, sizes, strict=True):
        Image.new("L", size).save(root / name)
    return names


def samples(root: Path, names: list[str]) -> Samples:
    return Samples(tuple(names), np.zeros(len(names), np.int64), FileReader(root, tuple(names)))


def test_the_median_of_the_short_sides(tmp_path: Path) -> None:
    names = photos(tmp_path, (10, 90), (80, 20), (30, 30))
    assert median_short_side(samples(tmp_path, names)) == 20
    assert median_short_side(samples(tmp_path, ["gone.png"])) is None


def test_a_pipe_among_the_photos_is_not_opened(tmp_path: Path) -> None:
    names = photos(tmp_path, (10, 90), (80, 10))
    os.mkfifo(tmp_path / "pipe.jpg")
    found: list[int | None] = []
    thread = threading.Thread(
        target=lambda: found.append(median_short_side(samples(tmp_path, [*names, "pipe.jpg"]))),
        daemon=True,
    )
    thread.start()
    thread.join(10)
    assert found == [10]


def test_a_file_that_will_not_be_decoded_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = photos(tmp_path, (10, 10), (300, 300), (300, 300))
    monkeypatch.setattr(images, "MAX_BYTES", (tmp_path / "0.png").stat().st_size)
    assert median_short_side(samples(tmp_path, names)) == 10
