"""Image classification: one class per photo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from resnets.evaluate.metrics import evaluate


@dataclass(frozen=True)
class Classify:
    """Cross-entropy over `classes`, with label smoothing and a weight for each class.

    Args:
      classes: class names, in the order of the outputs.
      smoothing: share of each target spread evenly (Szegedy et al. 2015, arXiv:1512.00567, 7).
      weights: factor on the loss of each class, ``classes``.
      temperature: what outputs are divided by before softmax: fitted on photos held out, after
        training (Guo et al. 2017, arXiv:1706.04599). It changes no answer, only how sure it is.
    """

    classes: tuple[str, ...]
    smoothing: float = 0.0
    weights: tuple[float, ...] = ()
    temperature: float = 1.0
    name: str = "classify"

    @classmethod
    def for_labels(
        cls, classes: Sequence[str], labels: NDArray[np.int64], smoothing: float, weighting: str
    ) -> Self:
        """Return the task for training `labels`; `weighting` is ``none`` or ``balanced``.

        Balanced weights are inverse to the class counts, and 1 on average over the photos.
        """
        counts = np.bincount(labels, minlength=len(classes))
        weights = {
            "none": np.ones(len(classes)),
            "balanced": len(labels) / (len(classes) * np.maximum(counts, 1)),
        }[weighting]
        return cls(tuple(classes), smoothing, tuple(weights.tolist()))

    def targets(self, labels: Tensor) -> Tensor:
        one_hot = F.one_hot(labels, len(self.classes)).float()
        return one_hot * (1 - self.smoothing) + self.smoothing / len(self.classes)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weights = torch.tensor(self.weights, device=outputs.device)
        return -(targets * weights * outputs.float().log_softmax(1)).sum(1)

    def probabilities(self, outputs: Tensor) -> Tensor:
        return (outputs.float() / self.temperature).softmax(1)

    def score(self, probabilities: NDArray[Any], labels: NDArray[np.int64]) -> Mapping[str, float]:
        result = evaluate(probabilities, labels, self.classes)
        return {"val_loss": result.loss, "val_top1": result.top1}

    def rank(self, scores: Mapping[str, float]) -> list[float]:
        # Few validation photos give many ties, and then the earliest epoch would win.
        return [scores["val_top1"], -scores["val_loss"]]
