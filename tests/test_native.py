"""Compiling C++ on this machine: kept, made anew when it has to be, and refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnets.errors import UserError
from resnets.native import compile_library


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESNETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "native"


def write(folder: Path, text: str) -> Path:
    source = folder / "answer.cpp"
    source.write_text(text)
    return source


def test_it_is_compiled_once(tmp_path: Path, cache: Path) -> None:
    source = write(tmp_path, 'extern "C" int answer() { return 42; }')
    assert compile_library(source).answer() == 42
    (kept,) = cache.iterdir()
    made = kept.stat().st_mtime_ns
    assert compile_library(source).answer() == 42
    assert kept.stat().st_mtime_ns == made
    write(tmp_path, 'extern "C" int answer() { return 43; }')
    assert compile_library(source).answer() == 43
    assert len([*cache.iterdir()]) == 2


def test_what_others_may_have_written_is_not_loaded(tmp_path: Path, cache: Path) -> None:
    source = write(tmp_path, 'extern "C" int answer() { return 46; }')
    compile_library(source)
    (kept,) = cache.iterdir()
    assert not kept.stat().st_mode & 0o077
    for path, mode in ((kept, 0o620), (kept.parent, 0o777)):
        before = path.stat().st_mode
        made = kept.stat().st_mtime_ns
        path.chmod(mode)
        assert compile_library(source).answer() == 46
        path.chmod(before)
        assert (kept.stat().st_mtime_ns == made) == (path == kept.parent)  # not written there
    target = tmp_path / "elsewhere.so"
    kept.rename(target)
    kept.symlink_to(target)
    assert compile_library(source).answer() == 46
    assert not kept.is_symlink()


def test_a_damaged_library_is_made_anew(tmp_path: Path, cache: Path) -> None:
    source = write(tmp_path, 'extern "C" int answer() { return 44; }')
    compile_library(source)
    (kept,) = cache.iterdir()
    kept.unlink()  # not cut short in place: this process has it mapped
    kept.write_bytes(b"\x7fELF")
    assert compile_library(source).answer() == 44


def test_a_home_that_cannot_be_written_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESNETS_CACHE", str(tmp_path / "file"))
    assert compile_library(write(tmp_path, 'extern "C" int answer() { return 45; }')).answer() == 45


@pytest.mark.parametrize(
    ("compiler", "text", "said"),
    [
        ("no-such-compiler", "int a;", r"needs a C\+\+ compiler such as g"),
        ("c++", "int a = ;", "cannot compile it here"),
    ],
)
def test_what_cannot_be_compiled_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str, text: str, said: str
) -> None:
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(UserError, match=said) as caught:
        compile_library(write(tmp_path, text))
    assert "\n" not in str(caught.value)
