"""Stopping in good order: a first Ctrl-C or SIGTERM asks, a second Ctrl-C insists."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from resnets.training.processes import launched

ONE_PRESS = 1.0
"""Seconds in which a second SIGINT is the same Ctrl-C, where a launcher passes on what we got."""


@dataclass
class Interrupt:
    """Whether somebody has asked the run to stop after the step in hand."""

    requested: bool = False

    def ask(self) -> None:
        self.requested = True


def heeded() -> list[signal.Signals]:
    """Return what asks a run to stop: Ctrl-C, those who stop a service, a terminal that is closed
    (unless that is ignored, as ``nohup`` has it)."""
    found = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup and signal.getsignal(hangup) is not signal.SIG_IGN:
        found.append(hangup)
    return found


@contextmanager
def graceful(announce: Callable[[str], None]) -> Iterator[Interrupt]:
    """Turn the `heeded` signals into a request; a second SIGINT stops at once.

    SIGTERM asks however often it comes: those who stop a service send it to all its processes.
    Signals can only be handled in the main thread; elsewhere nothing is installed.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    asked_at = 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked_at
        window = ONE_PRESS if launched() else 0.0
        again = interrupt.requested and time.monotonic() - asked_at > window
        if number == signal.SIGINT and again:
            raise KeyboardInterrupt
        if not interrupt.requested:
            interrupt.requested, asked_at = True, time.monotonic()
            announce("stopping after this step; Ctrl-C once more to stop at once")

    previous = {number: signal.signal(number, handle) for number in heeded()}
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
