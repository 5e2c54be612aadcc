"""How training looks: a bar for the epoch in hand, and a line for each that is done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.progress import TaskID

from resnets.console import Console

WHOLE = "whole run"


class Display:
    """Observes a `Trainer`. Bars appear on a terminal only; the lines everywhere."""

    def __init__(self, console: Console, epochs: int) -> None:
        self._console, self._epochs = console, epochs
        self._bar = console.bar()
        self._run: TaskID | None = None
        self._epoch: TaskID | None = None
        self._pooling: TaskID | None = None
        self._began = time.monotonic()
        self._first = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def step(self, epoch: int, step: int, steps: int, loss: float, rate: float) -> None:
        if self._run is None or self._epoch is None:
            self._first = epoch + (step - 1) / steps
            self._began = time.monotonic()
            self._run = self._bar.add_task(
                WHOLE, total=self._epochs * steps, completed=epoch * steps + step - 1, unit="steps"
            )
            self._epoch = self._bar.add_task("", total=steps, unit="steps")
        label = f"epoch {epoch + 1}/{self._epochs}  loss {loss:.3f}  {rate:,.0f} images/s"
        self._bar.update(self._run, completed=epoch * steps + step)
        self._bar.update(self._epoch, completed=step, total=steps, description=label)

    def features(self, photos: int) -> None:
        if self._pooling is None:
            label = "features, for all epochs of the classifier alone"
            self._pooling = self._bar.add_task(label, total=None, unit="images")
        self._bar.advance(self._pooling, photos)

    def skipped(self, epoch: int, step: int, why: str) -> None:
        self._console.warn(f"epoch {epoch + 1}, step {step + 1}: {why}; skipped")

    def epoch(self, row: Mapping[str, float], best: bool) -> None:
        done = int(row["epoch"])
        left = (time.monotonic() - self._began) / (done - self._first) * (self._epochs - done)
        scores = f"  val top-1 {100 * row['val_top1']:.2f} %" if "val_top1" in row else ""
        self._console.say(
            f"epoch {done:>{len(str(self._epochs))}}/{self._epochs}  loss {row['train_loss']:.4f}"
            f"{scores}  {row['images_per_second']:,.0f} images/s  {_duration(left)} left"
            + ("  best" if best else "")
        )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
