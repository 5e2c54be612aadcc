"""`ImageCache`: every photo is decoded once, and a photo that does not decode is remembered."""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import psutil
from numpy.typing import NDArray

from resnets.data.images import DecodeError
from resnets.data.loader import prefetch
from resnets.data.samples import Samples

if TYPE_CHECKING:  # a check of data needs no torch
    from resnets.data.preprocess import Preprocess

Number = TypeVar("Number", bound=np.generic)

MEMORY_SHARE = 0.4  # of what is available when training starts
MEMORY_MOST = (
    2**29
)  # beyond it the disk, of which the system keeps in memory what there is room for
DISK_SHARE = 0.5
READY, BROKEN = 1, 2
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
CGROUP_FILES = (  # limit, usage, and the part of it that is given back when needed: v2, v1
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


@dataclass(frozen=True)
class Storage:
    """Where decoded photos are kept: ``memory``, ``disk`` (below `directory`) or ``none``.

    ``shared`` is a file `path` for several processes: made by the `owner`, opened by the others.
    """

    kind: str
    directory: Path | None = None
    path: Path | None = None
    owner: bool = True


def choose_storage(nbytes: int, directory: Path) -> Storage:
    """Choose where `nbytes` of decoded photos fit: memory, else the disk of `directory`."""
    if nbytes <= min(MEMORY_MOST, MEMORY_SHARE * available_memory()):
        return Storage("memory")
    if fits_disk(nbytes, directory):
        return Storage("disk", directory)
    return Storage("none")


def fits_disk(nbytes: int, directory: Path) -> bool:
    """Tell whether `nbytes` leave enough room on the disk of `directory`."""
    return nbytes <= DISK_SHARE * shutil.disk_usage(directory).free


def available_memory() -> int:
    """Return the bytes that the machine, or the container that we run in, has left."""
    return max(0, min([psutil.virtual_memory().available, *_cgroup_rooms()]))


def _cgroup_rooms() -> Iterator[int]:
    """Yield the limit less the usage of every control group that limits our memory, in bytes."""
    for folder in _cgroup_folders():
        for limit, usage, reclaimable in CGROUP_FILES:
            try:
                lines = (folder / "memory.stat").read_text().splitlines()
                given_back = int(dict(line.split() for line in lines)[reclaimable])
                used = int((folder / usage).read_text()) - given_back
                yield int((folder / limit).read_text()) - used
            except (OSError, ValueError, KeyError):  # no such file, or "max": no limit
                continue


def _cgroup_folders() -> Iterator[Path]:
    """Yield the folders of our control group and of those around it, of version 2 and 1."""
    try:
        lines = OWN_CGROUPS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for _, controllers, group in (line.split(":", 2) for line in lines):
        if controllers in ("", "memory"):
            own = PurePosixPath(group.lstrip("/"))
            yield from (CGROUPS / controllers / path for path in (own, *own.parents))


class ImageCache:
    """Prepared photos ``resize resize C`` (uint8) of a split, decoded when first asked for.

    Safe to read from several threads. `failed` maps samples to the reason why they do not decode,
    where this process has met them; it is told of each by `notice`. `sizes` are the width and
    height of the photos themselves, ``N 2``: 0 where this process has not decoded one.
    """

    def __init__(
        self,
        samples: Samples,
        preprocess: Preprocess,
        storage: Storage,
        notice: Callable[[str, str], None] = lambda path, why: None,
    ) -> None:
        self.samples = samples
        self.preprocess = preprocess
        self.failed: dict[int, str] = {}
        self.sizes = np.zeros((len(samples), 2), np.int32)
        self._notice = notice
        self._lock = threading.Lock()
        self._shape = (preprocess.resize, preprocess.resize, preprocess.channels)
        self._states = _states(len(samples), storage)
        self._images = allocate((len(samples), *self._shape), storage, np.uint8)

    def get(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Return those of the samples that decode, and their photos ``N resize resize C``."""
        if self._images is None:
            images = [self._decode(i) for i in map(int, indices)]
            good = indices[[image is not None for image in images]]
            kept = [image for image in images if image is not None]
            return good, np.array(kept, np.uint8).reshape(-1, *self._shape)
        for i in map(int, indices[self._states[indices] == 0]):
            image = self._decode(i)
            if image is not None:
                self._images[i] = image
                self._states[i] = READY
        good = indices[self._states[indices] == READY]
        return good, self._images[good]

    def broken(self) -> NDArray[np.int64]:
        """Return the samples of which any process has found that they do not decode."""
        return np.flatnonzero(self._states == BROKEN)

    def decoded(self) -> tuple[NDArray[np.uint8], NDArray[np.bool_]] | None:
        """Return all photos ``N resize resize C``, and which of them decode; None where they are
        not kept, or have not all been tried."""
        if self._images is None or not self._states.all():
            return None
        return self._images, self._states == READY

    def rows(self, i: int, step: int) -> NDArray[np.uint8] | None:
        """Return every `step`-th row of pixels of photo `i`, or None where it is not kept decoded:
        nothing is decoded for it, and nothing copied."""
        if self._images is None or self._states[i] != READY:
            return None
        rows: NDArray[np.uint8] = self._images[i, ::step]
        return rows

    def fill(self, workers: int, chunk: int = 64) -> Iterator[int]:
        """Decode everything, yielding how many more photos are done; nothing if nothing is kept."""
        if self._images is None:
            return
        starts = range(0, len(self.samples), chunk)

        def decode(start: int) -> int:
            indices = np.arange(start, min(start + chunk, len(self.samples)))
            self.get(indices)
            return len(indices)

        yield from prefetch(decode, starts, workers)

    def _decode(self, i: int) -> NDArray[np.uint8] | None:
        if self._states[i] == BROKEN:
            return None
        try:
            photo, self.sizes[i] = self.preprocess.prepare_sized(self.samples.read(i))
            return photo
        except DecodeError as error:
            with self._lock:
                if i not in self.failed:
                    self._notice(self.samples.path(i), str(error))
                self.failed[i] = str(error)
                self._states[i] = BROKEN
            return None


def shared_files(storage: Storage) -> tuple[Path, Path]:
    """Return the files of ``shared`` storage: photos, and what is known of each."""
    assert storage.path is not None
    return storage.path, storage.path.with_name(f"{storage.path.name}.states")


def _states(n: int, storage: Storage) -> NDArray[np.uint8]:
    if storage.kind != "shared":
        return np.zeros(n, dtype=np.uint8)
    return _shared(shared_files(storage)[1], (n,), storage.owner)


def _shared(path: Path, shape: tuple[int, ...], create: bool) -> NDArray[np.uint8]:
    if create:
        with path.open("wb") as file:
            _reserve(file.fileno(), shape)
            file.truncate(max(1, math.prod(shape)))
    return np.memmap(path, dtype=np.uint8, mode="r+", shape=shape)


def _reserve(descriptor: int, shape: tuple[int, ...]) -> None:
    """Take the space now, as a disk that is full when a page is written kills with SIGBUS."""
    if sys.platform == "linux":
        os.posix_fallocate(descriptor, 0, max(1, math.prod(shape)))


def allocate(
    shape: tuple[int, ...], storage: Storage, dtype: type[Number]
) -> NDArray[Number] | None:
    """Return zeros of a shape where `storage` says (shared ones are bytes); None for ``none``."""
    if storage.kind == "none":
        return None
    if storage.kind == "memory":
        return np.zeros(shape, dtype=dtype)
    if storage.kind == "shared":
        return _shared(shared_files(storage)[0], shape, storage.owner).view(dtype)
    # The file has no name once it is open: it goes when the process does, however that ends.
    with tempfile.TemporaryFile(dir=storage.directory) as file:
        _reserve(file.fileno(), (*shape, np.dtype(dtype).itemsize))
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)
