"""Decoding all photos before training, so that what is broken is known at once."""

from __future__ import annotations

from pathlib import Path

from resnets.console import Console
from resnets.data.cache import ImageCache, choose_storage
from resnets.data.preprocess import Preprocess
from resnets.data.sources import Dataset
from resnets.errors import UserError


def decode_splits(
    folder: Path, dataset: Dataset, preprocess: Preprocess, workers: int, console: Console
) -> dict[str, ImageCache]:
    """Return a filled cache for each split, in memory or on the disk of `folder` as they fit.

    Photos that do not decode are named (the first ten), counted and left out.

    Raises:
      UserError: a class has no training photo that decodes.
    """
    photo = preprocess.resize**2 * preprocess.channels
    splits = {name: samples for name, samples in dataset.splits.items() if name != "all"}
    storage = choose_storage(photo * sum(map(len, splits.values())), folder)
    caches = {name: ImageCache(s, preprocess, storage) for name, s in splits.items()}
    total = sum(map(len, splits.values()))
    with console.track("Decoding photos", total) as advance:
        for cache in caches.values():
            for count in cache.fill(workers):
                advance(count)
    failed = [
        (cache.samples.path(i), why)
        for cache in caches.values()
        for i, why in sorted(cache.failed.items())
    ]
    for path, why in failed[:10]:
        console.warn(f"{path}: {why}; left out")
    if failed:
        console.warn(f"{len(failed):,} of {total:,} photos do not decode and are left out")
    train = caches["train"]
    lost = set(train.failed)
    readable = {int(label) for i, label in enumerate(train.samples.labels) if i not in lost}
    for label, name in enumerate(dataset.classes):
        if label not in readable:
            raise UserError(f"class {name!r}: none of its training photos decodes")
    return caches
