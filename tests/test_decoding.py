from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnets import decoding
from resnets.console import Console
from resnets.data.cache import Storage
from resnets.data.preprocess import Preprocess
from resnets.data.sources import Dataset, open_dataset
from resnets.decoding import decode_splits
from resnets.errors import UserError
from resnets.training.distributed import Alone

BROKEN = 13


@pytest.fixture
def photos(tmp_path: Path) -> Dataset:
    """Most of the training photos do not decode."""
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for label in ("a", "b"):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            for i in range(8):
                path = folder / f"{i}.png"
                Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(path)
    for label, count in (("a", 7), ("b", BROKEN - 7)):
        for i in range(count):
            (tmp_path / "data" / "train" / label / f"{i}.png").write_bytes(b"no photo")
    return open_dataset(tmp_path / "data")


def test_broken_photos_are_named_and_counted_ahead(
    photos: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    caches = decode_splits(tmp_path, photos, Preprocess(8, 8), 1, Console(), Alone())
    said = capsys.readouterr().err.splitlines()
    assert sum("; left out" in line for line in said) == decoding.NAMED
    assert said[-1] == f"warning: {BROKEN} of 48 photos do not decode and are left out"
    assert len(caches["train"].broken()) == BROKEN


def test_of_very_many_they_are_named_when_they_are_met(
    photos: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "AHEAD", 47)
    caches = decode_splits(tmp_path, photos, Preprocess(8, 8), 1, Console(), Alone())
    assert "48, decoded when they are met" in capsys.readouterr().err
    assert not len(caches["train"].broken())
    good, _ = caches["train"].get(np.arange(16))
    assert len(good) == 16 - BROKEN
    said = capsys.readouterr().err.splitlines()
    assert sum("; left out" in line for line in said) == decoding.NAMED
    caches["train"].get(np.arange(16))
    assert not capsys.readouterr().err


def test_where_there_is_no_room_they_are_named_when_they_are_met(
    photos: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "choose_storage", lambda nbytes, folder: Storage("none"))
    caches = decode_splits(tmp_path, photos, Preprocess(8, 8), 1, Console(), Alone())
    caches["train"].get(np.arange(16))
    said = capsys.readouterr().err.splitlines()
    assert sum("; left out" in line for line in said) == decoding.NAMED


def test_a_class_of_which_nothing_decodes_is_refused(photos: Dataset, tmp_path: Path) -> None:
    (tmp_path / "data" / "train" / "a" / "7.png").write_bytes(b"no photo")
    with pytest.raises(UserError, match="class 'a': none of its training photos decodes"):
        decode_splits(tmp_path, photos, Preprocess(8, 8), 1, Console(), Alone())
