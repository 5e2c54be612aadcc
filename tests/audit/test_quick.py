"""What training says in passing about photos that are there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from resnets.audit import quick
from resnets.audit.quick import quick_check
from resnets.console import Console
from resnets.data.cache import ImageCache, Storage
from resnets.data.preprocess import Preprocess
from resnets.data.sources import open_dataset

Say = Callable[..., str]
Run = Callable[..., tuple[int, str, str]]
CLASSES = ("even", "odd")


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Return a function that gives what is said of arrays of train and test photos."""

    def check(data: str | None = "photos", storage: str = "memory", **arrays: np.ndarray) -> str:
        dataset = {
            split: open_dataset((x, np.arange(len(x)) % 2), val_fraction=0, test_fraction=0).splits[
                "all"
            ]
            for split, x in arrays.items()
        }
        caches = {
            split: ImageCache(samples, Preprocess(16, 16), Storage(storage))
            for split, samples in dataset.items()
        }
        for cache in caches.values():
            for _ in cache.fill(0):
                pass
        quick_check(caches, CLASSES, Console(), data)
        return capsys.readouterr().err.strip()

    return check


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), np.uint8)


def test_nothing_is_said_of_photos_that_differ(say: Say) -> None:
    assert say(train=noise(20), test=noise(10, 1)) == ""


def test_leaks_and_labels(say: Say) -> None:
    train, test = noise(20), noise(10, 1)
    test[2], test[4], train[7] = train[0], train[2], train[4]
    assert say(train=train, test=test) == (
        "check    2 photos of test are in train, too; 2 photos of the same pixels have different "
        "labels; see: resnets check photos"
    )


def test_one_row_that_differs_is_enough(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "LINES", 2)
    train, test = noise(20), noise(10, 1)
    test[2] = train[0]
    test[2, 3] += 1  # not one of the rows that are looked at first
    assert say(train=train, test=test) == ""


def test_no_photo_is_looked_at_more_than_twice(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "LINES", 2)
    train = np.repeat(noise(1), 40, axis=0)
    train[:, 3, 0, 0] = np.arange(40) // 2  # not one of the rows that are looked at first
    looked: Counter[int] = Counter()
    rows = ImageCache.rows

    def count(cache: ImageCache, i: int, step: int) -> NDArray[np.uint8] | None:
        looked[i] += 1
        return rows(cache, i, step)

    monkeypatch.setattr(ImageCache, "rows", count)
    assert "40 photos of the same pixels have different labels" in say(train=train)
    assert set(looked.values()) == {2}


def test_small_classes_are_named_and_notes_are_not(say: Say) -> None:
    few = "classes with fewer than 10 training photos"
    assert say(train=noise(19), test=noise(2, 1)) == (
        f"check    {few}: odd (9); see: resnets check photos"
    )
    train = noise(10)
    train[1] = train[0]
    assert say(None, train=train) == (
        "check    2 photos of the same pixels have different labels\n"
        f"         {few}: even (5), odd (5)"
    )


def test_the_first_classes_are_named_and_the_others_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    x, y = noise(50), [str(i // 9) for i in range(50)]
    samples = open_dataset((x, y), val_fraction=0, test_fraction=0).splits["all"]
    caches = {"train": ImageCache(samples, Preprocess(16, 16), Storage("memory"))}
    quick_check(caches, tuple("012345"), Console(), None)
    said = capsys.readouterr().err.strip()
    assert said.endswith("training photos: 0 (9), 1 (9), 2 (9) and 3 more")


def test_photos_that_do_not_decode_do_not_count(say: Say) -> None:
    train = noise(20) / 255
    assert say(train=train) == ""
    train[0] = 2  # no array of a photo
    assert "training photos: even (9); see" in say(train=train)


def test_many_photos_are_left_to_the_command(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "MOST", 10)
    assert "not looked for among more than 10 photos" in say(train=noise(20))


def test_photos_that_are_not_kept_are_not_decoded_for_it(say: Say) -> None:
    train = noise(20)
    assert say(train=train, test=train, storage="none") == ""


def test_training_says_it(tmp_path: Path, run: Run) -> None:
    data = tmp_path / "arrays.npz"
    x, held = noise(24), noise(8, 1)
    held[0] = x[0]
    y, z = np.arange(24) % 2, np.arange(8) % 2
    np.savez(data, x_train=x, y_train=y, x_val=noise(8, 2), y_val=z, x_test=held, y_test=z)
    options = ("--epochs", 1, "--model", "resnet8", "--batch-size", 8, "--speed", "exact")
    status, _, said = run("train", data, "--out", tmp_path / "run", *options)
    assert status == 0
    assert f"1 photo of test is in train, too; see: resnets check {data}" in said


def test_a_class_that_a_split_lacks_is_said_once(tmp_path: Path, run: Run) -> None:
    data = tmp_path / "arrays.npz"
    y, z = np.arange(24) % 2, np.zeros(8, int)
    np.savez(data, x_train=noise(24), y_train=y, x_val=noise(8, 1), y_val=z)
    options = ("--epochs", 1, "--model", "resnet8", "--batch-size", 8, "--speed", "exact")
    status, _, said = run("train", data, "--out", tmp_path / "run", *options)
    assert status == 0, said
    assert said.count("the val split has no photos of class '1'") == 1
    assert "check    " not in said


def test_nothing_is_said_of_the_photos_of_the_package(tmp_path: Path, run: Run) -> None:
    options = ("--epochs", 1, "--size", 8, "--speed", "exact", "--workers", 0)
    status, _, said = run("train", "sign-digits", "--out", tmp_path / "run", *options)
    assert status == 0, said
    assert "check    " not in said
