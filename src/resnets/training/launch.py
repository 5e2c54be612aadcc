"""Starting the processes of one run on this machine, and minding them. Standard library only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from resnets.errors import UserError
from resnets.training.interrupt import ONE_PRESS, heeded
from resnets.training.processes import PARENT, count_cores

GRACE = 30.0
"""Seconds that processes have to leave by themselves after another has ended."""
POLL = 0.1
STOPPED = 130
"""The exit status of those that were asked to stop: they take the time that saving takes."""


class Child(Protocol):
    """What is needed of a `subprocess.Popen`."""

    def poll(self) -> int | None: ...

    def kill(self) -> None: ...

    def send_signal(self, sig: int) -> None: ...


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run ``resnets`` with `arguments` in so many processes that train together.

    They share the cores. SIGINT and SIGTERM are passed on; a second SIGINT kills. When one ends
    with an error the others are given time to notice, and are then killed.

    Returns:
      The exit status: that of the first that failed, or 0.

    Raises:
      UserError: on Windows, where signals cannot be passed on; or more processes than cores.
    """
    if sys.platform == "win32":
        raise UserError("--nproc needs Linux or macOS")
    if processes > count_cores():
        raise UserError(f"--nproc {processes}: there are {count_cores()} cores")
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(processes),
        "OMP_NUM_THREADS": os.environ.get(
            "OMP_NUM_THREADS", str(max(1, count_cores() // processes))
        ),
        PARENT: str(os.getpid()),
    }
    children: list[Child] = []
    with _passing_on(children):
        for rank in range(processes):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            command = [sys.executable, "-m", "resnets", *arguments]
            children.append(subprocess.Popen(command, env={**os.environ, **shared, **own}))
        return mind(children)


def mind(children: Sequence[Child], grace: float = GRACE) -> int:
    """Wait for children; kill those that stay for `grace` seconds after another has failed.

    Returns:
      The exit status of the first that failed, 128 + N for signal N; 0 if none has.
    """
    first, deadline = 0, float("inf")
    while True:
        states = [child.poll() for child in children]
        failed = next((rank for rank, state in enumerate(states) if state), None)
        if failed is not None and not first:
            first = states[failed] or 0
            if first < 0:
                name = signal.Signals(-first).name
                print(f"resnets: process {failed} was ended by {name}", file=sys.stderr)
            if first != STOPPED:
                deadline = time.monotonic() + grace
        if None not in states:
            return first if first >= 0 else 128 - first
        if time.monotonic() > deadline:
            for child in children:
                child.kill()
        time.sleep(POLL)


def watch_parent(stop: Callable[[], None]) -> None:
    """Call `stop` when the process that launched this one is gone; nothing if none has."""
    parent = int(os.environ.get(PARENT, 0))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        stop()

    if parent:
        threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _passing_on(children: Sequence[Child]) -> Iterator[None]:
    """Pass on what asks to stop; a terminal's Ctrl-C reaches the children by itself as well."""
    pressed_at = float("inf")

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal pressed_at
        now = time.monotonic()
        insists = number == signal.SIGINT and now - pressed_at > ONE_PRESS
        pressed_at = min(pressed_at, now) if number == signal.SIGINT else pressed_at
        for child in children:
            if child.poll() is None:
                child.kill() if insists else child.send_signal(number)

    previous = {number: signal.signal(number, handle) for number in heeded()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
