"""Two models on the same photos: is one better, and by how much?

Photos that both get right, or both wrong, say nothing of which is better: what counts are those
that one of them alone gets right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom, binomtest

from resnets.evaluate.intervals import wilson

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Changes:
    """Of the `n` photos of a class, those that only `this` or only the `other` got right."""

    name: str
    n: int
    this: int
    other: int


@dataclass(frozen=True)
class Comparison:
    """This model and the other on the same photos. Shares are fractions.

    Attributes:
        n: photos; both_right, only_this, only_other, both_wrong: who is right on how many.
        same_answer: photos to which both give the same class, right or wrong.
        top1, other_top1: with 95 % Wilson intervals.
        difference: top1 - other_top1, and low, high: its 95 % interval (`difference_interval`).
        p_value: of the exact test of McNemar, two-sided; mid_p: less cautious, see `mcnemar`.
        per_class: what changes, most changed classes first.
    """

    n: int
    both_right: int
    only_this: int
    only_other: int
    both_wrong: int
    same_answer: int
    top1: float
    top1_low: float
    top1_high: float
    other_top1: float
    other_top1_low: float
    other_top1_high: float
    difference: float
    difference_low: float
    difference_high: float
    p_value: float
    mid_p: float
    per_class: tuple[Changes, ...]

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``undecided``, at a level of 5 %."""
        if self.p_value > SIGNIFICANT:
            return "undecided"
        return "better" if self.difference > 0 else "worse"


@dataclass(frozen=True)
class Compared:
    """A comparison with the model called `other`, and the photos to which they answer differently:
    ``path``, ``truth``, ``label`` (this model's) and ``other``. `learned` is what keeps the other's
    figures from being a judgement, as `words.learned` says it."""

    other: str
    figures: Comparison
    differing: tuple[Mapping[str, str], ...] = ()
    learned: str = ""

    def to_json(self) -> dict[str, Any]:
        values = {"other": self.other, **asdict(self.figures), "verdict": self.figures.verdict}
        return values | {"differing": [dict(row) for row in self.differing]}


def compare(
    predictions: NDArray[np.integer],
    others: NDArray[np.integer],
    labels: NDArray[np.integer],
    classes: Sequence[str],
) -> Comparison:
    """Compare two models' classes ``N`` for the same photos with the truth ``N``."""
    n, this, other = len(labels), predictions == labels, others == labels
    only_this, only_other = this & ~other, other & ~this
    b, c = int(only_this.sum()), int(only_other.sum())
    p_value, mid_p = mcnemar(b, c)
    low, high = difference_interval(b, c, n)
    own, theirs = wilson(int(this.sum()), n), wilson(int(other.sum()), n)
    counts = [np.bincount(labels[x], minlength=len(classes)) for x in (only_this, only_other)]
    photos = np.bincount(labels, minlength=len(classes))
    changes = [
        Changes(name, int(photos[i]), int(counts[0][i]), int(counts[1][i]))
        for i, name in enumerate(classes)
    ]
    return Comparison(
        n,
        both_right=int((this & other).sum()),
        only_this=b,
        only_other=c,
        both_wrong=int((~this & ~other).sum()),
        same_answer=int((predictions == others).sum()),
        top1=float(this.mean()),
        top1_low=own[0],
        top1_high=own[1],
        other_top1=float(other.mean()),
        other_top1_low=theirs[0],
        other_top1_high=theirs[1],
        difference=(b - c) / n,
        difference_low=low,
        difference_high=high,
        p_value=p_value,
        mid_p=mid_p,
        per_class=tuple(
            sorted(
                (change for change in changes if change.this or change.other),
                key=lambda change: (-abs(change.this - change.other), -change.this - change.other),
            )
        ),
    )


def mcnemar(only_this: int, only_other: int) -> tuple[float, float]:
    """Return the two-sided p-value of McNemar's exact test, and its mid-p.

    If neither model were better, each photo that one alone gets right would be a toss of a coin
    (McNemar 1947, Psychometrika 12). The exact test is wrong in 5 % of such cases at most, and
    mostly less; mid-p counts what was observed by half, and is nearer to 5 % (Fagerland, Lydersen
    and Laake 2013, BMC Medical Research Methodology 13:91).
    """
    n = only_this + only_other
    if not n:
        return 1.0, 1.0
    exact = float(binomtest(only_this, n).pvalue)
    if only_this == only_other:  # both tails meet in what was observed
        return exact, 1 - float(binom.pmf(only_this, n, 0.5)) / 2
    return exact, exact - float(binom.pmf(only_this, n, 0.5))


def difference_interval(
    only_this: int, only_other: int, n: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the score interval of the difference of two shares of the same `n` photos.

    The differences d that the score test of Tango does not reject: with the shares that are most
    likely under d, |b - c - n d| ≤ z √(n (2 q + d - d²)).

    Source: T. Tango, "Equivalence test and confidence interval for the difference in proportions
    for the paired-sample design", Statistics in Medicine 17 (1998), 891-908.
    """
    z, gap = NormalDist().inv_cdf(0.5 + confidence / 2), only_this - only_other

    def beyond(delta: float, side: int) -> float:
        """Return by how much the test rejects `delta`, below (1) or above (-1) what was found."""
        b = (2 * n - gap) * delta - only_this - only_other
        c = -only_other * delta * (1 - delta)
        q = (sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        spread = n * (2 * q + delta * (1 - delta))
        return side * (gap - n * delta) - z * sqrt(max(spread, 0.0))

    # What was found is no root itself, though where neither is ever right alone it looks like one.
    low = -1.0 if gap == -n else brentq(beyond, -1.0, gap / n - 1e-9, args=(1,), xtol=1e-10)
    high = 1.0 if gap == n else brentq(beyond, gap / n + 1e-9, 1.0, args=(-1,), xtol=1e-10)
    return float(low), float(high)
