"""Scores of how little a network knows a photo: each is fitted to photos that it knows, and is then
higher for what is less known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax
from sklearn.covariance import ledoit_wolf

from resnets.weights.known import Known
from resnets.weights.model_file import Model

Array = NDArray[np.float64]
CHOSEN = "nearest neighbours (taken)"


class Seen(NamedTuple):
    """Photos as a network sees them: features ``N F``, logits ``N classes``, labels ``N``."""

    features: Array
    logits: Array
    labels: NDArray[np.int64]

    def __getitem__(self, rows: Any) -> Seen:  # type: ignore[override]
        return Seen(*(values[rows] for values in tuple(self)))


Score = Callable[[Seen], Array]
Fit = Callable[[Seen, Model], Score]


def plain(score: Score) -> Fit:
    """Return the fit of a score that needs none."""
    return lambda seen, model: score


def mahalanobis(relative: bool) -> Fit:
    """Lee et al. 2018, arXiv:1807.03888; relative: Ren et al. 2021, arXiv:2106.09022."""

    def squared(x: Array, mean: Array, precision: Array) -> Array:
        return np.einsum("ij,ij->i", (x - mean) @ precision, x - mean)

    def fit(seen: Seen, model: Model) -> Score:
        x, labels = seen.features, seen.labels
        means = {int(c): x[labels == c].mean(0) for c in np.unique(labels)}
        within = np.linalg.inv(ledoit_wolf(x - np.stack([means[int(c)] for c in labels]))[0])
        middle, around = x.mean(0), np.linalg.inv(ledoit_wolf(x - x.mean(0))[0])

        def score(some: Seen) -> Array:
            nearest = np.min([squared(some.features, m, within) for m in means.values()], axis=0)
            return nearest - (squared(some.features, middle, around) if relative else 0)

        return score

    return fit


def vim(seen: Seen, model: Model) -> Score:
    """Wang et al. 2022, arXiv:2203.10807: what lies outside the main directions, with the energy.

    The dimension is half of the features, as there is no rule for so few.
    """
    weight = model.weights["fc.weight"].double().numpy()
    bias = model.weights.get("fc.bias", torch.zeros(len(weight))).double().numpy()
    origin = -np.linalg.pinv(weight) @ bias
    x = seen.features - origin
    _, directions = np.linalg.eigh(x.T @ x / len(x))
    rest = directions[:, : x.shape[1] // 2]
    scale = seen.logits.max(1).mean() / np.linalg.norm(x @ rest, axis=1).mean()
    return lambda some: (
        scale * np.linalg.norm((some.features - origin) @ rest, axis=1)
        - logsumexp(some.logits, axis=1)
    )


def taken(values: Callable[[Seen], Array]) -> Fit:
    """Sun et al. 2022, arXiv:2204.06507, as the product has it."""

    def fit(seen: Seen, model: Model) -> Score:
        known = Known.fit(torch.from_numpy(values(seen)), len(model.classes), "shown")
        return lambda some: known.novelty(torch.from_numpy(values(some))).double().numpy()

    return fit


def centred(seen: Seen) -> Array:
    return seen.logits - seen.logits.mean(1, keepdims=True)


SCORES: dict[str, Fit] = {
    "1 - largest probability": plain(lambda s: 1 - softmax(s.logits, axis=1).max(1)),
    "- largest logit": plain(lambda s: -s.logits.max(1)),
    "energy": plain(lambda s: -logsumexp(s.logits, axis=1)),
    "Mahalanobis": mahalanobis(relative=False),
    "relative Mahalanobis": mahalanobis(relative=True),
    "ViM": vim,
    "nearest neighbours, of logits": taken(centred),
    CHOSEN: taken(lambda s: s.features),
}
