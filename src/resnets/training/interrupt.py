"""Stopping in good order: the first Ctrl-C or SIGTERM asks, the second insists."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interrupt:
    """Whether somebody has asked the run to stop after the step in hand."""

    requested: bool = False


@contextmanager
def graceful(announce: Callable[[str], None]) -> Iterator[Interrupt]:
    """Turn the first SIGINT or SIGTERM into a request; a second one stops at once.

    Signals can only be handled in the main thread; elsewhere nothing is installed.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True
        announce("stopping after this step; once more to stop at once")

    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, handle) for number in signals}
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
