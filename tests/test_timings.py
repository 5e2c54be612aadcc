from __future__ import annotations

from pathlib import Path

import pytest

from resnets.timings import recall, remember


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RESNETS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_what_is_remembered_is_recalled(home: Path) -> None:
    assert recall("a machine") is None
    remember("a machine", {"seconds": 1.5})
    remember("another", {"seconds": 2})
    remember("a machine", {"seconds": 3.25, "steps": [1, 2]})
    assert recall("a machine") == {"seconds": 3.25, "steps": [1, 2]}
    assert recall("another") == {"seconds": 2}
    assert len(list((home / "resnets" / "timings").iterdir())) == 2


@pytest.mark.parametrize(
    "damage", ["", "{", "[1]", "[" * 100_000, '{"key": "other", "value": {}}', '{"key": "k"}']
)
def test_a_damaged_file_is_nothing_and_is_written_anew(home: Path, damage: str) -> None:
    remember("k", {"seconds": 1})
    (path,) = (home / "resnets" / "timings").iterdir()
    path.write_text(damage)
    assert recall("k") is None
    remember("k", {"seconds": 2})
    assert recall("k") == {"seconds": 2}


def test_bytes_that_are_no_text_are_nothing(home: Path) -> None:
    remember("k", {"seconds": 1})
    (path,) = (home / "resnets" / "timings").iterdir()
    path.write_bytes(b"\xff\xfe\x00")
    assert recall("k") is None


def test_where_nothing_can_be_written_nothing_is_remembered(home: Path) -> None:
    (home / "resnets").write_text("not a folder")
    remember("k", {"seconds": 1})
    assert recall("k") is None
