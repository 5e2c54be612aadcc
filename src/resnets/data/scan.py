"""Walking folders: sorted, streaming, hidden files skipped, symbolic links followed once."""

from __future__ import annotations

import errno
import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from resnets.data.images import EXTENSIONS
from resnets.errors import UserError

_HIDDEN: Final = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir"})

Identity = tuple[int, int]


def is_hidden(name: str) -> bool:
    """True for names that operating systems hide or leave behind: ``.x``, ``Thumbs.db``, …"""
    return name.startswith(".") or name.casefold() in _HIDDEN


def is_image_name(name: str) -> bool:
    """True for a name whose extension is that of an image format that can be decoded."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def unreadable(path: str | Path, error: OSError) -> UserError:
    """Return the error for a file or folder that the system does not let us read."""
    if isinstance(error, PermissionError):
        return UserError(f"no permission to read {path}: change its permissions, or move it away")
    return UserError(f"cannot read {path}: {error.strerror or error}")


def list_folder(folder: str | Path, tally: Counter[str]) -> list[str]:
    """Return the visible folders (``name/``) and images (``name``) in `folder`, sorted.

    With the slash, the order is that of the full paths below. What is passed over is counted.

    Raises:
        OSError: if the folder cannot be listed.
    """
    with os.scandir(folder) as scan:
        return sorted(key for entry in scan if (key := _key(entry, tally)))


def walk(root: str | Path, tally: Counter[str], keep_going: bool = False) -> Iterator[str]:
    """Yield the image files below `root`, as paths relative to it, in the order of those paths.

    Memory is that of the folders being listed, never of the tree. A symbolic link to a folder is
    followed, unless it leads back to a folder that contains it. What is passed over is counted
    into `tally`. With `keep_going`, a folder that cannot be listed is yielded itself.

    Raises:
        UserError: for a folder that cannot be listed, unless `keep_going`.
    """
    root = os.fspath(root)
    pending: list[tuple[str, Iterator[str], frozenset[Identity]]] = []

    def enter(prefix: str, above: frozenset[Identity]) -> bool:
        folder = os.path.join(root, prefix)
        try:
            info = os.stat(folder)
            identity = (info.st_dev, info.st_ino)
            if identity in above:
                tally["symlink loops"] += 1
            else:
                keys = iter(list_folder(folder, tally))
                pending.append((prefix, keys, above | {identity}))
        except OSError as error:
            if not keep_going:
                raise unreadable(folder, error) from error
            return False
        return True

    if not enter("", frozenset()):
        yield ""
    while pending:
        prefix, keys, above = pending[-1]
        key = next(keys, None)
        if key is None:
            pending.pop()
        elif not key.endswith("/") or not enter(prefix + key, above):
            yield prefix + key


def find_images(paths: Iterable[str | Path], tally: Counter[str] | None = None) -> Iterator[str]:
    """Yield the image files that `paths` name, in their order, without holding them all.

    A file comes exactly as it is named, even if it does not exist or is no image, so that every
    input can have its row. A folder gives the images anywhere below it, sorted; one that cannot be
    listed comes itself. A pattern (``*.jpg``, ``photos/**/*.png``) gives what it matches, sorted.
    What is passed over in folders is counted into `tally`.

    Raises:
        UserError: for a pattern that matches nothing.
    """
    passed_over: Counter[str] = Counter() if tally is None else tally
    for item in paths:
        for name in _expand(os.fspath(item)):
            if os.path.isdir(name):
                for key in walk(name, passed_over, keep_going=True):
                    yield os.path.join(name, key).rstrip("/") if key else name
            else:
                yield name


def _expand(name: str) -> list[str]:
    if not glob.has_magic(name) or os.path.lexists(name):
        return [name]
    matches = sorted(glob.glob(name, recursive=True))
    if "**" in name:  # it has matched what is in the folders, too
        matches = [match for match in matches if not os.path.isdir(match)]
    if not matches:
        raise UserError(f"no file matches {name}: check the pattern, and quote it for the shell")
    return matches


def _key(entry: os.DirEntry[str], tally: Counter[str]) -> str:
    """Return ``name/`` of a folder, ``name`` of an image, or an empty string and count it."""
    if is_hidden(entry.name):
        tally["hidden files"] += 1
        return ""
    try:
        is_folder = entry.is_dir()
    except OSError as error:  # a link to itself, or into a folder that is closed to us
        tally["symlink loops" if error.errno == errno.ELOOP else "broken links"] += 1
        return ""
    if is_folder:
        return entry.name + "/"
    if is_image_name(entry.name):
        return entry.name
    tally["other files"] += 1
    return ""
