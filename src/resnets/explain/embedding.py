"""A map of features on a plane, and how far it can be trusted.

t-SNE (van der Maaten & Hinton 2008) of unit-length features, so that distance goes with the cosine
as it does for the nearest photos. Beside it: trustworthiness (Venna & Kaski 2001), the share of
neighbours on the plane that are neighbours in the features, 1 at best, and how often the
neighbours of a photo in the features are of its class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from sklearn.neighbors import NearestNeighbors

FEWEST = 10
"""Photos of which a map can be made."""
PERPLEXITY = 30.0
COMPONENTS = 50
"""Principal components that t-SNE gets, as its authors advise."""
NEAR = 5
"""Neighbours that vote, and that trustworthiness looks at."""


@dataclass(frozen=True, eq=False)
class Plane:
    """Features on a plane.

    Attributes:
      points: ``N 2`` in 0…1.
      trustworthiness: of the points, in 0…1.
      neighbours_right: share of photos of whose `NEAR` nearest others in the features most (and,
        where several classes are equally many, the nearest of those) are of the photo's class.
    """

    points: NDArray[np.float64]
    trustworthiness: float
    neighbours_right: float


def lay_out(values: NDArray[np.float32], labels: NDArray[np.int64], seed: int = 0) -> Plane:
    """Lay features ``N F`` of photos of classes ``N`` out on a plane.

    Raises:
      ValueError: there are fewer than `FEWEST`.
    """
    n = len(values)
    if n < FEWEST:
        raise ValueError(f"{n} photos: a map needs {FEWEST} or more")
    length = np.linalg.norm(values, axis=1, keepdims=True)
    unit = values / np.maximum(length, 1e-12)
    if min(unit.shape) > COMPONENTS:
        reduced = PCA(COMPONENTS, random_state=seed).fit_transform(unit)
    else:
        reduced = unit
    made = TSNE(perplexity=min(PERPLEXITY, (n - 1) / 3), random_state=seed, n_jobs=1)
    points = made.fit_transform(reduced).astype(np.float64)
    points -= points.min(0)
    points /= max(points.max(), 1e-12)
    points += (1 - points.max(0)) / 2
    trust = float(trustworthiness(unit, points, n_neighbors=min(NEAR, (n - 1) // 2)))
    return Plane(points, trust, neighbours_right(unit, labels))


def neighbours_right(values: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return how often the nearest others of a photo, by vote, are of its class."""
    search = NearestNeighbors(n_neighbors=min(NEAR, len(values) - 1)).fit(values)
    near = labels[search.kneighbors(return_distance=False)]  # each without itself
    votes = (near[:, :, None] == near[:, None, :]).sum(2)
    winners = near[np.arange(len(near)), votes.argmax(1)]  # of equals the first, so the nearest
    return float((winners == labels).mean())


def call_out(
    points: NDArray[np.float64], first: NDArray[np.int64], side: float, most: int, low: float = 0.0
) -> dict[int, tuple[float, float]]:
    """Choose points, and free places near them where squares of `side` hide little.

    The squares do not overlap each other, lie within `low` … 1 - `low`, and cover no point; only
    where that leaves less than a third of `most`, they may cover points, the fewest that can be.

    Args:
      points: ``N 2`` in 0…1.
      first: the order in which points are tried.
      side: of the squares, in the same units.
      most: squares at most.
      low: the least coordinate of a square's edge.

    Returns:
      The centre of the square of each chosen point.
    """
    placed: dict[int, tuple[float, float]] = {}
    for covered, limit in ((0, most), (len(points), most // 3)):
        for i in first.tolist():
            if len(placed) >= limit:
                break
            if i not in placed and (centre := _place(points, i, placed, side, covered, low)):
                placed[i] = centre
    return placed


def _place(
    points: NDArray[np.float64],
    i: int,
    placed: dict[int, tuple[float, float]],
    side: float,
    covered: int,
    low: float,
) -> tuple[float, float] | None:
    """Return the nearest place for a square that covers at most so many points, if there is one."""
    angles = np.arange(0, 2 * np.pi, np.pi / 8)
    ring = np.stack([np.cos(angles), np.sin(angles)], 1)
    centres = np.concatenate([points[i] + radius * side * ring for radius in (0.8, 1.1, 1.5, 2.0)])
    inside = (np.abs(centres - 0.5) <= 0.5 - low - side / 2).all(1)
    others = np.array(list(placed.values())).reshape(-1, 2)
    apart = (np.abs(centres[:, None] - others).max(2) >= 1.1 * side).all(1)
    hidden = (np.abs(centres[:, None] - points).max(2) < 0.55 * side).sum(1)
    hidden[~(inside & apart)] = len(points) + 1
    best = int(hidden.argmin())  # of equals the first, so the nearest
    return (float(centres[best, 0]), float(centres[best, 1])) if hidden[best] <= covered else None
