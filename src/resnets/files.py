"""Writing files so that a crash, a full disk or a kill never leaves half of one; their names."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from resnets.errors import UserError

_CONTROLS = re.compile("[\0-\x1f\x7f-\x9f]")  # C0, DEL and C1: a terminal obeys them
_ODD_BYTES = re.compile("[\udc80-\udcff]")  # as `os.fsdecode` keeps them


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it is synced and renamed to `path`.

    Raises:
      UserError: no permission, no space, or no such folder; the old file, if any, is untouched.
    """
    temporary: Path | None = None
    try:
        # A name holds 255 bytes and a character takes up to four, so a long one is cut.
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
        temporary = Path(name)
        os.close(descriptor)
        yield temporary
        as_usual(temporary)
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def as_usual(path: Path) -> None:
    """Let those read a file or folder who may read the user's new ones: temporary are private."""
    path.chmod((0o777 if path.is_dir() else 0o666) & ~_umask())


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on the disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder, and needs no such step
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cache_folder() -> Path:
    """Return where what can be had again is kept: ``$RESNETS_CACHE``, or the user's cache."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "resnets"
    return Path(os.environ.get("RESNETS_CACHE", default))


def printable(name: str) -> str:
    """Return `name` with bytes that are no UTF-8 written as ``\\xff``, so that it can be saved."""
    if name.isascii():
        return name
    shown = _ODD_BYTES.sub(lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", name)
    return shown.encode("utf-8", "backslashreplace").decode()


def on_screen(name: str) -> str:
    """Return `name` for a line that people read: `printable`, and control characters as ``\\x1b``.

    A terminal would obey them, and a tab or a newline would break the line's columns.
    """
    return _CONTROLS.sub(lambda control: f"\\x{ord(control[0]):02x}", printable(name))


def _umask() -> int:
    # The mask can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
