"""What was measured: kept, replaced, and forgotten without harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnets import timings
from resnets.timings import recall, remember


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESNETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "timings.json"


def test_there_and_back(file: Path) -> None:
    assert recall("a") is None
    remember("a", {"rate": 1.5})
    remember("é", {"engine": "torch"})
    remember("a", {"rate": 2})
    assert recall("a") == {"rate": 2}
    assert recall("é") == {"engine": "torch"}
    assert [path.name for path in file.parent.iterdir()] == ["timings.json"]


def test_the_users_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESNETS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    remember("a", {})
    assert (tmp_path / "xdg" / "resnets" / "timings.json").is_file()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a": 1}']
)
def test_a_damaged_file_is_empty_and_written_anew(content: bytes, file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    assert recall("a") is None
    remember("a", {"rate": 1})
    assert recall("a") == {"rate": 1}


def test_a_folder_that_cannot_be_written(file: Path) -> None:
    file.parent.write_text("a file, not a folder")
    remember("a", {"rate": 1})
    assert recall("a") is None
    assert file.parent.read_text() == "a file, not a folder"


def test_only_the_latest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timings, "KEPT", 3)
    for name in "abcdbe":
        remember(name, {"name": name})
    assert [name for name in "abcde" if recall(name)] == ["b", "d", "e"]
