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
KEY = ("name", "size", "changed")
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
        self._rows: NDArray[np.void] | None = None

    def __getitem__(self, i: int) -> str:
        """Return the token of file `i`, or an empty string for what cannot be read."""
        if self._rows is None:  # who wants one of them wants all
            self._rows = self._read()
        _, size, _, head = self._rows[i].item()
        return "" if size == UNREADABLE else _token(size, head)

    def _read(self) -> NDArray[np.void]:
        rows, kept = np.zeros(len(self._paths), ROW), self._load()
        root = os.fspath(self._root)
        for i, path in enumerate(self._paths):
            try:
                info = os.stat(os.path.join(root, path))
                size, changed = info.st_size, info.st_mtime_ns
            except (OSError, ValueError):  # decoding will say what is wrong with it
                size, changed = UNREADABLE, 0
            rows[i] = (_number(os.fsencode(path)), size, changed, 0)
        known = np.zeros(len(rows), bool)
        if len(kept):
            at = np.searchsorted(kept["name"], rows["name"]).clip(max=len(kept) - 1)
            known = (kept[list(KEY)][at] == rows[list(KEY)]) & (rows["size"] != UNREADABLE)
            rows["head"][known] = kept["head"][at[known]]
        for i in np.flatnonzero(~known & (rows["size"] != UNREADABLE)).tolist():
            file_path = self._root / self._paths[i]
            try:
                check_file(file_path)
                with file_path.open("rb") as file:
                    rows["head"][i] = _number(file.read(HEAD))
            except (OSError, ValueError, DecodeError):
                rows["size"][i] = UNREADABLE
        self._keep(rows)
        return rows

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

    def _keep(self, rows: NDArray[np.void]) -> None:
        if len(self._paths) < MANY:
            return
        with suppress(OSError, UserError):  # it saves time, and nothing depends on it
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with atomic(self._file) as temporary, temporary.open("wb") as file:
                good = rows[rows["size"] != UNREADABLE]
                np.save(file, np.sort(good, order="name"), allow_pickle=False)


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())


def _token(size: int, head: int) -> str:
    return f"{size}-{head:016x}"
