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
from resnets.training.distributed import Alone, Ranks
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


class Stopped(Exception):
    """Somebody asked to stop while a split was scored."""


def score_split(
    net: nn.Module,
    task: Task,
    machine: Machine,
    cache: ImageCache,
    workers: int,
    ranks: Ranks | None = None,
    *,
    seen: Callable[[int], None] = lambda photos: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the samples of a split that decode, and their probabilities ``N classes``.

    Several processes deal out the batches that one would compute, so the answers are the same bits.

    Raises:
      UserError: not one of the photos decodes.
      Stopped: `stop` said so, in any of the processes.
    """
    ranks, n = ranks or Alone(), len(cache.samples)
    batches = -(-n // BATCH)
    # Everybody computes as many batches, as they speak after each; those too many do not count.
    own = range(ranks.rank, -(-batches // ranks.world) * ranks.world, ranks.world)

    def get(number: int) -> tuple[tuple[bool, NDArray[np.int64]], NDArray[np.uint8]]:
        start = number % batches * BATCH
        samples, photos = cache.get(np.arange(start, min(start + BATCH, n)))
        return (number < batches, samples), photos

    answered = np.zeros(n, np.uint8)
    answers = np.zeros((0, 0), np.float32)
    photos = prefetch(get, own, workers)
    for (counts, samples), values in probabilities(net, task, cache.preprocess, machine, photos):
        answers = answers if len(answers) else np.zeros((n, values.shape[1]), np.float32)
        if counts:
            answers[samples], answered[samples] = values, 1
        seen(len(samples))
        if ranks.sum(torch.tensor([int(stop())])).item():
            raise Stopped
    answered = ranks.sum(torch.from_numpy(answered)).numpy()
    answers = ranks.sum(torch.from_numpy(answers)).numpy()
    found = np.flatnonzero(answered)
    if not len(found):
        raise UserError(f"not one of the {n:,} photos to evaluate on decodes")
    return found, answers[found]
