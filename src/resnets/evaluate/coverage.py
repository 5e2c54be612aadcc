"""Accuracy against coverage: how right a model is where it may decline to answer.

A model that answers only the photos of which it is surest is right more often. Sorted by falling
confidence, the first n answers have a coverage of n / N, and a risk, the share of them that is
wrong (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017, arXiv:1705.08500).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnets.evaluate.intervals import wilson

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.5)
ACCURACIES = (0.9, 0.95, 0.99, 0.999)
POINTS = 200


@dataclass(frozen=True)
class Operating:
    """Answer where the confidence is at least `threshold`: so many photos, and so right.

    `low` and `high` are the 95 % Wilson interval of `accuracy`.
    """

    threshold: float
    coverage: float
    n: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Coverage:
    """What declining to answer buys. All are fractions.

    Attributes:
        aurc: area under the curve of risk against coverage: the mean risk over all of its points.
            0 is perfect; a confidence that says nothing gives the error rate.
        aurc_best: what it would be if every mistake came last.
        at_coverage: the threshold of the largest coverage up to each of `COVERAGES`.
        at_accuracy: by each of `ACCURACIES`, the largest coverage that reaches it, or None. The
            threshold is chosen on the photos it is judged on: that is slightly too good.
        curve: (coverage, accuracy), by rising coverage, thinned to about `POINTS`.
    """

    aurc: float
    aurc_best: float
    at_coverage: tuple[Operating, ...]
    at_accuracy: dict[str, Operating | None]
    curve: tuple[tuple[float, float], ...]


def coverage(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> Coverage:
    """Measure what declining buys, from the confidence ``N`` and whether each answer was right.

    Answers of equal confidence come together: a threshold cannot part them. Of them the curve has
    the one point where all are answered, and the area what any order of them gives on average.
    """
    values, group = np.unique(-confidence.astype(np.float64), return_inverse=True)
    sizes = np.bincount(group)
    answered, hits = np.cumsum(sizes), np.cumsum(np.bincount(group, right)).astype(np.int64)
    n = int(answered[-1])

    def at(i: int) -> Operating:
        of, good = int(answered[i]), int(hits[i])
        return Operating(float(-values[i]), of / n, of, good / of, *wilson(good, of))

    accuracy = hits / answered
    up_to = [int(np.searchsorted(answered, share * n + 1e-9, side="right")) for share in COVERAGES]
    enough = {str(wanted): np.flatnonzero(accuracy >= wanted) for wanted in ACCURACIES}
    drawn = np.unique(np.linspace(0, len(values) - 1, POINTS).round().astype(int))
    mistakes = int(n - hits[-1])
    last = np.arange(1, mistakes + 1) / np.arange(n - mistakes + 1, n + 1)
    return Coverage(
        aurc=_area(answered, hits, sizes),
        aurc_best=float(last.sum()) / n,
        at_coverage=tuple(at(i - 1) for i in dict.fromkeys(up_to) if i),
        at_accuracy={k: at(int(found[-1])) if len(found) else None for k, found in enough.items()},
        curve=tuple((float(answered[i] / n), float(accuracy[i])) for i in drawn),
    )


def _area(answered: NDArray[np.int64], hits: NDArray[np.int64], sizes: NDArray[np.int64]) -> float:
    """Mean risk over the first 1, 2, … N answers, those of a tie in any order, on average."""
    n = int(answered[-1])
    wrong = answered - hits
    before, wrong_before = answered - sizes, np.concatenate([[0], wrong[:-1]])
    place = np.arange(1, n + 1) - np.repeat(before, sizes)  # within its tie, from 1
    share = np.repeat((wrong - wrong_before) / sizes, sizes)
    risk = (np.repeat(wrong_before, sizes) + share * place) / np.arange(1, n + 1)
    return float(risk.mean())
