"""What files are known by, kept from run to run, so that a million are read once."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnets.data.images import DecodeError, check_file
from resnets.errors import UserError
from resnets.files import atomic, cache_folder

HEAD = 4096
MANY = 10_000
"""Files from which what was read is kept; fewer are read again each time."""
UNREADABLE = -1
ROW = np.dtype([("name", "<u8"), ("size", "<i8"), ("changed", "<i8"), ("head", "<u8")])


def content_token(head: bytes, size: int) -> str:
    """Return a digest of the first 4 KiB and the size of an encoded image.

    That tells photos apart as well as all of it would, at a cost that does not grow with them.
    """
    return _token(size, _number(head[:HEAD]))


class Tokens:
    """The `content_token` of each of the files `paths` below `root`.

    Of many files they are kept in the user's cache folder; one of the same name, size and time of
    change as then is not opened again.
    """

    def __init__(self, root: Path, paths: tuple[str, ...]) -> None:
        self._root, self._paths = root, paths
        self._rows = np.zeros(0, ROW)
        self._kept = np.zeros(0, ROW)
        self._left = len(paths)

    def __getitem__(self, i: int) -> str:
        """Return the token of file `i`, or an empty string for what cannot be read."""
        if not len(self._rows):
            self._rows = np.zeros(len(self._paths), ROW)
            self._kept = self._load()
        row = self._rows[i]
        if not row["name"]:
            name = _number(os.fsencode(self._paths[i])) or 1
            path = self._root / self._paths[i]
            try:
                info = path.stat()
                at = int(np.searchsorted(self._kept["name"], np.uint64(name)))
                known = self._kept[at] if at < len(self._kept) else None
                if known is not None and known.tolist()[:3] == (
                    *(name, info.st_size, info.st_mtime_ns),
                ):
                    head = int(known["head"])
                else:
                    check_file(path)
                    with path.open("rb") as file:
                        head = _number(file.read(HEAD))
                found = (name, info.st_size, info.st_mtime_ns, head)
            except (OSError, ValueError, DecodeError):  # decoding will say what is wrong with it
                found = (name, UNREADABLE, 0, 0)
            self._rows[i] = found
            self._left -= 1
            if not self._left:
                self._keep()
        size, head = int(self._rows[i]["size"]), int(self._rows[i]["head"])
        return "" if size == UNREADABLE else _token(size, head)

    @property
    def _file(self) -> Path:
        name = hashlib.blake2b(os.fsencode(self._root.resolve()), digest_size=8).hexdigest()
        return cache_folder() / "tokens" / f"{name}.npy"

    def _load(self) -> NDArray[np.void]:
        if len(self._paths) >= MANY:
            with suppress(OSError, ValueError, EOFError):
                found = np.load(self._file, allow_pickle=False)
                if found.dtype == ROW and found.ndim == 1:
                    return np.asarray(found)
        return np.zeros(0, ROW)

    def _keep(self) -> None:
        if len(self._paths) < MANY:
            return
        with suppress(OSError, UserError):  # it saves time, and nothing depends on it
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with atomic(self._file) as temporary, temporary.open("wb") as file:
                rows = self._rows[self._rows["size"] != UNREADABLE]
                np.save(file, np.sort(rows, order="name"), allow_pickle=False)


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())


def _token(size: int, head: int) -> str:
    return f"{size}-{head:016x}"
