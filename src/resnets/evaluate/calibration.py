"""Whether probabilities mean what they say, and the temperature that makes them mean it.

A model is calibrated if, of the photos of which it is 80 % sure, 80 % are right. The reliability
diagram shows how far that holds; the expected calibration error (ECE) sums it up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax

from resnets.evaluate.intervals import wilson
from resnets.evaluate.metrics import nll

BINS = 15
DRAWS = 200
ROWS = 4096  # that are computed at a time, in double precision
LEAST = 50
"""Photos that a temperature is fitted on at least: fewer say too little about it."""
COLDEST, HOTTEST = 0.05, 20.0

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Bin:
    """Photos whose confidence is in ``low < confidence ≤ high`` (the first bin also has 0).

    `confidence` is their mean, `accuracy` the share of them that is right, with its 95 % Wilson
    interval; all None where there are none.
    """

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None


@dataclass(frozen=True)
class Calibration:
    """How far probabilities can be believed.

    Attributes:
        ece: mean distance between confidence and accuracy, over `BINS` bins of equal width, each
            weighed by its photos (Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599, 2).
        ece_chance, ece_chance_high: what perfect probabilities would show of it on as many photos:
            the mean, and the 95th percentile.
        adaptive_ece: the same over `BINS` bins of as many photos each (Nguyen and O'Connor 2015).
        nll: mean negative log-likelihood, natural logarithm.
        brier: mean squared distance of the probabilities from the truth, summed over the classes,
            0 to 2 (Brier 1950).
        confidence: mean probability of the class that was named.
        bins: the reliability diagram.
    """

    ece: float
    ece_chance: float
    ece_chance_high: float
    adaptive_ece: float
    nll: float
    brier: float
    confidence: float
    bins: tuple[Bin, ...]


def calibration(probabilities: Floats, labels: NDArray[np.integer]) -> Calibration:
    """Judge probabilities ``N K`` by the truth ``N``; ties go to the lowest class."""
    confidence = probabilities.max(1).astype(np.float64)
    right = probabilities.argmax(1) == labels
    by_chance = chance(confidence)
    return Calibration(
        ece=ece(confidence, right),
        ece_chance=float(by_chance.mean()),
        ece_chance_high=float(np.quantile(by_chance, 0.95)),
        adaptive_ece=adaptive_ece(confidence, right),
        nll=nll(probabilities, labels),
        brier=brier(probabilities, labels),
        confidence=float(confidence.mean()),
        bins=reliability(confidence, right),
    )


def bin_of(confidence: Floats, bins: int = BINS) -> NDArray[np.int64]:
    """Return the bin of each confidence: i for ``i / bins < c ≤ (i + 1) / bins``.

    Exactly 0 is in the first bin and exactly 1 in the last; so is what rounding has put beyond.
    The edges are the doubles nearest to i / bins: a photo on an edge belongs below it.
    """
    edges = np.arange(bins + 1) / bins
    found = np.searchsorted(edges, np.asarray(confidence, np.float64), side="left") - 1
    return np.clip(found, 0, bins - 1)


def ece(confidence: Floats, right: NDArray[np.bool_], bins: int = BINS) -> float:
    """Return the expected calibration error: Σ |right - confidence| over the bins' sums, by n."""
    return _ece(bin_of(confidence, bins), confidence.astype(np.float64), right, bins)


def _ece(
    group: NDArray[np.int64], confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int
) -> float:
    gaps = np.bincount(group, right - confidence, bins)
    return float(np.abs(gaps).sum() / len(group))


def adaptive_ece(confidence: Floats, right: NDArray[np.bool_], bins: int = BINS) -> float:
    """Return the same over bins of equally many photos, by rising confidence.

    Photos of equal confidence share what is right among them evenly, so that their order in the
    data, which may be by class, does not count.
    """
    _, group, sizes = np.unique(confidence, return_inverse=True, return_counts=True)
    shared = (np.bincount(group, right) / sizes)[group]
    order = np.argsort(confidence, kind="stable")
    gaps = (shared - confidence.astype(np.float64))[order]
    return float(sum(abs(part.sum()) for part in np.array_split(gaps, bins)) / len(gaps))


def chance(confidence: Floats, bins: int = BINS, draws: int = DRAWS) -> NDArray[np.float64]:
    """Return the ECE of `draws` sets of answers that are right exactly as often as was said.

    It is above 0 as there are so many photos and no more (Bröcker and Smith 2007 draw the same for
    each bin); the draws are the same each time.
    """
    generator, group = np.random.default_rng(0), bin_of(confidence, bins)
    wanted = np.minimum(confidence.astype(np.float64), 1.0)
    drawn = (generator.random(len(group)) < wanted for _ in range(draws))
    return np.array([_ece(group, wanted, right, bins) for right in drawn])


def reliability(confidence: Floats, right: NDArray[np.bool_], bins: int = BINS) -> tuple[Bin, ...]:
    """Return the bins of the reliability diagram (DeGroot and Fienberg 1983), from low to high."""
    group = bin_of(confidence, bins)
    n = np.bincount(group, minlength=bins).tolist()
    hits = np.bincount(group, right, bins).astype(int).tolist()
    sums = np.bincount(group, confidence.astype(np.float64), bins).tolist()
    return tuple(
        Bin(i / bins, (i + 1) / bins, n[i], sums[i] / n[i], hits[i] / n[i], *wilson(hits[i], n[i]))
        if n[i]
        else Bin(i / bins, (i + 1) / bins, 0, None, None, None, None)
        for i in range(bins)
    )


def brier(probabilities: Floats, labels: NDArray[np.integer]) -> float:
    """Return the Brier score of several classes: mean Σ (p - truth)²."""
    total = 0.0
    for start in range(0, len(labels), ROWS):
        part = probabilities[start : start + ROWS].astype(np.float64)
        part[np.arange(len(part)), labels[start : start + ROWS]] -= 1
        total += float(np.square(part).sum())
    return total / len(labels)


# -- temperature -----------------------------------------------------------------------------------


def fit_temperature(logits: Floats, labels: NDArray[np.integer]) -> float | None:
    """Return the T of ``softmax(logits / T)`` that gives the truth the highest likelihood.

    In 1 / T the negative log-likelihood is convex, and its derivative, the mean of what the model
    expects of the logit less that of the truth, rises: its root is the minimum (Guo et al. 2017,
    arXiv:1706.04599, 4.2). None where `LEAST` photos are not reached, or there is no root between
    `COLDEST` and `HOTTEST`: if every photo is right, say, no temperature is low enough.

    Args:
        logits: ``N K``, finite.
        labels: ``N`` integers in 0..K-1.
    """
    if len(labels) < LEAST:
        return None

    def slope(inverse: float) -> float:
        total = 0.0
        for start in range(0, len(labels), ROWS):
            part = logits[start : start + ROWS].astype(np.float64)
            part -= part.max(1, keepdims=True)
            truth = part[np.arange(len(part)), labels[start : start + ROWS]]
            total += float(((softmax(part * inverse, 1) * part).sum(1) - truth).sum())
        return total / len(labels)

    low, high = 1 / HOTTEST, 1 / COLDEST
    if not slope(low) < 0 < slope(high):
        return None
    return float(1 / brentq(slope, low, high, xtol=1e-9))


def at_temperature(probabilities: Floats, factor: float) -> Floats:
    """Return what probabilities at a temperature would be at `factor` times it.

    ``softmax(z / (T f))`` is ``softmax(z / T) ** (1 / f)``, scaled to a sum of 1.
    """
    powered = np.power(probabilities, 1 / factor)
    scaled: Floats = powered / powered.sum(1, keepdims=True)
    return scaled


def record(logits: Floats, labels: NDArray[np.integer], split: str) -> dict[str, Any]:
    """Return what a model file notes of the temperature that fits; nothing where none does.

    Args:
        logits: ``N K`` of the photos that it is fitted on.
        labels: their truth, ``N``.
        split: where the photos come from.
    """
    temperature = fit_temperature(logits, labels)
    if temperature is None:
        return {}
    found: dict[str, Any] = {"temperature": temperature, "split": split, "n": len(labels)}
    for name, divisor in (("before", 1.0), ("after", temperature)):
        probabilities = softmax(logits / np.float32(divisor), axis=1)
        right = probabilities.argmax(1) == labels
        found[f"nll_{name}"] = nll(probabilities, labels)
        found[f"ece_{name}"] = ece(probabilities.max(1), right)
    return found
