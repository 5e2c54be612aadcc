"""Labels that are likely to be wrong, from probabilities of networks that never saw the photo.

Confident learning (Northcutt et al. 2021, arXiv:1911.00068) estimates which labels are mixed up how
often: a photo counts for a class where that class has at least the probability that photos labelled
so have on average, and what counts for one class and is labelled another is a sign of noise.

Photos are ranked by how far their own label is more probable than that noise alone would make it. A
network that has learnt from noisy labels gives a mislabelled photo's own label just what noise
explains, and a rare or difficult photo's own label more, however little it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnets.evaluate.intervals import wilson
from resnets.pages import percent

SLACK = 1e-6
"""A probability that falls short of a class' average by rounding counts all the same."""
EVENLY = 0.5
"""How much of the noise is taken as falling on all classes alike: the counts take pairs of classes
that look alike for noise, too (docs/labels.md)."""


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
        quality: ``N``, from 0 to 1: a half where noise alone explains that the photo's own label is
            as probable as it is; the lower, the likelier it is wrong.
        joint: ``K K`` counts, estimated: labelled so, and truly so.
        share, share_low, share_high: the estimated fraction of wrong labels, with the 95 % interval
            of what other photos of the same kind would have given. It does not know how far the
            networks' own errors reach into the estimate.
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    suggested: NDArray[np.int64]
    probabilities: NDArray[np.floating[Any]]
    quality: NDArray[np.floating[Any]]
    found: NDArray[np.int64]
    joint: NDArray[np.float64]
    share: float
    share_low: float
    share_high: float

    @property
    def agreement(self) -> float:
        """The fraction of labels that are the most probable class: the networks' own measure."""
        return float((self.probabilities.argmax(1) == self.labels).mean())

    @property
    def unsure(self) -> int:
        """The labels that the networks contradict, too, without being sure: they are not found."""
        own = _of(self.probabilities, self.labels)
        return int((self.probabilities.max(1) > own).sum()) - len(self.found)

    @cached_property
    def mixes(self) -> list[Mix]:
        """The pairs of classes whose labels are mixed up, the most photos first."""
        k = len(self.classes)
        pairs = self.labels[self.found] * k + self.suggested[self.found]
        counts = np.bincount(pairs, minlength=k * k).reshape(k, k)
        estimated = self.joint.round().astype(np.int64)
        off = (counts > 0) | (estimated > 0)
        np.fill_diagonal(off, False)
        rows = [
            Mix(self.classes[i], self.classes[j], int(counts[i, j]), int(estimated[i, j]))
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
            f"{len(self.found):,} of {len(self.labels):,} labels look wrong{self._more()}; "
            f"estimated share {percent(self.share)} % (95 % interval {low}–{high} %); "
            f"the networks agree with {percent(self.agreement)} % of the labels"
        )

    def _more(self) -> str:
        return f" ({self.unsure:,} more contradicted, none surely)" if self.unsure else ""


def find(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.int64], classes: Sequence[str]
) -> Mislabelled:
    """Find the labels that are likely to be wrong: as many as are estimated to be, of photos that
    the network takes for something else.

    Args:
        probabilities: ``N K``, each row from what never saw the photo, nor a copy of it.
        labels: ``N`` integers in 0..K-1.
        classes: K names.
    """
    counts = np.bincount(labels, minlength=len(classes))
    confident = count_confident(probabilities, labels)
    joint = confident * (counts / np.maximum(confident.sum(1), 1))[:, None]
    own = _of(probabilities, labels)
    others = probabilities.copy()
    np.put_along_axis(others, labels[:, None], 0.0, axis=1)
    quality = own / np.maximum(own + _of(others @ _noise(joint), labels), np.finfo("f4").tiny)
    ranked = np.argsort(quality, kind="stable")[: round(joint.sum() - joint.trace())]
    share, low, high = _share(confident, counts)
    return Mislabelled(
        classes=tuple(classes),
        labels=labels,
        suggested=others.argmax(1),
        probabilities=probabilities,
        quality=quality,
        found=ranked[(own < others.max(1))[ranked]],
        joint=joint,
        share=share,
        share_low=low,
        share_high=high,
    )


def count_confident(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return ``K K`` counts: labelled so, and confidently so (equation 1 of the paper).

    Every class with photos has one at least that is right.
    """
    k = probabilities.shape[1]
    counts = np.bincount(labels, minlength=k)
    sums = np.bincount(labels, _of(probabilities, labels), minlength=k)
    # Nothing can be confidently of a class that has no photos: nobody knows what that takes.
    least = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf) - SLACK
    above = np.where(probabilities >= least, probabilities, -1.0)
    sure = above.max(1) >= 0
    pairs = labels[sure] * k + above[sure].argmax(1)
    found: NDArray[np.int64] = np.bincount(pairs, minlength=k * k).reshape(k, k)
    np.fill_diagonal(found, np.maximum(found.diagonal(), counts > 0))
    return found


def _noise(joint: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``K K``: how probable it is that a photo truly of one class is labelled as another."""
    k = len(joint)
    noise: NDArray[np.float64] = (joint / np.maximum(joint.sum(0), 1)).T
    np.fill_diagonal(noise, 0)
    noise = (1 - EVENLY) * noise + EVENLY * noise.sum() / (k * (k - 1))
    return noise


def _of(probabilities: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[Any]:
    return np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]


def _share(raw: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return the share of wrong labels with its interval, from confident counts ``K K``.

    Each class weighs as many photos as it has, of which only some are counted confidently. The
    interval is Wilson's, for as many photos as would have given the same variance.
    """
    confident = np.maximum(raw.sum(1), 1)
    wrong = np.where(counts > 0, 1 - raw.diagonal() / confident, 0.0)
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
            "given_probability": round(float(found.probabilities[i, given]), 6),
            "probability": round(float(found.probabilities[i, said]), 6),
            "why": found.why(i),
        }
