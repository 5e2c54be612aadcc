"""Decoding photos before training, so that what is broken is known at once; many, as they come."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from resnets.console import Console
from resnets.data.cache import ImageCache, Storage, choose_storage, fits_disk, shared_files
from resnets.data.preprocess import Preprocess
from resnets.data.samples import Samples
from resnets.data.sources import Dataset
from resnets.errors import UserError
from resnets.training.distributed import Ranks

AHEAD = 100_000
"""Photos up to which all are decoded before the first step; more are when they are first met."""
NAMED = 10
"""Photos that are named where they do not decode; others are counted."""


def decode_splits(
    folder: Path,
    dataset: Dataset,
    preprocess: Preprocess,
    workers: int,
    console: Console,
    ranks: Ranks,
) -> dict[str, ImageCache]:
    """Return a cache for each split, in memory or on the disk of `folder` as they fit.

    They are filled, unless there are more than `AHEAD` photos or no room for them. Those that do
    not decode are named (the first ten), counted and left out. Of several processes one on each
    machine decodes, and the others look into its files.

    Raises:
      UserError: a class has no training photo that decodes.
    """
    photo = preprocess.resize**2 * preprocess.channels
    splits = {name: samples for name, samples in dataset.splits.items() if name != "all"}
    total = sum(map(len, splits.values()))
    with _stores(splits, photo * total, folder, ranks) as stores:
        ahead = total <= AHEAD and stores["train"].kind != "none"
        notice = _ignore if ahead else _Notices()

        def open_caches() -> dict[str, ImageCache]:
            return {
                name: ImageCache(s, preprocess, stores[name], notice) for name, s in splits.items()
            }

        if ranks.local == 0:
            caches = open_caches()
            if ahead:
                _fill(caches, total, workers, console)
        ranks.wait()
        if ranks.local > 0:
            caches = open_caches()
        ranks.wait()
    if ahead:
        _report(caches, total, console)
    else:
        console.say(f"photos   {total:,}, decoded when they are met")
    train = caches["train"]
    readable = set(np.delete(train.samples.labels, train.broken()).tolist())
    for label, name in enumerate(dataset.classes):
        if label not in readable:
            raise UserError(f"class {name!r}: none of its training photos decodes")
    return caches


def _fill(caches: Mapping[str, ImageCache], total: int, workers: int, console: Console) -> None:
    with console.track("Decoding photos", total) as advance:
        for cache in caches.values():
            for count in cache.fill(workers):
                advance(count)


def _report(caches: Mapping[str, ImageCache], total: int, console: Console) -> None:
    """Name the first photos that do not decode, and count them."""
    failed = [
        (cache.samples.path(i), why)
        for cache in caches.values()
        for i, why in sorted(cache.failed.items())
    ]
    for path, why in failed[:NAMED]:
        console.warn(f"{path}: {why}; left out")
    if failed:
        console.warn(f"{len(failed):,} of {total:,} photos do not decode and are left out")


def _ignore(path: str, why: str) -> None:
    pass


class _Notices:
    """Names the first photos that do not decode when they are met, and says how many there are.

    Every process speaks for those that it meets.
    """

    def __init__(self) -> None:
        self._console, self._count = Console(), 0

    def __call__(self, path: str, why: str) -> None:
        self._count += 1
        if self._count <= NAMED:
            self._console.warn(f"{path}: {why}; left out")
        elif self._count.bit_count() == 1:  # at every doubling
            self._console.warn(f"{self._count:,} photos so far do not decode and are left out")


@contextmanager
def _stores(
    splits: Mapping[str, Samples], nbytes: int, folder: Path, ranks: Ranks
) -> Iterator[dict[str, Storage]]:
    """Yield where each split is kept: of several processes, in files that they share.

    One decides for all. The files have no name any more afterwards, and go with their processes.
    """
    if ranks.world == 1:
        yield dict.fromkeys(splits, choose_storage(nbytes, folder))
        return
    owner, start = ranks.local == 0, f".cache-{platform.node()}-"
    if ranks.text("shared" if fits_disk(nbytes, folder) else "none") == "none":
        yield dict.fromkeys(splits, Storage("none"))
        return
    stores = {
        name: Storage("shared", path=folder / f"{start}{name}", owner=owner) for name in splits
    }
    try:
        yield stores
    finally:
        for store in stores.values():
            for file in shared_files(store) if owner else ():
                file.unlink(missing_ok=True)
