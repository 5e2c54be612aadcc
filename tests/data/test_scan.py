"""Walking folders and naming inputs."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from resnets.data.scan import find_images, walk
from resnets.errors import UserError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_the_order_is_that_of_the_full_paths(tmp_path: Path) -> None:
    names = ["a/z.jpg", "a.jpg", "a-b/1.jpg", "a0.jpg", "B/1.jpg", "a/b/c.png", "\u00e9/1.jpg"]
    assert list(walk(touch(tmp_path, *names), Counter())) == sorted(names)


def test_a_walk_streams(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    names = walk(tmp_path, Counter())
    assert next(names) == "a/1.jpg"
    (tmp_path / "b" / "2.jpg").touch()
    assert list(names) == ["b/1.jpg", "b/2.jpg"]


def test_very_deep_folders(tmp_path: Path) -> None:
    touch(tmp_path, "d/" * 300 + "1.jpg")
    assert list(walk(tmp_path, Counter())) == ["d/" * 300 + "1.jpg"]


def test_two_links_to_one_folder_are_no_loop(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    tally: Counter[str] = Counter()
    assert list(walk(tmp_path, tally)) == ["a/1.jpg", "b/1.jpg"]
    assert tally == {"symlink loops": 2}


def test_inputs_come_in_the_order_of_their_naming(tmp_path: Path) -> None:
    touch(tmp_path, "z.jpg", "f/2.png", "f/1.jpg", "f/.x.jpg", "f/t.txt", "notes.txt")
    named = [tmp_path / "z.jpg", str(tmp_path / "f"), tmp_path / "notes.txt", tmp_path / "gone.jpg"]
    found = [os.path.relpath(path, tmp_path) for path in find_images(named)]
    assert found == ["z.jpg", "f/1.jpg", "f/2.png", "notes.txt", "gone.jpg"]


def test_what_is_passed_over_in_folders_is_counted(tmp_path: Path) -> None:
    touch(tmp_path, "f/1.jpg", "f/.x.jpg", "f/g/t.txt", "f/photo.heic", "notes.txt")
    tally: Counter[str] = Counter()
    assert len(list(find_images([tmp_path / "f", tmp_path / "notes.txt"], tally))) == 2
    assert tally == {"other files": 2, "hidden files": 1}


def test_patterns_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(touch(tmp_path, "b.jpg", "a.jpg", "f/1.jpg", "f/g/2.jpg", "c.png"))

    def found(*names: str) -> list[str]:
        return list(find_images(names))

    assert found("*.jpg") == ["a.jpg", "b.jpg"]
    assert found("**/*.jpg") == ["a.jpg", "b.jpg", "f/1.jpg", "f/g/2.jpg"]
    assert found("f/**") == ["f/1.jpg", "f/g/2.jpg"]
    assert found("./b.jpg", "./f", "f/") == [
        "./b.jpg",
        "./f/1.jpg",
        "./f/g/2.jpg",
        "f/1.jpg",
        "f/g/2.jpg",
    ]
    assert found("[f]") == ["f/1.jpg", "f/g/2.jpg"]
    assert found("?.png", "a.jpg") == ["c.png", "a.jpg"]
    with pytest.raises(UserError, match=r"no file matches \*\.gif"):
        found("*.gif")
    touch(tmp_path, "odd[1].jpg")
    assert found("odd[1].jpg") == ["odd[1].jpg"]


def test_inputs_stream(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg")
    names = find_images([tmp_path, tmp_path / "nothing*"])
    assert next(names) == str(tmp_path / "1.jpg")
    with pytest.raises(UserError):
        next(names)


def test_a_folder_that_is_closed_to_us_has_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "c/1.jpg")
    scandir = os.scandir

    def refuse(folder: str) -> object:
        if os.path.basename(os.path.normpath(folder)) == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    with monkeypatch.context() as patch:  # whoever removes the folder scans it, too
        patch.setattr(os, "scandir", refuse)
        expected = [str(tmp_path / name) for name in ("a/1.jpg", "b", "c/1.jpg")]
        assert list(find_images([tmp_path])) == expected
        assert list(find_images([tmp_path / "b"])) == [str(tmp_path / "b")]
        with pytest.raises(UserError, match="no permission to read"):
            list(walk(tmp_path, Counter()))
