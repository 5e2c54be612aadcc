"""Photos that are nearly the same: re-encoded, scaled, mirrored, brightened, moved a little.

Each photo is known by its 32 × 32 grey picture. Natural pictures have amplitudes that fall as one
over the frequency, so all of them resemble each other in what is coarse; with each cosine
coefficient multiplied by its frequency, pictures of different things are nearly orthogonal.

1. Candidates: the cosine of the angle between the weighted coefficients of the lowest 8 × 8
   frequencies is at least `CANDIDATE`. Mirroring changes the sign of those that are odd across, so
   with e and o, the products of the even and of the odd parts, e + |o| is the better of the photo
   and its mirror image. Both are matrix products, in blocks: memory does not grow with the photos.
2. Verification: the correlation of the pictures, weighted alike up to the 16th frequency, is at
   least `SAME` at the best of 7 × 7 shifts of up to 3 pixels. Of photos below `SMALL` pixels the
   12th is the last: beyond it they hold little but the marks of their compression.

The limits were set in sight of photos of groceries, of hands and of CIFAR-10 (docs/check.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn

SIDE: Final = 32
CANDIDATE: Final = 0.70
SAME: Final = 0.85
SMALL: Final = 64
LOW: Final = 8  # frequencies that describe a photo
FINE: Final = {False: 16, True: 12}  # that verify a pair, by whether one of them is small
SHIFT: Final = 3
NEIGHBOURS: Final = 50
"""Candidates of one photo that are verified: where all photos are alike, not all pairs are."""
ROWS, COLUMNS, PAIRS = 512, 4096, 1024  # what is computed at a time

Floats = NDArray[np.float32]
Pairs = NDArray[np.int64]


def near_pairs(
    pictures: NDArray[np.uint8],
    indices: NDArray[np.int64],
    small: NDArray[np.bool_],
    advance: Callable[[int], object] = lambda count: None,
) -> tuple[Pairs, Floats]:
    """Find the pairs of nearly equal photos among `indices`.

    Args:
      pictures: ``N 32 32`` grey.
      indices: which of them to compare; sorted.
      small: ``N``, which of them are of photos below `SMALL` pixels.
      advance: told of how many of them are done.

    Returns:
      ``P 2`` (the smaller index first), and the correlation of each pair.
    """
    even, odd = _describe(pictures, indices)
    found, scores = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.float32)]
    for start in range(0, len(indices), ROWS):
        pairs, mirrored = _candidates(even, odd, start)
        pairs = indices[pairs]
        for part in range(0, len(pairs), PAIRS):
            some, flipped = pairs[part : part + PAIRS], mirrored[part : part + PAIRS]
            likeness = np.zeros(len(some), np.float32)
            either = small[some].any(1)
            for coarse in np.unique(either).tolist():
                those = either == coarse
                first, second = pictures[some[those]].swapaxes(0, 1)
                likeness[those] = resemblance(first, second, flipped[those], FINE[coarse])
            same = likeness >= SAME
            found.append(some[same])
            scores.append(likeness[same])
        advance(min(ROWS, len(indices) - start))
    return np.concatenate(found), np.concatenate(scores)


def resemblance(
    first: NDArray[np.uint8], second: NDArray[np.uint8], mirrored: NDArray[np.bool_], fine: int
) -> Floats:
    """Return how alike the pictures ``P 32 32`` of each pair are, -1 to 1, in their first `fine`
    frequencies; `second` is mirrored where `mirrored` says so."""
    other = np.where(mirrored[:, None, None], second[:, :, ::-1], second)
    inner = slice(SHIFT, SIDE - SHIFT)
    core = _normal(_weighted(first, fine)[:, inner, inner])
    moved = _weighted(other, fine)
    best = np.full(len(first), -1, np.float32)
    for top, left in np.ndindex(2 * SHIFT + 1, 2 * SHIFT + 1):
        size = SIDE - 2 * SHIFT
        part = _normal(moved[:, top : top + size, left : left + size])
        np.maximum(best, np.einsum("pi,pi->p", core, part), out=best)
    return best


def _frequencies(count: int) -> Floats:
    each = np.arange(count, dtype=np.float32)
    return np.hypot(each[:, None], each[None, :])


def _describe(pictures: NDArray[np.uint8], indices: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return the coefficients that are even across, and the odd ones: each ``N 32``; both together
    are of length 1."""
    described = np.zeros((len(indices), LOW, LOW), np.float32)
    for start in range(0, len(indices), PAIRS):
        some = pictures[indices[start : start + PAIRS]].astype(np.float32)
        described[start : start + PAIRS] = dctn(some, axes=(1, 2), norm="ortho")[:, :LOW, :LOW]
    described *= _frequencies(LOW)
    length = np.sqrt(np.square(described).sum((1, 2), keepdims=True))
    described /= np.maximum(length, 1e-6)
    return tuple(  # type: ignore[return-value]
        np.ascontiguousarray(described[:, :, parity::2]).reshape(len(indices), LOW * LOW // 2)
        for parity in (0, 1)
    )


def _candidates(even: Floats, odd: Floats, start: int) -> tuple[Pairs, NDArray[np.bool_]]:
    """Return the candidates of `ROWS` photos among all that follow, and which are mirrored."""
    rows = slice(start, start + ROWS)
    hits = [_tile(even, odd, rows, left) for left in range(start, len(even), COLUMNS)]
    i, j, score, mirrored = (np.concatenate(column) for column in zip(*hits, strict=True))
    kept = _strongest(i, score)
    return np.stack([i, j], 1)[kept], mirrored[kept]


def _tile(
    even: Floats, odd: Floats, rows: slice, left: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, NDArray[np.bool_]]:
    columns = slice(left, left + COLUMNS)
    score, other = even[rows] @ even[columns].T, odd[rows] @ odd[columns].T
    score += np.abs(other)
    r, c = np.divmod(np.flatnonzero(score >= CANDIDATE), score.shape[1])
    later = r + rows.start < c + left
    r, c = r[later], c[later]
    kept = _strongest(r, score[r, c])
    r, c = r[kept], c[kept]
    return r + rows.start, c + left, score[r, c], other[r, c] < 0


def _strongest(rows: NDArray[np.int64], score: Floats) -> NDArray[np.int64]:
    """Return the positions of the `NEIGHBOURS` best of each row."""
    order = np.lexsort((-score, rows))
    first = np.searchsorted(rows[order], rows[order])
    kept: NDArray[np.int64] = order[np.arange(len(order)) - first < NEIGHBOURS]
    return kept


def _weighted(pictures: NDArray[np.uint8], fine: int) -> Floats:
    coefficients = dctn(pictures.astype(np.float32), axes=(1, 2), norm="ortho")
    weights = np.zeros((SIDE, SIDE), np.float32)
    weights[:fine, :fine] = _frequencies(fine)
    values: Floats = idctn(coefficients * weights, axes=(1, 2), norm="ortho")
    return values


def _normal(pictures: Floats) -> Floats:
    flat = pictures.reshape(len(pictures), -1)
    flat = flat - flat.mean(1, keepdims=True)
    length = np.sqrt(np.einsum("pi,pi->p", flat, flat))
    normal: Floats = flat / np.maximum(length, 1e-6)[:, None]
    return normal
