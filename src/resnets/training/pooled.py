"""While only the classifier learns, the rest of the network says the same of a photo every time:
its pooled features, computed once for all those epochs.

Photos are seen centred, as in evaluation, and where the recipe mirrors, their mirrors too; other
augmentation would need the whole network again. They are computed in batches by position, so that
neither the order of an epoch nor a resume changes a bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnets.data.cache import ImageCache, Storage, allocate, choose_storage
from resnets.errors import UserError
from resnets.nn import ResNet
from resnets.training.distributed import Ranks
from resnets.training.features import Pooling
from resnets.training.inference import BATCH, Eager, Stopped, dealt, outputs_to_views
from resnets.training.machine import Machine, full_precision
from resnets.training.task import Task


class Pooled:
    """Features ``views F`` (float32) of the photos of a split: centred, and perhaps mirrored."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self.values = values
        self.known = np.zeros(len(values), np.uint8)

    def get(self, samples: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return those of the samples that decode, and their features ``N views F``."""
        good = samples[self.known[samples] == 1]
        return good, self.values[good]

    def score(
        self,
        head: nn.Module,
        task: Task,
        machine: Machine,
        ranks: Ranks,
        *,
        stop: Callable[[], bool] = lambda: False,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the samples that decode, and their probabilities ``N classes``, from the mean of
        the answers to their views. Every process computes them all.

        Raises:
          UserError: not one of the photos decodes.
          Stopped: `stop` said so, in any of the processes.
        """
        if ranks.sum(torch.tensor([int(stop())])).item():
            raise Stopped
        found = np.flatnonzero(self.known)
        if not len(found):
            raise UserError(f"not one of the {len(self.known):,} photos to evaluate on decodes")
        rows = []
        for start in range(0, len(found), BATCH):
            features = torch.from_numpy(self.values[found[start : start + BATCH]])
            with full_precision():
                views = features.to(machine.device).unbind(1)
                outputs = torch.stack([head(view) for view in views]).mean(0)
                rows.append(task.probabilities(outputs).cpu().numpy())
        return found, np.concatenate(rows)


def choose_view(features: Tensor, u: Tensor) -> Tensor:
    """Return ``N F`` of ``N views F``: every other photo's mirror, where there are mirrors."""
    views = features.shape[1]
    return features[torch.arange(len(features)), (u * views).long()]


def compute(
    net: ResNet,
    cache: ImageCache,
    workers: int,
    ranks: Ranks,
    *,
    mirror: bool,
    folder: Path,
    done: Callable[[int], None] = lambda photos: None,
    stop: Callable[[], bool] = lambda: False,
) -> Pooled:
    """Return the pooled features of all photos that decode; `net` is left in evaluation mode.

    They are kept in memory, or on the disk of `folder`. Several processes deal out the batches that
    one would compute, and all get the same bits.

    Raises:
      UserError: there is no room for them.
      Stopped: `stop` said so, in any of the processes.
    """
    net.eval()
    n, width = len(cache.samples), net.get_classifier().in_features
    assert isinstance(width, int)
    shape = (n, 2 if mirror else 1, width)
    kind = ranks.text(choose_storage(4 * n * shape[1] * width, folder).kind)
    values = allocate(shape, Storage(kind, folder), np.float32)
    if values is None:
        raise UserError(
            f"no room in {folder} for the features of {n:,} photos, "
            f"{4 * n * shape[1] * width / 2**30:.1f} GiB: make some, or --set head_epochs=0"
        )
    pooled = Pooled(values)
    engine = Eager.of(Pooling(net))
    preprocess = dataclasses.replace(cache.preprocess, mirrored=mirror)
    batches = dealt(cache, workers, ranks)
    for (counts, samples), views in outputs_to_views(engine, preprocess, batches):
        if counts:
            values[samples] = torch.stack(views, 1).cpu().numpy()
            pooled.known[samples] = 1
        done(len(samples))
        if ranks.sum(torch.tensor([int(stop())])).item():
            raise Stopped
    if ranks.world > 1:
        pooled.known = ranks.sum(torch.from_numpy(pooled.known)).numpy()
        for start in range(0, n, 4096):  # what others have computed is zero here
            part = slice(start, start + 4096)
            values[part] = ranks.sum(torch.from_numpy(values[part])).numpy()
    return pooled
