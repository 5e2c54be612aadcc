"""Opening what the user names: folders, names of the package, and every error on the way."""

from __future__ import annotations

import json
import os
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from resnets.data.images import decode
from resnets.data.samples import ArrayReader, FileReader, Samples
from resnets.data.sources import BUILTIN, Dataset, open_dataset
from resnets.errors import UserError


def touch(root: Path, *names: str) -> Path:
    """Make empty files: opening a data source reads no image."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def photos(folder: str, count: int) -> list[str]:
    return [f"{folder}/{i:02}.jpg" for i in range(count)]


def sizes(dataset: Dataset) -> dict[str, int]:
    return {name: len(samples) for name, samples in dataset.splits.items()}


def error(data: object, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        open_dataset(data, **options)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    return text


# Folders


def test_bare_class_folders_are_split(tmp_path: Path) -> None:
    root = touch(tmp_path / "pets", *photos("cat", 20), *photos("dog/deep/er", 10))
    dataset = open_dataset(root)
    assert dataset.name == "pets"
    assert dataset.root == str(root)
    assert dataset.classes == ("cat", "dog")
    assert sizes(dataset) == {"train": 21, "val": 3, "test": 6, "all": 30}
    assert dataset.ignored == {}
    assert dataset.notes == ()
    assert json.loads(json.dumps(dataset.split_info)) == {
        "kind": "seeded",
        "drawn": ["train", "val", "test"],
        "seed": 0,
        "val_fraction": 0.1,
        "test_fraction": 0.2,
    }
    everything = dataset.splits["all"]
    assert everything.ids == tuple(sorted(everything.ids))
    for samples in dataset.splits.values():
        for i, name in enumerate(samples.ids):
            assert samples.read(i) == root / name
            assert samples.path(i) == str(root / name)
            assert dataset.classes[samples.labels[i]] == name.split("/")[0]
    assert samples.labels.dtype == np.int64


@pytest.mark.parametrize("train", ["train", "Training"])
@pytest.mark.parametrize("val", ["val", "valid", "VALIDATION", "dev"])
@pytest.mark.parametrize("test", ["test", "Testing"])
def test_split_folders_go_by_their_usual_names(
    tmp_path: Path, train: str, val: str, test: str
) -> None:
    root = touch(
        tmp_path,
        *photos(f"{train}/a", 3),
        *photos(f"{train}/b", 1),
        *photos(f"{val}/a", 2),
        *photos(f"{test}/b", 4),
    )
    dataset = open_dataset(root)
    assert dataset.classes == ("a", "b")
    assert sizes(dataset) == {"train": 4, "val": 2, "test": 4, "all": 10}
    assert dataset.splits["test"].ids == tuple(photos(f"{test}/b", 4))
    assert dataset.split_info["kind"] == "folders"
    assert dataset.split_info["drawn"] == []
    assert dataset.notes == (
        "the val split has no photos of class 'b'",
        "the test split has no photos of class 'a'",
    )


def test_val_is_drawn_from_train_where_only_test_is_given(tmp_path: Path) -> None:
    root = touch(
        tmp_path,
        *photos("train/a", 20),
        *photos("train/b", 2),
        *photos("test/a", 5),
        *photos("test/b", 5),
    )
    dataset = open_dataset(root)
    assert sizes(dataset) == {"train": 19, "val": 3, "test": 10, "all": 32}
    assert dataset.split_info["kind"] == "folders"
    assert dataset.split_info["drawn"] == ["val"]
    assert all(name.startswith("test/") for name in dataset.splits["test"].ids)
    assert sizes(open_dataset(root, val_fraction=0)) == {"train": 22, "test": 10, "all": 32}


def test_train_and_val_are_left_without_test(tmp_path: Path) -> None:
    names = [*photos("train/a", 4), *photos("train/b", 4), *photos("val/a", 1), *photos("val/b", 1)]
    assert sizes(open_dataset(touch(tmp_path, *names))) == {"train": 8, "val": 2, "all": 10}


def test_train_alone_is_split_like_bare_folders(tmp_path: Path) -> None:
    dataset = open_dataset(touch(tmp_path, *photos("train/a", 10), *photos("train/b", 10)))
    assert sizes(dataset) == {"train": 14, "val": 2, "test": 4, "all": 20}
    assert dataset.split_info["kind"] == "seeded"


def test_data_for_evaluation_needs_no_training_photos(tmp_path: Path) -> None:
    dataset = open_dataset(touch(tmp_path, *photos("test/a", 1), *photos("test/b", 2)))
    assert sizes(dataset) == {"test": 3, "all": 3}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    root = touch(tmp_path, *photos("bus", 3), *photos("car", 3), *photos("train", 3))
    assert open_dataset(root).classes == ("bus", "car", "train")


def test_folders_beside_the_splits_are_passed_over_and_named(tmp_path: Path) -> None:
    root = touch(
        tmp_path, *photos("train/a", 3), *photos("train/b", 3), "docs/x.txt", *photos("test", 2)
    )
    dataset = open_dataset(root)
    assert dataset.classes == ("a", "b")
    assert dataset.ignored == {"other folders": 2}
    assert dataset.notes == ("passed over beside the split folders: docs/, test/",)


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    root = touch(
        tmp_path,
        *photos("a", 3),
        *photos("b", 3),
        *("a/.hidden.jpg", "a/Thumbs.db", "__MACOSX/a/1.jpg", ".git/1.jpg", "b/@eaDir/1.jpg"),
        *("a/notes.txt", "readme.md", "loose.jpg", "labels.csv"),
    )
    (root / "c").mkdir()
    (root / "b" / "again").symlink_to(root)
    (root / "b" / "self").symlink_to(root / "b" / "self")
    dataset = open_dataset(root)
    assert len(dataset.splits["all"]) == 6
    assert dataset.ignored == {
        "hidden files": 5,
        "other files": 3,  # the table, too
        "photos outside class folders": 1,
        "empty class folders": 1,
        "symlink loops": 2,
    }
    assert dataset.notes == ("labels.csv was not read: name it to use it",)


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", *photos("x", 3))
    root = touch(tmp_path / "root", *photos("b", 3))
    (root / "a").symlink_to(tmp_path / "elsewhere" / "x")
    assert open_dataset(root).splits["all"].ids == (*photos("a", 3), *photos("b", 3))


def test_class_names_are_normalised_and_file_names_are_not(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    root = touch(
        tmp_path, *photos(f"train/{composed}", 3), *photos("train/tea", 3), *photos("test/tea", 1)
    )
    touch(root, *photos(f"test/{decomposed}", 2), "test/tea/\u732b " + "x" * 200 + ".JPEG")
    dataset = open_dataset(root)
    assert dataset.classes == (composed, "tea")
    assert Path(dataset.splits["test"].path(0)).exists()
    assert sizes(dataset)["test"] == 4


def test_names_that_are_no_utf_8_can_be_saved(tmp_path: Path) -> None:
    root = touch(tmp_path, *photos("a", 3), *photos("b", 3))
    odd = os.fsencode(root / "a") + b"/\xff.jpg"
    try:
        os.close(os.open(odd, os.O_CREAT))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    everything = open_dataset(root).splits["all"]
    assert everything.ids.count("a/\\xff.jpg") == 1
    "".join(everything.ids).encode()
    row = everything.ids.index("a/\\xff.jpg")
    assert everything.path(row) == f"{root}/a/\\xff.jpg"
    where = everything.read(row)
    assert isinstance(where, Path)
    assert where.exists()


def test_places_in_a_file_whose_name_is_no_utf_8_can_be_saved() -> None:
    reader = ArrayReader((np.zeros((2, 4, 4)),), (os.fsdecode(b"\xff.npz"),))
    assert reader.path(1) == "\\xff.npz#row 1"


def test_class_names_that_are_numbers_are_sorted_by_value(tmp_path: Path) -> None:
    root = touch(tmp_path, *photos("10", 3), *photos("9", 3), *photos("1", 3))
    assert open_dataset(root).classes == ("1", "9", "10")


# The split


def test_the_split_depends_on_the_seed_and_on_nothing_else(tmp_path: Path) -> None:
    names = [*photos("a", 30), *photos("b", 30)]
    one = open_dataset(touch(tmp_path / "one", *names))
    two = open_dataset(touch(tmp_path / "two", *reversed(names)))
    other = open_dataset(tmp_path / "one", seed=1)
    for split in ("train", "val", "test", "all"):
        assert one.splits[split].ids == two.splits[split].ids
        assert one.splits[split].fingerprint() == two.splits[split].fingerprint()
    assert one.splits["test"].ids != other.splits["test"].ids
    assert one.splits["all"].fingerprint() == other.splits["all"].fingerprint()


def test_fractions_of_nothing_leave_the_split_out(tmp_path: Path) -> None:
    root = touch(tmp_path, *photos("a", 10), *photos("b", 1))
    assert sizes(open_dataset(root, val_fraction=0, test_fraction=0)) == {"train": 11, "all": 11}
    touch(root, *photos("b", 2))
    dataset = open_dataset(root, val_fraction=0, test_fraction=0.2)
    assert sizes(dataset) == {"train": 9, "test": 3, "all": 12}


def test_a_split_table_goes_before_all_else(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", *photos("a", 4), *photos("b", 4))
    recorded = {
        name: split
        for split, samples in open_dataset(root, seed=5).splits.items()
        for name in samples.ids
        if split != "all"
    }
    dataset = open_dataset(root, seed=6, split_table=recorded)
    assert dataset.splits["test"].ids == open_dataset(root, seed=5).splits["test"].ids
    assert dataset.split_info["kind"] == "split table"
    table = tmp_path / "split.csv"
    table.write_text("id,split\n" + "".join(f"{k},{v}\n" for k, v in recorded.items()))
    again = open_dataset(root, split_table=table)
    assert again.splits["val"].ids == dataset.splits["val"].ids
    touch(root, "a/new.jpg")
    assert "lacks 1 of 9 samples (a/new.jpg)" in error(root, split_table=table)
    assert "holds 'dev'" in error(root, split_table=dict.fromkeys(recorded, "dev"))


# Samples


def test_subsets_of_subsets_read_the_right_files(tmp_path: Path) -> None:
    names = tuple(photos("a", 6))
    samples = Samples(names, np.arange(6), FileReader(tmp_path, names))
    part = samples.subset([5, 1, 3]).subset(np.array([True, False, True]))
    assert part.ids == (names[5], names[3])
    assert part.labels.tolist() == [5, 3]
    assert [part.read(i) for i in range(len(part))] == [tmp_path / names[5], tmp_path / names[3]]
    copy = pickle.loads(pickle.dumps(part))
    assert copy.path(1) == part.path(1)


def test_the_fingerprint_sees_ids_and_labels_and_not_their_order(tmp_path: Path) -> None:
    samples = Samples(("x", "y"), np.array([0, 1]), FileReader(tmp_path, ("x", "y")))
    assert len(samples.fingerprint()) == 16
    assert samples.subset([1, 0]).fingerprint() == samples.fingerprint()
    assert samples.subset([0]).fingerprint() != samples.fingerprint()
    changed = Samples(samples.ids, np.array([1, 1]), samples.reader)
    assert changed.fingerprint() != samples.fingerprint()
    with pytest.raises(ValueError, match="2 ids, but labels of shape"):
        Samples(samples.ids, np.array([1]), samples.reader)


# Data inside the package


def test_the_embedded_photos_are_all_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = open_dataset("sign-digits")
    assert dataset.name == "sign-digits"
    assert dataset.classes == tuple("0123456789")
    assert sizes(dataset) == {"train": 1442, "val": 209, "test": 411, "all": 2062}
    everything = dataset.splits["all"]
    assert everything.ids[0] == "0/IMG_1118.JPG"
    assert [int(name[0]) for name in everything.ids] == everything.labels.tolist()
    assert decode(everything.read(2061)).shape == (64, 64, 3)
    folder = Path(everything.path(0).split("#")[0]).parent
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert "Arda Mavi" in (folder / "README.md").read_text()
    assert min(Counter(dataset.splits["test"].labels.tolist()).values()) >= 40


def test_a_folder_goes_before_a_name_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "sign-digits", *photos("a", 3), *photos("b", 3))
    assert open_dataset("sign-digits").classes == ("a", "b")
    assert "sign-digits" in BUILTIN


# Errors


def test_what_does_not_exist(tmp_path: Path) -> None:
    text = error("sign-digit")
    assert "sign-digit does not exist" in text
    assert "did you mean sign-digits?" in text
    assert "does not exist" in error(tmp_path / "nothing" / "here")
    assert "does not exist" in error(touch(tmp_path, "file") / "file" / "below")
    assert "is no data set" in error(touch(tmp_path, "photo.jpg") / "photo.jpg")
    assert "3 parts" in error((1, 2, 3))


def test_folders_without_photos(tmp_path: Path) -> None:
    assert "is empty" in error(tmp_path)
    text = error(touch(tmp_path / "texts", "a/1.txt", "b/2.txt"))
    assert "holds no photos (2 other files, 2 empty class folders)" in text
    assert ".jpg" in text


def test_loose_photos(tmp_path: Path) -> None:
    text = error(touch(tmp_path / "loose", "1.jpg", "2.jpg"))
    assert "2 photos, but no class folders" in text
    text = error(touch(tmp_path / "splits", *photos("train", 3), *photos("test", 3)))
    assert "photos in test and train, but no class folders" in text


def test_one_class(tmp_path: Path) -> None:
    assert "one class only, 'cat'" in error(touch(tmp_path, *photos("cat", 9), "dog/x.txt"))


@pytest.mark.parametrize(("count", "words"), [(1, "one training photo"), (2, "2 training photos")])
def test_a_class_with_too_few_photos(tmp_path: Path, count: int, words: str) -> None:
    text = error(touch(tmp_path, *photos("a", 9), *photos("b", count)))
    assert f"class 'b' has {words}, but train, val and test need one each: add photos" in text


def test_a_class_with_one_training_photo_and_no_val(tmp_path: Path) -> None:
    names = [*photos("train/a", 9), *photos("train/b", 1), *photos("test/a", 1)]
    text = error(touch(tmp_path, *names))
    assert "class 'b' has one training photo, but train and val need one each" in text


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_class_without_training_photos(tmp_path: Path, split: str) -> None:
    names = [*photos("train/a", 3), *photos("train/b", 3), *photos(f"{split}/c", 1)]
    text = error(touch(tmp_path, *names))
    assert f"the {split} split of {tmp_path} has class 'c' with no training photos" in text


def test_two_folders_for_one_split(tmp_path: Path) -> None:
    names = [*photos("train/a", 3), *photos("val/a", 3), *photos("valid/a", 3)]
    assert "2 folders for the val split (val/, valid/)" in error(touch(tmp_path, *names))


def test_a_split_folder_beside_class_folders(tmp_path: Path) -> None:
    names = [*photos("train/a", 3), *photos("bus", 3), *photos("car", 3)]
    assert "looks like a split, beside other folders" in error(touch(tmp_path, *names))


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (-0.1, 0.2), (0.1, float("nan"))])
def test_fractions_that_leave_nothing(tmp_path: Path, val: float, test: float) -> None:
    text = error(tmp_path, val_fraction=val, test_fraction=test)
    assert "do not leave a part for training" in text


def test_a_folder_that_is_closed_to_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = touch(tmp_path, *photos("a", 3), *photos("b", 3))
    scandir = os.scandir

    def refuse(folder: str | Path) -> object:
        if os.path.normpath(folder) == str(root / "b"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    with monkeypatch.context() as patch:  # whoever removes the folder scans it, too
        patch.setattr(os, "scandir", refuse)
        assert f"no permission to read {root}/b" in error(root)
