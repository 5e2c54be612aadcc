"""What `train` looks at in passing: photos that are there twice, among those already decoded."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
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
    alike: dict[bytes, list[Place]] = defaultdict(list)
    for split, cache in caches.items():
        step = max(1, cache.preprocess.resize // LINES)
        for i in range(len(cache.samples)):
            rows = cache.rows(i, step)
            if rows is not None:
                content = np.ascontiguousarray(rows).data
                alike[hashlib.blake2b(content, digest_size=16).digest()].append((split, i))
    for places in alike.values():
        while len(places) > 1:
            first = _square(caches, places[0])
            same = [place for place in places if np.array_equal(first, _square(caches, place))]
            if len(same) > 1:
                yield same
            places = [place for place in places if place not in same]


def _square(caches: Mapping[str, ImageCache], place: Place) -> np.ndarray:
    split, i = place
    rows = caches[split].rows(i, 1)
    assert rows is not None
    return rows


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"
