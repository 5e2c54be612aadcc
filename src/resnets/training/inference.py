"""The one way in which a network sees photos outside training steps.

Training's validation, `evaluate` and `predict` call `probabilities` with the same preprocessing,
layout, batch size and full float32, so that a photo gets the same answer from each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnets.data.cache import ImageCache
from resnets.data.loader import prefetch
from resnets.data.preprocess import Preprocess
from resnets.errors import UserError
from resnets.training.machine import Machine, full_precision
from resnets.training.task import Task

BATCH = 64
T = TypeVar("T")


def probabilities(
    net: nn.Module,
    task: Task,
    preprocess: Preprocess,
    machine: Machine,
    batches: Iterable[tuple[T, NDArray[np.uint8]]],
) -> Iterator[tuple[T, NDArray[np.float32]]]:
    """Yield what came with each batch, and its probabilities ``N classes``.

    `net` is in evaluation mode on the machine's device; a batch is prepared photos
    ``N resize resize C`` (uint8), and may be empty.
    """
    for tag, photos in batches:
        with full_precision():
            images = torch.from_numpy(photos).to(machine.device)
            outputs = net(preprocess.normalize(preprocess.center(images)))
            result: Tensor = task.probabilities(outputs)
        yield tag, result.cpu().numpy()


def cached_batches(
    cache: ImageCache, workers: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Yield the samples of a split in order, those that decode, with their photos."""
    n = len(cache.samples)
    make: Callable[[int], tuple[NDArray[np.int64], NDArray[np.uint8]]] = lambda start: cache.get(  # noqa: E731
        np.arange(start, min(start + BATCH, n))
    )
    yield from prefetch(make, range(0, n, BATCH), workers)


def score_split(
    net: nn.Module,
    task: Task,
    machine: Machine,
    cache: ImageCache,
    workers: int,
    seen: Callable[[int], None] = lambda photos: None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the samples of a split that decode, and their probabilities ``N classes``.

    Raises:
      UserError: not one of the photos decodes.
    """
    indices, rows = [], []
    batches = cached_batches(cache, workers)
    for index, values in probabilities(net, task, cache.preprocess, machine, batches):
        indices.append(index)
        rows.append(values)
        seen(len(index))
    if not sum(map(len, indices)):
        raise UserError(f"not one of the {len(cache.samples):,} photos to evaluate on decodes")
    return np.concatenate(indices), np.concatenate(rows)
