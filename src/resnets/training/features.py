"""Pooled features: what the classifier reads of a photo."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnets.data.cache import ImageCache
from resnets.data.loader import prefetch
from resnets.errors import UserError
from resnets.nn import ResNet
from resnets.training.inference import BATCH, Eager, Outputs, probabilities


class Pooling(nn.Module):
    """A network without its classifier: it puts out the pooled features ``N F``."""

    def __init__(self, net: ResNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net.forward_head(self.net.forward_features(images), pre_logits=True)


def classifier(net: nn.Module) -> nn.Sequential:
    """Return what comes after the pooled features of a `ResNet`; it shares its modules."""
    return nn.Sequential(net.get_submodule("fc"), net.get_submodule("features"))


class WithFeatures(nn.Module):
    """A network that puts out its pooled features after its logits, ``N (classes + F)``."""

    def __init__(self, net: ResNet) -> None:
        super().__init__()
        self.pooling, self.classifier = Pooling(net), classifier(net)

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.pooling(images)
        return torch.cat([self.classifier(pooled), pooled], 1)


def features_of(
    net: ResNet,
    cache: ImageCache,
    chosen: NDArray[np.int64],
    workers: int,
    done: Callable[[int], None] = lambda photos: None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return those of the chosen photos that decode, and their features ``N F``: of each photo the
    mean over the model's views.

    Raises:
      UserError: not one of them decodes.
    """

    def get(start: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        return cache.get(chosen[start : start + BATCH])

    engine = Eager.of(Pooling(net))
    indices: list[NDArray[np.int64]] = []
    rows: list[NDArray[np.float32]] = []
    batches = prefetch(get, range(0, len(chosen), BATCH), workers)
    for good, values in probabilities(engine, Outputs(), cache.preprocess, batches):
        indices.append(good)
        rows.append(values)
        done(len(good))
    if not any(map(len, indices)):
        raise UserError(f"not one of the {len(chosen):,} photos decodes")
    return np.concatenate(indices), np.concatenate(rows)
