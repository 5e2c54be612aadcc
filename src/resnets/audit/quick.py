"""What `train` looks at in passing: copies among the photos already decoded, and their numbers."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from resnets.audit.classes import check_counts
from resnets.audit.findings import EXAMPLES, Findings
from resnets.audit.kinds import Severity
from resnets.console import Console
from resnets.data.cache import ImageCache

MOST: Final = 100_000
LINES: Final = 16
"""Rows of pixels by which photos are told apart, before all of them are compared."""
NOTED: Final = "class-not-in-split"
"""What opening the data has said already."""

Place = tuple[str, int]  # split, and the sample in it


def quick_check(
    caches: Mapping[str, ImageCache], classes: Sequence[str], console: Console, data: str | None
) -> None:
    """Say in a line or two which squares of pixels are in two splits, or have two labels, and what
    the numbers of photos show.

    Nothing is decoded, refused or changed. Photos that are nearly the same, and everything else,
    are for ``resnets check``, which the last line names; `data` is what it takes.
    """
    lines = [*_say_copies(caches), *_say_counts(caches, classes)]
    if lines and data is not None:
        lines[-1] += f"; see: resnets check {data}"
    for i, line in enumerate(lines):
        console.say(f"{'' if i else 'check':8} {line}")


def _say_counts(caches: Mapping[str, ImageCache], classes: Sequence[str]) -> Iterator[str]:
    """Yield a line for each warning that the photos of each class give rise to."""
    found = Findings()
    counts = {
        split: np.bincount(np.delete(cache.samples.labels, cache.broken()), minlength=len(classes))
        for split, cache in caches.items()
    }
    check_counts(classes, counts, found)
    for finding in found:
        if finding.kind.severity >= Severity.WARNING and finding.kind.name != NOTED:
            more = len(finding.cases) - EXAMPLES
            named = ", ".join(map(str, finding.cases[:EXAMPLES]))
            yield f"{finding.kind.what}: {named}" + (f" and {more:,} more" if more > 0 else "")


def _say_copies(caches: Mapping[str, ImageCache]) -> Iterator[str]:
    total = sum(len(cache.samples) for cache in caches.values())
    if total > MOST:
        yield f"copies are not looked for among more than {MOST:,} photos"
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
        yield "; ".join(said)


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
