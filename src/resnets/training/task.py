"""`Task`: all that the training loop knows of what a network is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class Task(Protocol):
    """Head, loss and score of one kind of problem; training is written once against this."""

    @property
    def name(self) -> str: ...

    def targets(self, labels: Tensor) -> Tensor:
        """Return what the loss compares with: ``N classes`` probabilities, say."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each sample, ``N`` (float32)."""
        ...

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the outputs as users see them, ``N classes``."""
        ...

    def score(self, probabilities: NDArray[Any], labels: NDArray[np.int64]) -> Mapping[str, float]:
        """Return the figures of a validation pass."""
        ...

    def rank(self, scores: Mapping[str, float]) -> list[float]:
        """Return what decides which weights are best: the larger list, compared in order."""
        ...
