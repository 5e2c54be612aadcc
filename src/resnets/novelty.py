"""Photos of nothing that a model knows: fitting what tells them, and asking it.

What tells them is the distance to known photos in the network's features (`weights.known`), which
only PyTorch gives; the other engines compute the classes alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnets.data.cache import ImageCache
from resnets.engines import Ready
from resnets.errors import UserError
from resnets.nn import ResNet
from resnets.training.features import WithFeatures, features_of
from resnets.training.inference import Answers, Eager
from resnets.weights.known import SHARE, Known
from resnets.weights.model_file import Model

MOST, MOST_OF_CLASS = 2_000, 5
"""Known photos that are kept: so many, or so many of a class where that is more."""
UNKNOWN = "unknown"
"""The label of what is rejected."""
WAY_OUT = "resnets evaluate MODEL DATA --calibrate DST.safetensors"


@dataclass(frozen=True, eq=False)
class Gate:
    """Answers with the probabilities and, after them, the novelty: ``N (classes + 1)``."""

    engine: Eager
    answer: Answers
    known: Known
    classes: int
    threshold: float
    share: float

    @classmethod
    def of(cls, model: Model, ready: Ready, answer: Answers, keep: float | bool) -> Self:
        """Make a model ready to reject; True is for keeping 0.95 of the known photos.

        `answer` is what makes probabilities of its outputs.

        Raises:
          UserError: the model does not know its photos, or has a class called ``unknown``; its
            engine gives no features, or the share is out of range.
        """
        if UNKNOWN in model.classes:
            raise UserError(
                f"--reject: the model has a class called {UNKNOWN}, and rows could not tell it "
                "from photos that are rejected; train it with another name for that class"
            )
        net = _network(model, ready, "--reject")
        if model.unknown is None:
            raise UserError(
                f"--reject: the model file holds no known photos; it learns some by: {WAY_OUT}"
            )
        share = SHARE if keep is True else float(keep)
        engine = Eager.of(WithFeatures(net))
        features = model.unknown.features.to(engine.device).float()  # once, not for every batch
        known = dataclasses.replace(model.unknown, features=features)
        return cls(engine, answer, known, len(model.classes), known.threshold(share), share)

    def probabilities(self, outputs: Tensor) -> Tensor:
        answers = self.answer.probabilities(outputs[:, : self.classes])
        return torch.cat([answers, self.known.novelty(outputs[:, self.classes :])[:, None]], 1)

    def summary(self) -> str:
        """One line for a terminal."""
        n, split = len(self.known.distances), self.known.split
        return (
            f"what is further than {self.threshold:.3f} from {n:,} known photos ({split}), so that "
            f"{100 * self.share:g} % of photos like them are kept; --keep for another share"
        )

    def rejects(self, novelty: float) -> bool:
        """Tell whether a photo is further from the known ones than it may be."""
        return not novelty <= self.threshold  # NaN is no photo that is known


def _network(model: Model, ready: Ready, purpose: str) -> ResNet:
    if model.quantization:
        raise UserError(
            f"{purpose}: a model in int8 gives no features; take the one it was made from"
        )
    engine = ready.engine
    if not isinstance(engine, Eager) or not isinstance(engine.net, ResNet):
        raise UserError(f"{purpose}: {ready.name} gives no features; take --engine torch")
    return engine.net


def fit_unknown(
    model: Model,
    ready: Ready,
    cache: ImageCache,
    split: str,
    workers: int,
    seen: Callable[[int], None] = lambda photos: None,
) -> Model:
    """Return the model with what tells unknown photos, from photos that did not train it.

    Args:
      model, ready: the model, on PyTorch.
      cache: known photos; of more than 2,000 (or five a class) so many are taken, evenly dealt.
      split: what they are called.
      workers: threads that decode photos.
      seen: told of photos as they are done.

    Raises:
      UserError: fewer than 20 of them decode, or the engine gives no features.
    """
    classes = len(model.classes)
    net = _network(model, ready, "known photos")
    chosen = some(len(cache.samples), classes)
    _, values = features_of(net, cache, chosen, workers, seen)
    try:
        known = Known.fit(torch.from_numpy(values), classes, split)
        return dataclasses.replace(model, unknown=known)
    except ValueError as error:
        raise UserError(f"the photos of {split} do not tell unknown ones: {error}") from None


def some(photos: int, classes: int) -> NDArray[np.int64]:
    """Return the positions of the photos that are kept of so many, evenly dealt."""
    kept = min(photos, max(MOST, MOST_OF_CLASS * classes))
    return np.linspace(0, photos - 1, kept).astype(np.int64)
