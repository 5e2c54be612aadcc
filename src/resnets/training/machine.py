"""The machine: which device, and how it computes. Stored with the run."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from resnets.errors import UserError
from resnets.nn.winograd import Winograd
from resnets.training.memory import keep_pages
from resnets.training.processes import count_cores, launched, local_rank

Net = TypeVar("Net", bound=nn.Module)
FORMATS = {"channels-last": torch.channels_last, "contiguous": torch.contiguous_format}
GRAPHS = 256
"""Sizes of batches and photos that are compiled for."""
DEVICES = ("cpu", "cuda", "mps", "xpu")


@dataclass(frozen=True)
class Machine:
    """Where and how a network is run.

    `precision` and `layout` are those of the training steps; evaluation is in full float32 and on
    photos that are channels-last, unless another engine or precision is asked for. `convolution`
    is ``direct`` or ``winograd``, how the steps' 3×3 ones are computed. `graphs` lets compiled
    steps replay CUDA graphs. `threads` are those of an operation on the CPU, which decide in how
    many parts a sum is taken, and so its last bits.
    """

    device: str
    precision: str = "fp32"
    compile: bool = False
    threads: int = field(default_factory=torch.get_num_threads)
    layout: str = "channels-last"
    graphs: bool = False
    convolution: str = "direct"

    @classmethod
    def detect(cls, device: str | None = None) -> Self:
        """Choose the device: CUDA, then Apple's, then the CPU. All else is the same everywhere.

        Raises:
          UserError: a device that is not there.
        """
        device = device or _best_device()
        _check_device(_of_rank(device, local_rank()))
        return cls(device)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def take(self) -> None:
        """Make torch compute as this says, and the same things twice to the same bits."""
        keep_pages()
        torch.set_num_threads(self.threads)
        if self.device.startswith("cuda"):
            torch.backends.cudnn.benchmark = False
            torch.use_deterministic_algorithms(True, warn_only=True)

    def of_rank(self, local: int) -> Self:
        """Return the machine of one of several processes: each has a GPU of its own.

        Raises:
          UserError: the device has a number, which all of them would take.
        """
        return replace(self, device=_of_rank(self.device, local))

    def autocast(self) -> AbstractContextManager[Any]:
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16")

    def convolving(self) -> AbstractContextManager[Any]:
        """Compute convolutions as `convolution` says, forwards and backwards."""
        return Winograd() if self.convolution == "winograd" else nullcontext()

    def place(self, net: Net) -> Net:
        """Move a network to the device, in the layout."""
        placed: Net = net.to(self.device, memory_format=FORMATS[self.layout])  # type: ignore[call-overload]
        return placed

    def arrange(self, images: Tensor) -> Tensor:
        """Bring images ``N C H W`` into the layout; prepared photos are channels-last."""
        return images.contiguous(memory_format=FORMATS[self.layout])

    def compiled(self, net: nn.Module) -> nn.Module:
        """Return what computes the network's outputs in a training step."""
        if not self.compile:
            return net
        # Batches come in few sizes: a static graph for each is faster than one dynamic. Beyond its
        # limit torch would compute eagerly, and a resume, which counts anew, to other last bits.
        torch._dynamo.config.recompile_limit = GRAPHS
        mode = "reduce-overhead" if self.graphs else "default"
        compiled: Any = torch.compile(net, dynamic=False, mode=mode)
        assert isinstance(compiled, nn.Module)
        return compiled

    def hardware(self) -> str:
        """Return what computes: other hardware gives other last bits."""
        kernels = torch.backends.cpu.get_cpu_capability()
        name = f"{_cpu_name()} ({kernels})"
        if self.device.startswith("cuda"):
            return f"{torch.cuda.get_device_name(self.device)}, {name}"
        return name

    def manner(self) -> str:
        """Return how it computes, for people."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return ", ".join([self.layout, *self._ways(), threads])

    def describe(self) -> dict[str, str]:
        """Return what a reader of the results needs to know."""
        return {
            "device": self.device,
            "hardware": f"{self.hardware()}, {count_cores()} cores",
            "precision": ", ".join(self._ways()),
            "system": platform.platform(terse=True),
        }

    def _ways(self) -> list[str]:
        winograd = ["Winograd"] if self.convolution == "winograd" else []
        compiled = ["compiled with graphs" if self.graphs else "compiled"] if self.compile else []
        return [self.precision, *winograd, *compiled]


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute in true float32: cuDNN's convolutions would otherwise use TF32 (10-bit mantissa)."""
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@contextmanager
def threads_restored() -> Iterator[None]:
    """Leave the caller's program as many threads of an operation as it had."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def default_workers() -> int:
    """Loader threads for this machine: its cores, at most eight."""
    return min(count_cores(), 8)


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _of_rank(device: str, local: int) -> str:
    if launched() and device.startswith("cuda:"):
        raise UserError(
            f"--device {device}: several processes have a GPU each; write --device cuda"
        )
    return f"cuda:{local}" if device == "cuda" else device


def _check_device(device: str) -> None:
    if device.partition(":")[0] not in DEVICES:
        raise UserError(f"--device {device}: one of {', '.join(DEVICES)} is needed")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {device}: {reason} (there is always --device cpu)") from None


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line for line in file if line.startswith("model name")]
        return names[0].split(":", 1)[1].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
