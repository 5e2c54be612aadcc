"""What the report shows of a confusion matrix: pairs, a table that fits a page, and a picture."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Counts = Sequence[Sequence[int]]  # K K, rows are the truth, columns the prediction

FULL_TABLE = 24  # up to this many classes the whole matrix is a table
EXCERPT = 12  # beyond it the table holds about this many, the most confused ones
PICTURE_SIDE = 256  # cells, so that 10,000 classes cost no more bytes than 256
LEVELS = (0.0, 0.04, 0.16, 0.36, 0.64)  # shares of a row: squares, so that rare ones show
RIGHT, WRONG = (58, 127, 173), (214, 103, 48)  # mid-tones: seen on white and on black alike


@dataclass(frozen=True)
class Pair:
    """`count` photos of class `truth` were taken for `prediction`: this `share` of the class."""

    truth: int
    prediction: int
    count: int
    share: float


@dataclass(frozen=True)
class Cell:
    """One count, and how strongly it is coloured: `level` 1 (faint) to 5, 0 for no photos."""

    count: int
    level: int
    right: bool


@dataclass(frozen=True)
class Table:
    """Rows are the truth. When `partial`, `others` counts a row's predictions not in columns."""

    names: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    others: tuple[int, ...]
    partial: bool


def most_confused(confusion: Counts, limit: int = 100) -> list[Pair]:
    """Pairs that occur: most frequent first, then the larger share, then class order."""
    counts = np.array(confusion)
    photos = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    truth, prediction = np.nonzero(counts)
    count, share = counts[truth, prediction], counts[truth, prediction] / photos[truth]
    order = np.lexsort((prediction, truth, -share, -count))[:limit]
    return [Pair(int(truth[i]), int(prediction[i]), int(count[i]), float(share[i])) for i in order]


def table(confusion: Counts, classes: Sequence[str], pairs: Sequence[Pair]) -> Table:
    """The whole matrix if it fits on a page, else the classes of the most frequent pairs."""
    counts = np.array(confusion)
    shown = list(range(len(classes)))
    partial = len(classes) > FULL_TABLE
    if partial:
        confused = dict.fromkeys(i for pair in pairs for i in (pair.truth, pair.prediction))
        shown = sorted(list(confused)[:EXCERPT])
    index = np.array(shown, dtype=int)  # typed, for it is empty when nothing was confused
    inside = counts[np.ix_(index, index)]
    photos = counts[index].sum(axis=1)
    return Table(
        names=tuple(classes[i] for i in shown),
        rows=tuple(
            tuple(_cell(int(count), int(n), i == j) for j, count in enumerate(row))
            for i, (row, n) in enumerate(zip(inside, photos, strict=True))
        ),
        others=tuple((photos - inside.sum(axis=1)).tolist()),
        partial=partial,
    )


def picture(confusion: Counts) -> bytes:
    """The whole matrix as a PNG on a transparent ground; a pixel is a cell, or a block of cells.

    Opacity grows with the square root of a cell's share of its row, so that one mistake in a
    hundred is still seen. A block shows its strongest cell, mistakes before right answers.
    """
    counts = np.array(confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    diagonal = np.diag(np.diag(share))
    right, wrong = _shrink(diagonal), _shrink(share - diagonal)
    strength = np.where(wrong > 0, wrong, right)
    pixels = np.empty((*strength.shape, 4), np.uint8)
    pixels[..., :3] = np.where((wrong > 0)[..., None], WRONG, RIGHT)
    pixels[..., 3] = np.where(strength > 0, 80 + 175 * np.sqrt(strength), 0)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", optimize=True)
    return out.getvalue()


def block_side(classes: int) -> int:
    """How many classes share one pixel of the picture."""
    return -(-classes // PICTURE_SIDE)


def _shrink(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Maximum over square blocks: ``K K`` → at most ``PICTURE_SIDE PICTURE_SIDE``."""
    side = block_side(len(share))
    padded = np.pad(share, (0, -len(share) % side))
    blocks = padded.reshape(len(padded) // side, side, len(padded) // side, side)
    largest: NDArray[np.float64] = blocks.max(axis=(1, 3))
    return largest


def _cell(count: int, photos: int, right: bool) -> Cell:
    level = bisect_right(LEVELS, count / photos) if count else 0
    return Cell(count, level, right)
