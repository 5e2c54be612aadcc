"""Labels that are likely to be wrong, from probabilities of networks that never saw the photo.

Confident learning (Northcutt et al. 2021, arXiv:1911.00068) by the library cleanlab: a photo counts
for a class where that class has at least the probability that photos labelled so have on average.
What is counted of one class and labelled another estimates how many labels are wrong, and of every
class so many photos are named whose own label is the least probable.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnets.evaluate.intervals import wilson
from resnets.extras import library
from resnets.pages import percent

EXTRA = "check"
PURPOSE = "looking for wrong labels"
RULE = "prune_by_class"
"""Which of cleanlab's rules says how many photos of which class: the best in docs/labels.md."""


class Mix(NamedTuple):
    """Two classes: `found` photos labelled `given` seem to be `suggested`; `estimated` are."""

    given: str
    suggested: str
    found: int
    estimated: int


@dataclass(frozen=True, eq=False)
class Mislabelled:
    """Which of ``N`` labels are likely to be wrong.

    Attributes:
        classes: the K class names.
        labels, suggested: ``N``: the class that each photo has, and the most probable other one.
        probabilities: ``N K``, each row of a network that never saw the photo.
        found: positions of the photos whose label is likely to be wrong, the surest first.
        joint: ``K K`` counts, estimated: labelled so, and truly so.
        share, share_low, share_high: the estimated fraction of wrong labels, with the 95 % interval
            of what other photos of the same kind would have given. It does not know how far the
            networks' own errors reach into the estimate.
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    suggested: NDArray[np.int64]
    probabilities: NDArray[np.floating[Any]]
    found: NDArray[np.int64]
    joint: NDArray[np.int64]
    share: float
    share_low: float
    share_high: float

    @cached_property
    def quality(self) -> NDArray[np.floating[Any]]:
        """The probability of each photo's own label, ``N``: the lower, the likelier it is wrong."""
        return _of(self.probabilities, self.labels)

    @property
    def agreement(self) -> float:
        """The fraction of labels that are the most probable class: the networks' own measure."""
        return float((self.quality >= self.probabilities.max(1)).mean())

    @cached_property
    def mixes(self) -> list[Mix]:
        """The pairs of classes whose labels are mixed up, the most photos first."""
        k = len(self.classes)
        pairs = self.labels[self.found] * k + self.suggested[self.found]
        counts = np.bincount(pairs, minlength=k * k).reshape(k, k)
        off = (counts > 0) | (self.joint > 0)
        np.fill_diagonal(off, False)
        rows = [
            Mix(self.classes[i], self.classes[j], int(counts[i, j]), int(self.joint[i, j]))
            for i, j in np.argwhere(off)
        ]
        return sorted(rows, key=lambda row: (-row.found, -row.estimated))

    def why(self, i: int) -> str:
        """Say what the network that never saw photo `i` takes it for."""
        said, own = self.suggested[i], self.labels[i]
        values = _of(self.probabilities[[i, i]], np.array([said, own]))
        told = [
            f"{self.classes[k]} {percent(v)} %" for k, v in zip((said, own), values, strict=True)
        ]
        return ", ".join(told)

    def summary(self) -> str:
        """One line for a terminal or a log."""
        low, high = percent(self.share_low), percent(self.share_high)
        return (
            f"{len(self.found):,} of {len(self.labels):,} labels look wrong; estimated share "
            f"{percent(self.share)} % (95 % interval {low}–{high} %); the networks agree with "
            f"{percent(self.agreement)} % of the labels"
        )


def find(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.int64], classes: Sequence[str]
) -> Mislabelled:
    """Find the labels that are likely to be wrong.

    Args:
        probabilities: ``N K``, each row from what never saw the photo, nor a copy of it.
        labels: ``N`` integers in 0..K-1.
        classes: K names.

    Raises:
        UserError: cleanlab is not installed.
        ValueError: shapes that disagree, or probabilities that are none.
    """
    count = library("cleanlab.count", EXTRA, PURPOSE)
    chosen = library("cleanlab.filter", EXTRA, PURPOSE)
    raw = count.compute_confident_joint(labels, probabilities, calibrate=False)
    joint = count.calibrate_confident_joint(raw, labels)
    with warnings.catch_warnings():  # of classes with too few photos to name one
        warnings.simplefilter("ignore", UserWarning)
        mask = chosen.find_label_issues(
            labels, probabilities, filter_by=RULE, confident_joint=joint, n_jobs=1
        )
    quality = _of(probabilities, labels)
    others = probabilities.copy()
    np.put_along_axis(others, labels[:, None], -1.0, axis=1)
    suggested = others.argmax(1)
    found = np.flatnonzero(mask)
    share, low, high = _share(raw, np.bincount(labels, minlength=len(classes)))
    return Mislabelled(
        classes=tuple(classes),
        labels=labels,
        suggested=suggested,
        probabilities=probabilities,
        found=found[np.argsort(quality[found], kind="stable")],
        joint=np.asarray(joint, np.int64),
        share=share,
        share_low=low,
        share_high=high,
    )


def _of(probabilities: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[Any]:
    return np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]


def _share(raw: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return the share of wrong labels with its interval, from confident counts ``K K``.

    Each class weighs as many photos as it has, of which only some are counted confidently. The
    interval is Wilson's, for as many photos as would have given the same variance.
    """
    confident = raw.sum(1)
    wrong = 1 - raw.diagonal() / confident
    weights = counts / counts.sum()
    share = float(weights @ wrong)
    variance = float(weights**2 @ (wrong * (1 - wrong) / confident))
    n = share * (1 - share) / variance if variance else float(confident.sum())
    low, high = wilson(round(share * n), max(1, round(n)))
    return share, min(low, share), max(high, share)


def rows(found: Mislabelled, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield what there is to say of each photo found, fit for JSON, the surest first."""
    for i in found.found[:limit].tolist():
        given, said = int(found.labels[i]), int(found.suggested[i])
        yield {
            "position": i,
            "given": found.classes[given],
            "suggested": found.classes[said],
            "quality": round(float(found.quality[i]), 6),
            "probability": round(float(found.probabilities[i, said]), 6),
            "why": found.why(i),
        }
