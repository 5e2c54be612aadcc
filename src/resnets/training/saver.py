"""When a run is written down: often enough to lose little, seldom enough to cost little."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from torch import Tensor

from resnets import durations
from resnets.errors import UserError
from resnets.training import checkpoint

SHARE = 0.02
"""The part of the time that writing at the end of epochs may take."""

Row = Mapping[str, float]


class Keeper(Protocol):
    """Who keeps the weights: writes ``best`` or ``last`` as a model file."""

    def keep(self, name: str, weights: Mapping[str, Tensor], row: Row) -> None: ...

    def history(self, rows: list[dict[str, float]]) -> None: ...


@dataclass(frozen=True)
class Every:
    """How often within an epoch: after `seconds`, or at every so many `steps`; 0 for never."""

    seconds: float = 0.0
    steps: int = 0

    @classmethod
    def parse(cls, value: str | float) -> Self:
        """Read ``90s``, ``5m``, ``1.5h``, ``200steps``, or seconds.

        Raises:
          UserError: it is nothing of the kind.
        """
        text = str(value).strip()
        if steps := re.fullmatch(r"(\d+) ?steps?", text):
            return cls(steps=int(steps[1]))
        seconds = durations.seconds(text)
        if seconds is None:
            raise UserError(f"--checkpoint-every {text!r}: write 90s, 5m, 1.5h or 200steps")
        return cls(seconds)


NEVER = Every()


class Saver:
    """Writes checkpoints and, with them, the weights that are worth keeping.

    What is not written yet is not lost by a kill: the run goes on from the checkpoint before, and
    comes to the same weights again.

    Attributes:
      best: the best weights so far, on the CPU; every checkpoint has them, too.
    """

    def __init__(self, folder: Path, keeper: Keeper, every: Every) -> None:
        self._folder, self._keeper, self._every = folder, keeper, every
        self._saved_at, self._cost = time.monotonic(), 0.0
        self.best: dict[str, Tensor] = {}
        self._unwritten: Row | None = None

    def due(self, steps_done: int) -> bool:
        """Tell whether to write after a step within an epoch."""
        elapsed = time.monotonic() - self._saved_at
        every = self._every
        return elapsed > every.seconds > 0 or (every.steps > 0 and steps_done % every.steps == 0)

    def epoch_due(self) -> bool:
        """Tell whether to write at the end of an epoch: if that is no more than `SHARE`."""
        return (time.monotonic() - self._saved_at) * SHARE >= self._cost

    def hold_best(self, weights: Mapping[str, Tensor], row: Row) -> None:
        """Hold a copy of the best weights so far, to be written with the next checkpoint."""
        self.best = {name: value.detach().cpu().clone() for name, value in weights.items()}
        self._unwritten = row

    def write_best(self) -> None:
        """Write the best weights, if they are not written yet."""
        if self._unwritten is not None:
            self._keeper.keep("best", self.best, self._unwritten)
            self._unwritten = None

    def save(
        self,
        state: Callable[[], tuple[Mapping[str, Tensor], Mapping[str, Any]]],
        last: tuple[Mapping[str, Tensor], Row] | None = None,
    ) -> float:
        """Write the best weights if they are new, the `last` if given, then a checkpoint.

        In this order: whatever a checkpoint says is best is on the disk. Returns the seconds taken.

        Raises:
          UserError: it cannot be written; what was there is as it was.
        """
        began = time.monotonic()
        tensors, values = state()
        self.write_best()
        if last:
            self._keeper.keep("last", *last)
        checkpoint.save(self._folder, tensors, values)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - began
        return self._cost

    def history(self, rows: list[dict[str, float]]) -> None:
        """Write the figures of all epochs."""
        self._keeper.history(rows)


class Silent:
    """What all but one of several processes have in its place: never due, it writes nothing.

    No `Saver`, so that whatever one learns to write has to be refused here by name.
    """

    def __init__(self) -> None:
        self.best: dict[str, Tensor] = {}

    def due(self, steps_done: int) -> bool:
        return False

    def epoch_due(self) -> bool:
        return False

    def hold_best(self, weights: Mapping[str, Tensor], row: Row) -> None:
        pass

    def write_best(self) -> None:
        pass

    def save(
        self,
        state: Callable[[], tuple[Mapping[str, Tensor], Mapping[str, Any]]],
        last: tuple[Mapping[str, Tensor], Row] | None = None,
    ) -> float:
        return 0.0

    def history(self, rows: list[dict[str, float]]) -> None:
        pass
