"""From probabilities and labels to the figures of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from resnets.evaluate.intervals import balanced, wilson
from resnets.pages import percent

TOP_K = 5
PROBABILITY_FLOOR = 1e-12  # one photo costs at most -ln(1e-12) = 27.6 nats of loss
EN_DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class ClassMetrics:
    """One class. All figures are fractions; ``None`` means undefined, never zero.

    Attributes:
        name: the class.
        n: photos whose truth is this class.
        precision: right ones among the photos predicted as this class; None if never predicted.
        recall: right ones among the photos of this class; None if it has no photos.
        f1: harmonic mean of the two, 2 tp / (n + predicted); None if it has no photos.
        recall_low, recall_high: 95 % Wilson interval of the recall; None if it has no photos.
    """

    name: str
    n: int
    precision: float | None
    recall: float | None
    f1: float | None
    recall_low: float | None
    recall_high: float | None


def badness(row: ClassMetrics) -> tuple[float, float, str]:
    """Sort key: lowest recall first; of equals the least certain; without photos, last."""
    if row.recall is None or row.recall_low is None:
        return (2.0, 0.0, row.name)
    return (row.recall, row.recall_low, row.name)


@dataclass(frozen=True)
class Evaluation:
    """A classifier on one set of photos. Accuracies are fractions.

    Attributes:
        n: photos.
        top1: share of photos whose most probable class is the truth.
        top1_low, top1_high: its 95 % Wilson interval.
        top5: share whose truth is among the five most probable; None with five classes or fewer.
        balanced_accuracy: mean recall over the classes that have photos.
        balanced_low, balanced_high: its 95 % interval (`intervals.balanced`).
        loss: mean negative log-likelihood, natural logarithm.
        per_class: one row a class, in the order of ``classes``.
        confusion: ``K K`` counts, rows are the truth, columns the prediction.
        classes: the K class names.
    """

    n: int
    top1: float
    top1_low: float
    top1_high: float
    top5: float | None
    balanced_accuracy: float
    balanced_low: float
    balanced_high: float
    loss: float
    per_class: tuple[ClassMetrics, ...]
    confusion: list[list[int]]
    classes: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Plain dicts, lists, numbers and None: ``json.dumps(..., allow_nan=False)`` takes it."""
        rows = [asdict(row) for row in self.per_class]
        return vars(self) | {"per_class": rows, "classes": list(self.classes)}

    def summary(self) -> str:
        """One line for a terminal or a log."""
        low, high = percent(self.top1_low), percent(self.top1_high)
        return (
            f"top-1 {percent(self.top1)} % (95 % interval {low}{EN_DASH}{high} %), "
            f"balanced {percent(self.balanced_accuracy)} %, n = {self.n:,}"
        )


def evaluate(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], classes: Sequence[str]
) -> Evaluation:
    """Measure predictions against the truth.

    Ties are settled the same way everywhere: among equal probabilities the lowest class index
    ranks first, for top-1, top-5 and the confusion matrix alike.

    Args:
        probabilities: ``N K``, each row a distribution over the classes.
        labels: ``N`` integers in 0..K-1.
        classes: K names.

    Raises:
        ValueError: shapes that disagree, no photos, labels that are not integers in 0..K-1, or
            probabilities that are not finite or lie outside [0, 1].
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    _check(probabilities, labels, len(classes))
    labels = labels.astype(np.int64)  # uint8 labels would overflow in labels * k
    n, k = probabilities.shape
    rank = _rank_of_truth(probabilities, labels)
    predictions = probabilities.argmax(axis=1)  # the first maximum: the lowest index
    confusion = np.bincount(labels * k + predictions, minlength=k * k).reshape(k, k)
    per_class = tuple(
        _class_metrics(name, int(confusion[i, i]), int(confusion[i].sum()), int(predicted))
        for i, (name, predicted) in enumerate(zip(classes, confusion.sum(axis=0), strict=True))
    )
    right = int((rank == 0).sum())
    low, high = wilson(right, n)
    shares = balanced(confusion.diagonal().tolist(), confusion.sum(axis=1).tolist())
    return Evaluation(
        n=n,
        top1=right / n,
        top1_low=low,
        top1_high=high,
        top5=int((rank < TOP_K).sum()) / n if k > TOP_K else None,
        balanced_accuracy=float(np.mean([row.recall for row in per_class if row.n])),
        balanced_low=shares[0],
        balanced_high=shares[1],
        loss=nll(probabilities, labels),
        per_class=per_class,
        confusion=confusion.tolist(),
        classes=tuple(classes),
    )


def nll(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return the mean negative log-likelihood of the truth, in nats."""
    of_truth = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(of_truth, PROBABILITY_FLOOR)).mean())


def _rank_of_truth(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer]
) -> NDArray[np.integer]:
    """How many classes rank before the true one, ``N``. Linear in K, where sorting is not."""
    of_truth = np.take_along_axis(probabilities, labels[:, None], axis=1)
    earlier = np.arange(probabilities.shape[1]) < labels[:, None]
    before = (probabilities > of_truth) | ((probabilities == of_truth) & earlier)
    ranks: NDArray[np.integer] = before.sum(axis=1)
    return ranks


def _class_metrics(name: str, right: int, n: int, predicted: int) -> ClassMetrics:
    precision = right / predicted if predicted else None
    if n == 0:
        return ClassMetrics(name, 0, precision, None, None, None, None)
    f1 = 2 * right / (n + predicted)
    return ClassMetrics(name, n, precision, right / n, f1, *wilson(right, n))


def _check(probabilities: NDArray[np.floating], labels: NDArray[np.integer], k: int) -> None:
    if probabilities.ndim != 2 or probabilities.shape[1] != k:
        raise ValueError(f"probabilities must be N x {k} (classes), got {probabilities.shape}")
    if labels.shape != probabilities.shape[:1]:
        raise ValueError(f"labels must be {probabilities.shape[:1]}, got {labels.shape}")
    if len(labels) == 0:
        raise ValueError("nothing to evaluate: there are no photos")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    if labels.min() < 0 or labels.max() >= k:
        raise ValueError(f"labels must be in 0..{k - 1}, got {labels.min()}..{labels.max()}")
    if not (probabilities.min() >= 0 and probabilities.max() <= 1 + 1e-3):  # NaN fails both
        raise ValueError("probabilities must be finite and between 0 and 1")
