"""Folds, such that every photo is judged once by what has learnt from none of its kin."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from resnets.data.samples import Labels, Samples
from resnets.errors import UserError

NEVER = -1
"""The fold of a photo that is always learnt from, and so never judged."""
FEWEST = 2


def kin(samples: Samples, groups: Mapping[str, Hashable] | None = None) -> NDArray[np.int64]:
    """Number the group of each of ``N`` samples: photos of a group share their fold.

    Args:
        samples: the photos.
        groups: the group of an id, such as that of its duplicates; who is not in it is alone. If
            None, files of the same content are a group.
    """
    names: list[Hashable]
    if groups is None:
        names = samples.keys().tolist()
    else:  # an id could be called like a group
        names = [(0, groups[i]) if i in groups else (1, i) for i in samples.ids]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)


def deal(
    ids: Sequence[str], labels: Labels, groups: NDArray[np.int64], folds: int, seed: int
) -> NDArray[np.int64]:
    """Return the fold, 0 to ``folds - 1``, of each of ``N`` samples, or `NEVER`.

    Groups are dealt in the order of a hash of (seed, id), the largest first, each to the fold with
    the fewest photos of the class that most of the group has, of equals the fewest photos. Where
    all photos of a class would be in one fold, nothing of the class would be left to learn from
    while that fold is judged: their groups are in none. (scikit-learn's ``StratifiedGroupKFold``
    warns of such classes, and deals them all the same.)

    Raises:
        UserError: fewer than two folds, more than there are groups to fill, or no class has enough
            photos to judge one.
    """
    if folds < FEWEST:
        raise UserError(f"--folds {folds}: {FEWEST} at least, to learn from others than are judged")
    fold_of = _deal(ids, labels, groups, min(folds, len(np.unique(groups))), seed)
    filled = _filled(fold_of)
    if filled == folds:
        return fold_of
    fewer = range(filled, FEWEST - 1, -1)
    fits = next((k for k in fewer if _filled(_deal(ids, labels, groups, k, seed)) == k), 0)
    if not fits:
        raise UserError(
            "every class has a single photo, or copies of one: there is nothing to judge it by"
        )
    raise UserError(
        f"--folds {folds}: leaves some without a photo, as copies stay together; {fits} is the "
        "most that these photos fill"
    )


def _filled(fold_of: NDArray[np.int64]) -> int:
    return len(np.unique(fold_of[fold_of != NEVER]))


def _deal(
    ids: Sequence[str], labels: Labels, groups: NDArray[np.int64], folds: int, seed: int
) -> NDArray[np.int64]:
    members: dict[int, list[int]] = {}
    for i in sorted(range(len(ids)), key=lambda i: _rank(seed, ids[i])):
        members.setdefault(int(groups[i]), []).append(i)
    fold_of = np.full(len(ids), NEVER, np.int64)
    of_class = np.zeros((int(labels.max()) + 1, folds), np.int64)
    total = np.zeros(folds, np.int64)
    for group in sorted(members.values(), key=len, reverse=True):
        counts = np.bincount(labels[group])
        fold = np.lexsort((total, of_class[counts.argmax()]))[0]
        fold_of[group] = fold
        of_class[: len(counts), fold] += counts
        total[fold] += len(group)
    lonely = np.isin(labels, np.flatnonzero((of_class > 0).sum(1) == 1))
    fold_of[np.isin(groups, groups[lonely])] = NEVER
    return fold_of


def _rank(seed: int, sample_id: str) -> bytes:
    key = f"folds\0{seed}\0{sample_id}".encode("utf-8", "backslashreplace")
    return hashlib.blake2b(key, digest_size=16).digest()
