"""The one way in which a network sees photos outside training steps.

Training's validation, `evaluate` and `predict` call `probabilities` with the same preprocessing,
layout and batch size, so that a photo gets the same answer from each. What computes the outputs is
an `Engine`: `Eager`, in full float32, unless others were asked for (`resnets.engines`). Features
come the same way, from a network that puts out those (`training.features`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

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
Look = Callable[[NDArray[np.int64], NDArray[np.uint8]], None]


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


class Outputs:
    """What a network puts out, as it is: a temperature is fitted on it."""

    def probabilities(self, outputs: Tensor) -> Tensor:
        return outputs.float()


@dataclass(frozen=True, eq=False)
class Eager:
    """PyTorch, one operation after another: `net` is in evaluation mode on `device`."""

    net: nn.Module
    device: str
    dtype: torch.dtype = torch.float32

    @classmethod
    def of(cls, net: nn.Module) -> Self:
        """Compute a network on the device of its parameters, in their precision."""
        first = next(net.parameters())
        return cls(net, str(first.device), first.dtype)

    def start(self, images: Tensor) -> Wait:
        with full_precision():
            outputs: Tensor = self.net(images.to(self.dtype)).float()
        return lambda: outputs  # which on a GPU are still being computed


def outputs_to_views(
    engine: Engine, preprocess: Preprocess, batches: Iterable[tuple[T, NDArray[np.uint8]]]
) -> Iterator[tuple[T, list[Tensor]]]:
    """Yield what came with each batch, and ``N outputs`` (float32) to each of its views.

    A batch is prepared photos ``N resize resize C`` (uint8), and may be empty. While one is
    computed, the next is taken and normalised.
    """

    def finish(tag: T, waits: Sequence[Wait]) -> tuple[T, list[Tensor]]:
        with full_precision():
            return tag, [wait() for wait in waits]

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


def probabilities(
    engine: Engine,
    task: Answers,
    preprocess: Preprocess,
    batches: Iterable[tuple[T, NDArray[np.uint8]]],
) -> Iterator[tuple[T, NDArray[np.float32]]]:
    """Yield what came with each batch, and its probabilities ``N classes``.

    They are of the mean of the outputs to its views; batches are those of `outputs_to_views`.
    """
    for tag, views in outputs_to_views(engine, preprocess, batches):
        with full_precision():
            values = task.probabilities(torch.stack(views).mean(0)).cpu().numpy()
        yield tag, values


class Stopped(Exception):
    """Somebody asked to stop while a network went through a split."""


def dealt(
    cache: ImageCache, workers: int, ranks: Ranks, look: Look | None = None
) -> Iterator[tuple[tuple[bool, NDArray[np.int64]], NDArray[np.uint8]]]:
    """Yield this process' batches of a split, out of those that one process alone would take.

    A batch is whether it counts, its samples that decode, and their photos ``N resize resize C``.
    `look` gets both of those that count, in the threads that decode.
    """
    n = len(cache.samples)
    batches = -(-n // BATCH)
    # Everybody takes as many batches, as they speak after each; those too many do not count.
    own = range(ranks.rank, -(-batches // ranks.world) * ranks.world, ranks.world)

    def get(number: int) -> tuple[tuple[bool, NDArray[np.int64]], NDArray[np.uint8]]:
        start = number % batches * BATCH
        samples, photos = cache.get(np.arange(start, min(start + BATCH, n)))
        if look and number < batches:
            look(samples, photos)
        return (number < batches, samples), photos

    return prefetch(get, own, workers)


def score_split(
    engine: Engine,
    task: Answers,
    cache: ImageCache,
    workers: int,
    ranks: Ranks | None = None,
    *,
    seen: Callable[[int], None] = lambda photos: None,
    look: Look | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the samples of a split that decode, and their probabilities ``N classes``.

    Several processes deal out the batches that one would compute, so the answers are the same bits.
    `seen` is told how many photos were met, and `look`, if given, gets them as in `dealt`.

    Raises:
      UserError: not one of the photos decodes.
      Stopped: `stop` said so, in any of the processes.
    """
    ranks, n = ranks or Alone(), len(cache.samples)
    answered = np.zeros(n, np.uint8)
    answers = np.zeros((0, 0), np.float32)
    batches = dealt(cache, workers, ranks, look)
    for (counts, samples), values in probabilities(engine, task, cache.preprocess, batches):
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
