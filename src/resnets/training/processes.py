"""This process among those that train together, as the environment tells. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Mapping

PARENT = "RESNETS_PARENT"
"""The process that has launched this one by ``--nproc``."""


def launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this is one of several processes, which torchrun or ``--nproc`` has started."""
    return int(environment.get("WORLD_SIZE", "1")) > 1 and "RANK" in environment


def rank(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of this process, from 0."""
    return int(environment["RANK"]) if launched(environment) else 0


def local_rank(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of this process on its machine, from 0."""
    own = environment.get("LOCAL_RANK", environment.get("RANK", "0"))
    return int(own) if launched(environment) else 0


def local_count(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many of the processes are on this machine."""
    world = environment.get("WORLD_SIZE", "1")
    return int(environment.get("LOCAL_WORLD_SIZE", world)) if launched(environment) else 1


def torchrun_id(environment: Mapping[str, str] = os.environ) -> str:
    """Return the name of torchrun's job, the same after a restart; nothing without torchrun, or
    where it has given the job no name of its own (neither ``--standalone`` nor ``--rdzv-id``)."""
    name = environment.get("TORCHELASTIC_RUN_ID", "")
    return "" if name == "none" else name


def restarts(environment: Mapping[str, str] = os.environ) -> int:
    """Return how often torchrun has started the job again, after a process had ended."""
    return int(environment.get("TORCHELASTIC_RESTART_COUNT", "0"))


def count_cores() -> int:
    """Return the cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
