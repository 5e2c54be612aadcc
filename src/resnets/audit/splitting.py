"""A split that leaks nothing: groups of photos that belong together never straddle it."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resnets.data.samples import Labels
from resnets.data.split import SPLITS, Fractions
from resnets.errors import UserError
from resnets.files import atomic

HELD_FIRST: Final = ("test", "val", "train")
"""Where a group goes that lay in several splits, if the splits are kept."""

Splits = NDArray[np.str_]


def split_groups(
    ids: Sequence[str], labels: Labels, groups: NDArray[np.int64], fractions: Fractions
) -> Splits:
    """Return ``train``, ``val`` or ``test`` for each of ``N`` photos, by whole groups.

    Groups are dealt in the order of a hash of (seed, first id), the largest first, each to the
    split that its classes lack the most, as a share of the class. So every class comes close to
    `fractions` in every split, as far as its groups allow, and has photos to learn from.
    """
    shares = {"train": 1 - fractions.val - fractions.test, "val": fractions.val}
    shares["test"] = fractions.test
    names = [name for name in SPLITS if shares[name] > 0]
    classes = labels - labels.min(initial=0)
    total = np.bincount(classes).astype(float)
    lacking = np.asarray([shares[name] for name in names])[:, None] * total
    found = np.full(len(ids), "train", dtype="<U5")
    for members in _dealt(ids, groups, fractions.seed):
        kinds, counts = np.unique(classes[members], return_counts=True)
        need = (lacking[:, kinds] * counts / total[kinds]).sum(1)
        chosen = int(need.argmax())
        lacking[chosen, kinds] -= counts
        found[members] = names[chosen]
    _teach_all(found, classes, groups)
    return found


def keep_splits(splits: Splits, labels: Labels, groups: NDArray[np.int64]) -> Splits:
    """Return the splits as they are, but a group that straddles is wholly in the first of
    `HELD_FIRST` that it has photos in, and a class without training photos gives its smallest
    group to train."""
    ranks = np.full(len(splits), len(HELD_FIRST))
    for rank, name in enumerate(HELD_FIRST):
        ranks[splits == name] = rank
    best = np.full(groups.max(initial=-1) + 1, len(HELD_FIRST))
    np.minimum.at(best, groups, ranks)
    if (best[groups] == len(HELD_FIRST)).any():
        raise UserError("--keep-splits: the data has no splits to keep; leave it out")
    found = np.asarray(HELD_FIRST)[best[groups]]
    _teach_all(found, labels, groups)
    return found


def write_split_table(file: Path, ids: Sequence[str], splits: Splits) -> None:
    """Write the columns ``id`` and ``split``, as CSV or Parquet by the extension.

    Raises:
      UserError: the file cannot be written.
    """
    with atomic(file) as temporary:
        WRITERS[file.suffix.lower()](temporary, ids, splits.tolist())


def _write_csv(file: Path, ids: Sequence[str], splits: Sequence[str]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "split"))
        writer.writerows(zip(ids, splits, strict=True))


def _write_parquet(file: Path, ids: Sequence[str], splits: Sequence[str]) -> None:
    pq.write_table(pa.table({"id": [*ids], "split": [*splits]}), file)


WRITERS: Final[dict[str, Callable[[Path, Sequence[str], Sequence[str]], None]]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}


def _dealt(ids: Sequence[str], groups: NDArray[np.int64], seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield the members of each group, in the order in which groups are dealt."""
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(order) else []

    def rank(members: NDArray[np.int64]) -> tuple[int, bytes]:
        key = f"{seed}\0{min(ids[i] for i in members)}".encode("utf-8", "backslashreplace")
        return -len(members), hashlib.blake2b(key, digest_size=16).digest()

    yield from sorted(parts, key=rank)


def _teach_all(splits: Splits, classes: Labels, groups: NDArray[np.int64]) -> None:
    """Move one group of each class that has none to train."""
    for label in np.setdiff1d(classes, classes[splits == "train"]):
        sizes = np.bincount(groups)[groups]
        own = np.flatnonzero(classes == label)
        splits[groups == groups[own[sizes[own].argmin()]]] = "train"
