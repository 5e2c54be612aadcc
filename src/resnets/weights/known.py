"""What a network makes of photos that it knows, and how far from them another photo lies.

A photo's novelty is the distance from its features to the k-th nearest of those of known photos,
all scaled to length 1 (Sun et al. 2022, "Out-of-Distribution Detection with Deep Nearest
Neighbors", arXiv:2204.06507, section 3): 0 for the same features, at most 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from resnets.errors import UserError

FEATURES, DISTANCES = "unknown.features", "unknown.distances"
"""The two tensors of the record in a model file."""
SCORE = "nearest neighbours"
SHARE = 0.95
"""Of the known photos that is kept, unless another is asked for."""
LEAST = 20
"""Known photos without which not even a threshold for `SHARE` can be told."""
MOST_NEIGHBOURS = 10
ROWS = 1024


@dataclass(frozen=True, eq=False)
class Known:
    """Known photos in feature space; stored in the model file under ``unknown``.

    Attributes:
      features: ``N F`` (float16), each of length 1.
      distances: ``N`` (float32), of each to its k-th nearest neighbour among the others.
      neighbours: k.
      split: which photos they are, such as ``val``.
    """

    features: Tensor = field(repr=False)
    distances: Tensor = field(repr=False)
    neighbours: int
    split: str

    @classmethod
    def fit(cls, features: Tensor, classes: int, split: str) -> Self:
        """Keep the features ``N F`` of photos that trained no weights.

        k is a tenth of the photos of a class, from 1 to 10: beyond a class there are no neighbours.

        Raises:
          ValueError: fewer than 20 photos, or features that are not finite.
        """
        if len(features) < LEAST:
            raise ValueError(f"{len(features)} known photos, and at least {LEAST} are needed")
        if not bool(torch.isfinite(features).all()):
            raise ValueError("the network's features of a photo hold NaN or infinity")
        unit = _unit(features.cpu())
        k = min(max(len(unit) // (10 * classes), 1), MOST_NEIGHBOURS)
        parts = []
        for start in range(0, len(unit), ROWS):  # all at once would be N² numbers
            between = _between(unit[start : start + ROWS], unit)
            between.diagonal(start).fill_(math.inf)  # a photo is not its own neighbour
            parts.append(between.kthvalue(k).values)
        return cls(unit.half(), torch.cat(parts), k, split)

    def novelty(self, features: Tensor) -> Tensor:
        """Return how far features ``M F`` are from the known ones, ``M`` (float32)."""
        known = self.features.to(features.device).float()
        return _between(_unit(features), known).kthvalue(self.neighbours).values

    def threshold(self, share: float = SHARE) -> float:
        """Return the novelty that a `share` of known photos stays below, or equals.

        It is the ⌈(N + 1) share⌉-th smallest of the distances, so that of new photos of the same
        kind the share is kept on average, however few are known (Vovk et al. 2005, "Algorithmic
        Learning in a Random World", 2.2).

        Raises:
          UserError: the share is not between 0 and 1, or there are too few known photos for it.
        """
        if not 0 < share < 1:
            raise UserError(f"--keep {share:g}: a share of known photos to keep, such as 0.95")
        n = len(self.distances)
        rank = math.ceil(round((n + 1) * share, 9))
        if rank > n:
            raise UserError(
                f"--keep {share:g}: the model knows {n:,} photos, which tell at most "
                f"{math.floor(1000 * n / (n + 1)) / 1000:g}"
            )
        return float(self.distances.kthvalue(rank).values)

    def describe(self) -> dict[str, Any]:
        """Return the record of the header."""
        return {
            "score": SCORE,
            "neighbours": self.neighbours,
            "split": self.split,
            "n": len(self.distances),
            "share": SHARE,
            "threshold": self.threshold(),
        }

    def tensors(self) -> dict[str, Tensor]:
        return {FEATURES: self.features, DISTANCES: self.distances}

    @classmethod
    def read(cls, record: object, tensors: Mapping[str, Tensor]) -> Self:
        """Return what `describe` and `tensors` gave. Raises ValueError for anything else."""
        if not isinstance(record, dict) or record.get("score") != SCORE:
            raise ValueError("unknown is a record of another kind; a newer resnets may read it")
        if set(tensors) != {FEATURES, DISTANCES}:
            raise ValueError(f"unknown has the tensors {sorted(tensors)[:4]}")
        features, distances = tensors[FEATURES], tensors[DISTANCES]
        n, k = len(distances) if distances.ndim == 1 else 0, record.get("neighbours")
        if features.dtype != torch.float16 or features.ndim != 2 or len(features) != n or n < LEAST:
            shape = f"{features.dtype} {list(features.shape)}"
            raise ValueError(f"{FEATURES}: {shape} for {n} photos")
        if distances.dtype != torch.float32 or not bool(torch.isfinite(distances).all()):
            raise ValueError(f"{DISTANCES} holds NaN or infinity, or {distances.dtype}")
        if not bool(torch.isfinite(features).all()):
            raise ValueError(f"{FEATURES} holds NaN or infinity")
        if type(k) is not int or not 1 <= k < n:
            raise ValueError(f"unknown: {k!r} neighbours of {n} photos")
        return cls(features, distances, k, str(record.get("split")))


def _unit(features: Tensor) -> Tensor:
    return torch.nn.functional.normalize(features.float(), dim=1)


def _between(some: Tensor, others: Tensor) -> Tensor:
    """Return all distances ``N M``. By products, which are far quicker than differences, and as
    exact as is needed for neighbours that are not the same photo."""
    squares = some.square().sum(1)[:, None] + others.square().sum(1) - 2 * some @ others.T
    return squares.clamp(min=0).sqrt()
