"""What `train` looks at in passing: photos that are there twice, among those already decoded."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np

from resnets.console import Console
from resnets.data.cache import ImageCache

MOST: Final = 100_000
LINES: Final = 16
"""Rows of pixels by which photos are told apart, before all of them are compared."""

Place = tuple[str, int]  # split, and the sample in it


def quick_check(caches: Mapping[str, ImageCache], console: Console, data: str | None) -> None:
    """Say in a line or two which squares of pixels are in two splits, or have two labels.

    Nothing is decoded, refused or changed. Photos that are nearly the same, and everything else,
    are for ``resnets check``, which the line names; `data` is what it takes.
    """
    see = "" if data is None else f"; see: resnets check {data}"
    total = sum(len(cache.samples) for cache in caches.values())
    if total > MOST:
        console.say(f"check    left out for more than {MOST:,} photos{see}")
        return
    leaked: dict[str, set[int]] = defaultdict(set)
    disputed: set[Place] = set()
    for same in _copies(caches):
        splits = {split for split, _ in same}
        labels = {int(caches[split].samples.labels[i]) for split, i in same}
        for split, i in same if "train" in splits else ():
            leaked[split].add(i)
        disputed |= set(same) if len(labels) > 1 else set()
    said = [
        f"{_photos(len(found))} of {split} {'is' if len(found) == 1 else 'are'} in train, too"
        for split, found in leaked.items()
        if split != "train"
    ]
    if disputed:
        said.append(f"{_photos(len(disputed))} of the same pixels have different labels")
    if said:
        console.say(f"check    {'; '.join(said)}{see}")


def _copies(caches: Mapping[str, ImageCache]) -> Iterator[list[Place]]:
    """Yield the photos that have the very same square of pixels, where there are two or more."""
    everything = [(split, i) for split, cache in caches.items() for i in range(len(cache.samples))]
    for places in _alike(caches, everything, LINES):
        yield from _alike(caches, places)


def _alike(
    caches: Mapping[str, ImageCache], places: Iterable[Place], lines: int | None = None
) -> Iterator[list[Place]]:
    """Return the photos of `places` that are the same in so many rows of pixels, or in all."""
    found: dict[bytes, list[Place]] = defaultdict(list)
    for split, i in places:
        cache = caches[split]
        rows = cache.rows(i, max(1, cache.preprocess.resize // lines) if lines else 1)
        if rows is not None:
            content = np.ascontiguousarray(rows).data
            found[hashlib.blake2b(content, digest_size=16).digest()].append((split, i))
    return (same for same in found.values() if len(same) > 1)


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"
