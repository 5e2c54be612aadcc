"""C++ of ours, compiled for the machine that runs it, and kept."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from resnets.errors import UserError
from resnets.files import atomic, cache_folder

FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")
"""Not -ffast-math: some compilers then let the library change how the whole process rounds."""
LONGEST = 60
"""Seconds of the compiler."""


def compile_library(source: Path, openmp: Path | None = None) -> ctypes.CDLL:
    """Return the functions of a C++ file, from the cache if it was compiled here before.

    `openmp` is the runtime that is loaded already: a second one would have threads of its own,
    which wait busily on the same cores.

    Raises:
      UserError: there is no C++ compiler with OpenMP, as g++ on Linux is one, or it cannot compile
        the file for this machine, or the system does not load what it has made.
    """
    compiler = shlex.split(os.environ.get("CXX") or "c++")
    shared = [str(openmp)] if openmp else []
    # All the macros that a compiler sets tell its version, and what this processor can do.
    target = _run([*compiler, "-march=native", "-dM", "-E", "-x", "c++", os.devnull])
    facts = (source.read_text(encoding="utf-8"), target, *FLAGS, *shared)
    name = hashlib.sha256("\0".join(facts).encode()).hexdigest()[:32]
    kept = cache_folder() / "native" / f"{source.stem}-{name}.so"
    with suppress(OSError):
        if _own(kept.parent) and _own(kept):
            return ctypes.CDLL(str(kept))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made = Path(folder) / kept.name
        link = ["-Wl,--as-needed", *shared] if shared else []
        _run([*compiler, *FLAGS, str(source), *link, "-o", str(made)])
        with suppress(OSError, UserError):  # a home that cannot be written: compiled every time
            kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _own(kept.parent):
                with atomic(kept) as temporary:
                    temporary.write_bytes(made.read_bytes())
                kept.chmod(0o600)
                return ctypes.CDLL(str(kept))  # also where /tmp holds nothing that may run
        try:
            return ctypes.CDLL(str(made))
        except OSError as error:
            raise UserError(f"what {compiler[0]} has made cannot be loaded ({error})") from None


def _own(path: Path) -> bool:
    """Tell whether nobody else can have written a file or folder: what is loaded is run."""
    found = path.lstat()
    real = stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)
    return real and found.st_uid == os.getuid() and not found.st_mode & 0o022


def _run(command: Sequence[str]) -> str:
    if os.name == "nt":
        raise UserError("it needs g++ or clang++ with OpenMP, and is not made for Windows")
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
