"""Several processes as one: each takes its part of every batch, and all end in the same weights.

`Alone` and `Team` are the two ways to be: a run in one process, and in several that torchrun or
``--nproc`` has started. The loop is written once against what they have in common, `Ranks`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from itertools import count
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from resnets.data.plan import share
from resnets.errors import UserError
from resnets.training.processes import launched, local_rank, restarts

STEP_LIMIT = timedelta(minutes=10)
"""How long a process waits for another within a step. One that has died is noticed at once, by its
connection; this is for one that hangs, and must be longer than writing a checkpoint takes."""
PATIENCE = timedelta(days=1)
"""How long it waits where one works for all, as in decoding."""

GROUPS = count()
"""Numbers for the groups that this process has been in, one after the other."""

State = tuple[dict[str, Tensor], dict[str, Any]]


class Lost(UserError):
    """Another process of the run has ended; what this one had last saved is whole."""


class Ranks(Protocol):
    """This process among those that train together: `rank` of `world`, `local` on its machine."""

    rank: int
    world: int
    local: int

    @property
    def leads(self) -> bool:
        """Whether this is the process that speaks and writes."""
        ...

    def share(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return this process' part of a batch."""
        ...

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of every process' `values`, the same bits in all of them."""
        ...

    def parallel(self, net: nn.Module) -> nn.Module:
        """Return `net` such that gradients are the mean over the processes."""
        ...

    def apart(self, net: nn.Module) -> AbstractContextManager[Any]:
        """Return a context in which gradients of `parallel`'s `net` only add up locally."""
        ...

    def average(self, values: list[Tensor]) -> None:
        """Set floating-point tensors to their means over the processes."""
        ...

    def wait(self) -> None:
        """Return when every process has come here."""
        ...

    def text(self, text: str) -> str:
        """Return the leading process' text."""
        ...

    def state(self, state: State | None) -> State | None:
        """Return the leading process' state."""
        ...

    def leave(self) -> None: ...


class Alone:
    """One process, which has nobody to talk to."""

    rank, world, local = 0, 1, 0
    leads = True

    def share(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        return batch

    def sum(self, values: Tensor) -> Tensor:
        return values

    def parallel(self, net: nn.Module) -> nn.Module:
        return net

    def apart(self, net: nn.Module) -> AbstractContextManager[Any]:
        return nullcontext()

    def average(self, values: list[Tensor]) -> None:
        pass

    def wait(self) -> None:
        pass

    def text(self, text: str) -> str:
        return text

    def state(self, state: State | None) -> State | None:
        return state

    def leave(self) -> None:
        pass


class Team:
    """One of several processes, as the environment says that torchrun and ``--nproc`` set."""

    def __init__(self, device: str) -> None:
        self.local = local_rank()
        self.device = torch.device(device)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        backend = "nccl" if self.device.type == "cuda" else "gloo"
        found = dist.rendezvous("env://", timeout=STEP_LIMIT)  # type: ignore[attr-defined]
        store, rank, world = next(found)
        # The store may be that of before, with the addresses of a group that is gone: torchrun has
        # started the job again, or this process trains for the second time.
        prefix = f"attempt {restarts()}, group {next(GROUPS)}"
        store = dist.PrefixStore(prefix, store)  # type: ignore[attr-defined]
        dist.init_process_group(
            backend, store=store, rank=rank, world_size=world, timeout=STEP_LIMIT
        )
        self.rank, self.world = int(rank), int(world)
        self._patient: Any = dist.new_group(backend="gloo", timeout=PATIENCE)

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        return share(batch, self.rank, self.world)

    def sum(self, values: Tensor) -> Tensor:
        total = values.to(self.device, copy=True)
        dist.all_reduce(total)
        return total.to(values.device)

    def parallel(self, net: nn.Module) -> nn.Module:
        # `find_unused_parameters`, as layers that do not learn yet have no gradient; and as DDP
        # otherwise deals its buckets anew after the first step: then the first step after a resume
        # would sum in another order than that step of an uninterrupted run.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of a name that torch 2.14 has changed
            return DistributedDataParallel(
                net, broadcast_buffers=False, find_unused_parameters=True
            )

    def apart(self, net: nn.Module) -> AbstractContextManager[Any]:
        assert isinstance(net, DistributedDataParallel)
        return net.no_sync()

    def average(self, values: list[Tensor]) -> None:
        if not values:
            return
        flat = self.sum(torch.cat([value.reshape(-1) for value in values])) / self.world
        parts = torch.split(flat, [value.numel() for value in values])
        for value, part in zip(values, parts, strict=True):
            value.copy_(part.view_as(value))

    def wait(self) -> None:
        dist.barrier(self._patient)

    def text(self, text: str) -> str:
        data = torch.tensor([*text.encode()], dtype=torch.uint8)
        size = torch.tensor([len(data)])
        dist.broadcast(size, 0, self._patient)
        data = data if self.leads else torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(data, 0, self._patient)
        return data.numpy().tobytes().decode()

    def state(self, state: State | None) -> State | None:
        tensors, values = state or ({}, {})
        kinds = {name: (list(v.shape), str(v.dtype)) for name, v in tensors.items()}
        kinds, values = json.loads(self.text(json.dumps([kinds, values])))
        if not kinds:
            return None
        found = {}
        for name, (shape, dtype) in kinds.items():
            kind = getattr(torch, dtype.removeprefix("torch."))
            found[name] = tensors[name] if self.leads else torch.empty(shape, dtype=kind)
            dist.broadcast(found[name], 0, self._patient)
        return found, values

    def leave(self) -> None:
        dist.destroy_process_group()


@contextmanager
def together(device: str) -> Iterator[Ranks]:
    """Be one of the processes that were started together, on a device of one's own.

    Raises:
      UserError: they cannot train together on such a device.
      Lost: another of them has ended.
    """
    if not launched():
        yield Alone()
        return
    check_device(device)
    ranks: Ranks = Alone()
    try:
        with noticing_loss():
            ranks = Team(device)
            yield ranks
    finally:
        ranks.leave()


def check_device(device: str) -> None:
    """Raise UserError for a device on which several processes cannot train together."""
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda"):
        raise UserError(f"several processes train on the CPU or on CUDA only, not on {kind}")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UserError(
            f"process {local_rank()} has no GPU: there are {torch.cuda.device_count()}; start as "
            "many processes, and give no number with --device"
        )


@contextmanager
def noticing_loss(way_on: str = "") -> Iterator[None]:
    """Raise Lost, which ends in `way_on`, where torch says that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        said = str(error)
        gone = isinstance(error, dist.DistError) or "gloo" in said or "Connection" in said
        if not launched() or not gone:
            raise
        reason = " ".join(said.split())[:120]
        raise Lost(f"another process of the run has ended ({reason}){way_on}") from None
