from __future__ import annotations

import os
from pathlib import Path

import pytest

from resnets.data import tokens
from resnets.data.tokens import Tokens, content_token


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, tuple[str, ...]]:
    monkeypatch.setenv("RESNETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tokens, "MANY", 5)
    root = tmp_path / "root"
    root.mkdir()
    names = tuple(f"{i}.bin" for i in range(8))
    for i, name in enumerate(names):
        (root / name).write_bytes(bytes([i]) * (i + 1) * 1000)
    return root, names


def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the list of files that are opened from now on."""
    seen: list[Path] = []
    original = tokens.check_file
    monkeypatch.setattr(tokens, "check_file", lambda path: (seen.append(path), original(path))[1])
    return seen


def test_files_are_read_once(
    files: tuple[Path, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, names = files
    first = [Tokens(root, names)[0], *(Tokens(root, names)[i] for i in range(1, 8))]
    assert first == [
        content_token((root / name).read_bytes(), (root / name).stat().st_size) for name in names
    ]
    whole = Tokens(root, names)
    assert [whole[i] for i in reversed(range(8))] == first[::-1]
    seen = opened(monkeypatch)
    again = Tokens(root, names)
    assert [again[i] for i in range(8)] == first
    assert not seen


def test_a_file_that_was_changed_is_read_again(
    files: tuple[Path, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, names = files
    before = Tokens(root, names)
    tokens_before = [before[i] for i in range(8)]
    content = (root / "3.bin").read_bytes()
    (root / "3.bin").write_bytes(b"x" + content[1:])
    os.utime(root / "3.bin", ns=(1, 1))
    seen = opened(monkeypatch)
    after = Tokens(root, names)
    assert [i for i in range(8) if after[i] != tokens_before[i]] == [3]
    assert seen == [root / "3.bin"]


def test_a_damaged_cache_and_a_missing_file_do_no_harm(
    files: tuple[Path, tuple[str, ...]], tmp_path: Path
) -> None:
    root, names = files
    found = Tokens(root, names)
    expected = [found[i] for i in range(8)]
    (kept,) = (tmp_path / "cache" / "tokens").iterdir()
    for damage in (b"", b"\x93NUMPY\x01\x00junk", kept.read_bytes()[:-7]):
        kept.write_bytes(damage)
        again = Tokens(root, names)
        assert [again[i] for i in range(8)] == expected
    (root / "2.bin").unlink()
    assert Tokens(root, names)[2] == ""
