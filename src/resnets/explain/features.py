"""Pooled features: what the classifier reads of a photo."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from resnets.data.cache import ImageCache
from resnets.data.loader import prefetch
from resnets.data.preprocess import Preprocess
from resnets.errors import UserError
from resnets.nn import ResNet
from resnets.training.inference import BATCH
from resnets.training.machine import full_precision


def features(net: ResNet, preprocess: Preprocess, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return ``N F`` of prepared photos ``N resize resize C``: the mean over the model's views."""
    device = next(net.parameters()).device
    with full_precision():
        pixels = preprocess.center(torch.from_numpy(photos).to(device))
        views = preprocess.views(preprocess.normalize(pixels))
        found = [net.forward_head(net.forward_features(view), pre_logits=True) for view in views]
        return torch.stack(found).mean(0).flatten(1).cpu().numpy()


def features_of(
    net: ResNet,
    cache: ImageCache,
    chosen: NDArray[np.int64],
    workers: int,
    done: Callable[[int], None] = lambda photos: None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return those of the chosen photos that decode, and their features ``N F``.

    Raises:
      UserError: not one of them decodes.
    """
    starts = range(0, len(chosen), BATCH)
    indices: list[NDArray[np.int64]] = []
    rows: list[NDArray[np.float32]] = []
    for good, photos in prefetch(
        lambda start: cache.get(chosen[start : start + BATCH]), starts, workers
    ):
        if len(good):
            indices.append(good)
            rows.append(features(net, cache.preprocess, photos))
        done(len(good))
    if not rows:
        raise UserError(f"not one of the {len(chosen):,} photos decodes")
    return np.concatenate(indices), np.concatenate(rows)
