"""C++ of ours, compiled for the machine that runs it, and kept."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from resnets.errors import UserError
from resnets.files import atomic, cache_folder

FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")
"""Not -ffast-math: some compilers then let the library change how the whole process rounds."""
LONGEST = 300
"""Seconds of the compiler."""
OPENMP = ("libgomp", "libiomp", "libomp")


def compile_library(source: Path) -> ctypes.CDLL:
    """Return the functions of a C++ file, from the cache if it was compiled here before.

    Raises:
      UserError: there is no C++ compiler, or it cannot compile the file for this machine.
    """
    compiler = shlex.split(os.environ.get("CXX") or "c++")
    shared = _openmp()
    # All the macros that a compiler sets tell its version, and what this processor can do.
    target = _run([*compiler, "-march=native", "-dM", "-E", "-x", "c++", os.devnull])
    facts = (source.read_text(encoding="utf-8"), target, *FLAGS, *shared)
    name = hashlib.sha256("\0".join(facts).encode()).hexdigest()[:32]
    kept = cache_folder() / "native" / f"{source.stem}-{name}.so"
    with suppress(OSError):
        return ctypes.CDLL(str(kept))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made = Path(folder) / kept.name
        link = ["-Wl,--as-needed", *shared] if shared else []
        _run([*compiler, *FLAGS, str(source), *link, "-o", str(made)])
        with suppress(OSError, UserError):  # a home that cannot be written: compiled every time
            kept.parent.mkdir(parents=True, exist_ok=True)
            with atomic(kept) as temporary:
                temporary.write_bytes(made.read_bytes())
        return ctypes.CDLL(str(made))


def _openmp() -> list[str]:
    """Return the OpenMP runtime that the process has loaded already, if any.

    A second one would have threads of its own, which wait busily on the same cores.
    """
    with suppress(psutil.Error, NotImplementedError, AttributeError):  # macOS tells nobody
        paths = {entry.path for entry in psutil.Process().memory_maps()}
        return sorted(path for path in paths if Path(path).name.startswith(OPENMP))[:1]
    return []


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LONGEST, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"it needs a C++ compiler such as g++ ({error})") from None
    if done.returncode:
        reason = (done.stderr.strip() or f"status {done.returncode}").splitlines()[0]
        raise UserError(f"{command[0]} cannot compile it here ({reason[:120]})")
    return done.stdout
