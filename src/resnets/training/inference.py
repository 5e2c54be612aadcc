"""The one way in which a network sees photos outside training steps.

Training's validation, `evaluate` and `predict` call `probabilities` with the same preprocessing,
layout and batch size, so that a photo gets the same answer from each. What computes the outputs is
an `Engine`: `Eager`, in full float32, unless others were asked for (`resnets.engines`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnets.data.cache import ImageCache
from resnets.data.loader import prefetch
from resnets.data.preprocess import Preprocess
from resnets.errors import UserError
from resnets.training.distributed import Alone, Ranks
from resnets.training.machine import full_precision

BATCH = 64
T = TypeVar("T")
Wait = Callable[[], Tensor]


class Engine(Protocol):
    """What computes a network."""

    @property
    def device(self) -> str:
        """Where it takes photos: ``cpu``, ``cuda`` …"""
        ...

    def start(self, images: Tensor) -> Wait:
        """Begin with normalised photos ``N C H W`` (channels-last, on `device`; perhaps none).

        The function that it returns waits for their outputs ``N outputs`` (float32).
        """
        ...


class Answers(Protocol):
    """What makes answers of outputs: a `Task`, say."""

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the outputs ``N outputs`` as users see them, a row for each."""
        ...


@dataclass(frozen=True, eq=False)
class Eager:
    """PyTorch, one operation after another: `net` is in evaluation mode on `device`."""

    net: nn.Module
    device: str
    dtype: torch.dtype = torch.float32

    def start(self, images: Tensor) -> Wait:
        with full_precision():
            outputs: Tensor = self.net(images.to(self.dtype)).float()
        return lambda: outputs  # which on a GPU are still being computed


def probabilities(
    engine: Engine,
    task: Answers,
    preprocess: Preprocess,
    batches: Iterable[tuple[T, NDArray[np.uint8]]],
) -> Iterator[tuple[T, NDArray[np.float32]]]:
    """Yield what came with each batch, and its probabilities ``N classes``.

    A batch is prepared photos ``N resize resize C`` (uint8), and may be empty. While one is
    computed, the next is taken and normalised.
    """

    def finish(tag: T, waits: Sequence[Wait]) -> tuple[T, NDArray[np.float32]]:
        with full_precision():
            outputs = torch.stack([wait() for wait in waits]).mean(0)
            return tag, task.probabilities(outputs).cpu().numpy()

    started: list[tuple[T, list[Wait]]] = []
    for tag, photos in batches:
        with full_precision():
            images = torch.from_numpy(photos).to(engine.device)
            views = preprocess.views(preprocess.normalize(preprocess.center(images)))
            started.append((tag, [engine.start(view) for view in views]))
        if len(started) > 1:
            yield finish(*started.pop(0))
    for tag, waits in started:
        yield finish(tag, waits)


class Stopped(Exception):
    """Somebody asked to stop while a split was scored."""


def score_split(
    engine: Engine,
    task: Answers,
    cache: ImageCache,
    workers: int,
    ranks: Ranks | None = None,
    *,
    seen: Callable[[int], None] = lambda photos: None,
    look: Callable[[NDArray[np.int64], NDArray[np.uint8]], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the samples of a split that decode, and their probabilities ``N classes``.

    Several processes deal out the batches that one would compute, so the answers are the same bits.
    `seen` is told how many photos were met, and `look`, in the threads that decode, gets them: the
    samples that decode, and their photos ``N resize resize C``.

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
        if look and number < batches:
            look(samples, photos)
        return (number < batches, samples), photos

    answered = np.zeros(n, np.uint8)
    answers = np.zeros((0, 0), np.float32)
    photos = prefetch(get, own, workers)
    for (counts, samples), values in probabilities(engine, task, cache.preprocess, photos):
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
