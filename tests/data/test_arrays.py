"""Arrays in memory and in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resnets.data.images import decode
from resnets.data.sources import open_dataset
from resnets.errors import UserError

X = np.arange(12 * 4 * 4, dtype=np.uint8).reshape(12, 4, 4)
Y = np.array([0, 1, 10] * 4)


def error(data: object) -> str:
    with pytest.raises(UserError) as caught:
        open_dataset(data)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("shape", [(12, 4, 4), (12, 4, 4, 1), (12, 4, 4, 3), (12, 4, 4, 4)])
def test_arrays_in_memory(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    dataset = open_dataset((images, Y))
    assert dataset.name == dataset.root == "memory"
    assert dataset.classes == ("0", "1", "10")
    assert {name: len(part) for name, part in dataset.splits.items()} == {
        "train": 6,
        "val": 3,
        "test": 3,
        "all": 12,
    }
    part = dataset.splits["test"]
    for i, name in enumerate(part.ids):
        row = int(name.removeprefix("row "))
        np.testing.assert_array_equal(part.read(i), images[row])
        assert dataset.classes[part.labels[i]] == str(Y[row])
        assert part.path(i) == f"memory#row {row}"


@pytest.mark.parametrize(
    "labels",
    [
        ["a", "b", "c"] * 4,
        np.array(["a", "b", "c"] * 4),
        np.array(["a", "b", "c"] * 4, dtype=object),
        np.array([["a"], ["b"], ["c"]] * 4),
    ],
)
def test_labels_of_many_kinds(labels: object) -> None:
    assert open_dataset((X, labels)).classes == ("a", "b", "c")


def test_labels_that_are_truths() -> None:
    assert open_dataset((X, np.array([True, False] * 6))).classes == ("False", "True")


def test_paths_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [tmp_path / f"{i}.jpg" for i in range(6)]
    for path in paths:
        path.touch()
    labels = ["a", "b"] * 3
    for given in (paths, tuple(map(str, paths)), np.array(paths), np.array(list(map(str, paths)))):
        everything = open_dataset((given, labels)).splits["all"]
        assert everything.ids == tuple(map(str, paths))
        assert everything.read(3) == paths[3]
    relative = open_dataset(([path.name for path in paths], labels)).splits["all"]
    assert relative.ids[0] == "0.jpg"
    assert relative.path(0) == "0.jpg"
    assert "names 1 of 6 files that do not exist" in error(([*paths[:5], "gone.jpg"], labels))
    assert "has 6 rows, but the labels 5" in error((paths, labels[:5]))


@pytest.mark.parametrize(("x", "y"), [("x", "y"), ("images", "labels"), ("X", "Labels")])
def test_npz(tmp_path: Path, x: str, y: str) -> None:
    np.savez(tmp_path / "t.npz", **{x: X, y: Y, "meta": np.zeros(3)})
    dataset = open_dataset(tmp_path / "t.npz")
    assert dataset.name == "t"
    everything = dataset.splits["all"]
    np.testing.assert_array_equal(everything.read(5), X[5])
    assert everything.path(5) == f"{tmp_path}/t.npz#row 5"
    assert dataset.split_info["kind"] == "seeded"


@pytest.mark.parametrize("pattern", ["{role}_{split}", "{split}_{role}"])
def test_npz_with_splits(tmp_path: Path, pattern: str) -> None:
    arrays = {}
    for split, rows in (("train", slice(0, 6)), ("val", slice(6, 9)), ("test", slice(9, 12))):
        arrays[pattern.format(role="x", split=split)] = X[rows]
        arrays[pattern.format(role="y", split=split)] = Y[rows]
    np.savez_compressed(tmp_path / "t.npz", **arrays)
    dataset = open_dataset(tmp_path / "t.npz")
    assert dataset.split_info["kind"] == "arrays"
    for split, start, count in (("train", 0, 6), ("val", 6, 3), ("test", 9, 3)):
        part = dataset.splits[split]
        assert len(part) == count
        for i in range(count):
            np.testing.assert_array_equal(part.read(i), X[start + i])
    name = pattern.format(role="x", split="test")
    assert dataset.splits["test"].ids[2] == f"{name} row 2"
    assert dataset.splits["test"].path(2) == f"{tmp_path}/t.npz#{name}#row 2"


def test_a_folder_of_arrays_stays_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", X)
    np.save(tmp_path / "labels.npy", Y)
    everything = open_dataset(tmp_path).splits["all"]
    row = everything.read(7)
    assert isinstance(row, np.ndarray)
    np.testing.assert_array_equal(row, X[7])
    assert not row.flags.owndata
    assert decode(row).shape == (4, 4, 3)


def test_arrays_that_do_not_belong_together(tmp_path: Path) -> None:
    assert "has 12 rows, but the labels 11" in error((X, Y[:11]))
    file = tmp_path / "t.npz"
    np.savez(file, x=X, y=Y[:5])
    assert "has 12 rows, but y 5" in error(file)
    np.savez(file, x=X)
    assert "holds x: x has no part" in error(file)
    np.savez(file, x=X, y=Y, x_train=X, y_train=Y)
    assert "has no part beside the others" in error(file)
    np.savez(file, x=X, images=X, y=Y)
    assert "holds both x and images" in error(file)
    np.savez(file, a=X)
    assert "holds a: arrays named x and y" in error(file)


def test_arrays_that_are_no_images() -> None:
    assert "looks like N C H W" in error((np.zeros((12, 3, 8, 8), np.uint8), Y))
    assert "images are N H W" in error((np.zeros((12, 5), np.uint8), Y))
    assert "holds int64" in error((X.astype(np.int64), Y))
    assert "is empty" in error((X[:0], Y[:0]))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.linspace(0, 1, 12), "floating-point numbers"),
        ([None, *("ab" * 5), "a"], "has no label in row 0"),
        (["a", "b"] * 5 + ["a", float("nan")], "has no label in row 11"),
        (np.array(["a", "b"] * 5 + ["a", ""]), "has no label in row 11"),
        (np.array(["a", 1] * 6, dtype=object), "holds int and str objects"),
        (np.eye(12), "has shape (12, 12)"),
        (np.array([1j] * 12), "complex128"),
    ],
)
def test_labels_that_cannot_be_classes(labels: object, words: str) -> None:
    assert words in error((X, labels))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "t.npz"
    np.savez(file, x=np.array([{}] * 12, dtype=object), y=Y)
    assert "Python objects are never loaded" in error(file)
    np.savez(file, x=X, y=Y)
    file.write_bytes(file.read_bytes()[:-40])
    assert "cannot be read" in error(file)
    file.write_bytes(b"")
    assert "cannot be read" in error(file)
    np.save(tmp_path / "images.npy", X)
    np.save(tmp_path / "labels.npy", Y)
    file.unlink()
    (tmp_path / "images.npy").write_bytes((tmp_path / "images.npy").read_bytes()[:100])
    assert "cannot be read" in error(tmp_path)
