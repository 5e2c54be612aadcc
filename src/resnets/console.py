"""What people see while something runs: bars on a terminal, plain lines elsewhere.

Names in it are anybody's, so all of it is made fit for a terminal here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeRemainingColumn,
)
from rich.text import Text

from resnets.files import on_screen

Advance = Callable[[int], None]


class Label(ProgressColumn):
    """What a bar is of."""

    def render(self, task: Task) -> Text:
        return Text(on_screen(task.description))


class Rate(ProgressColumn):
    """Units per second, such as images/s."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} {task.fields['unit']}/s")


class Console:
    """Speaks on standard error, so that standard output is left to results."""

    def __init__(self, quiet: bool = False, heard: bool = True) -> None:
        """`quiet` leaves warnings; a process that is not `heard` says nothing at all."""
        self._quiet = quiet or not heard
        self._rich = RichConsole(stderr=True, highlight=False, soft_wrap=True, quiet=not heard)

    def say(self, text: str) -> None:
        if not self._quiet:
            self._rich.print(on_screen(text), markup=False)

    def warn(self, text: str) -> None:
        """Say what must not be missed, such as photos left out, even when quiet."""
        self._rich.print(on_screen(f"warning: {text}"), markup=False, style="yellow")

    @contextmanager
    def track(self, label: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
        """Show a bar with a rate and the time left while the block runs; terminals only."""
        with self.bar() as bar:
            task = bar.add_task(label, total=total, unit=unit)
            yield lambda count: bar.advance(task, count)

    def bar(self) -> Progress:
        """Return a progress display whose tasks have a `unit` field."""
        return Progress(
            Label(),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self._rich,
            transient=True,
            disable=self._quiet or not self._rich.is_terminal,
        )
