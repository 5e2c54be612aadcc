"""Layers as data: what is counted, and what every framework builds from. Standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

STANDARD_EPS = 1e-8
"""ε of standardised weights, as Big Transfer has it (arXiv:1912.11370, its code)."""
COUNTER = "num_batches_tracked"
"""BatchNorm's count of batches: old files do not have it, Keras does not, and nothing reads it."""
Shape: TypeAlias = tuple[int, ...]
Shapes: TypeAlias = dict[str, Shape]


@dataclass(frozen=True)
class Layer:
    """One layer; abstract. What is not said here is: no weights, no work, and the size stays."""

    def tensors(self) -> Shapes:
        """Return the shapes of the trainable tensors by name, as PyTorch lays them out."""
        return {}

    def buffers(self) -> Shapes:
        """Return the shapes of the tensors that are stored and not trained."""
        return {}

    def out(self, side: int) -> int:
        """Return the side of the output for a side of the input, in pixels."""
        return side

    def macs(self, pixels: int) -> int:
        """Return the multiply-adds for an output of so many pixels."""
        return 0

    @property
    def reach(self) -> tuple[int, int]:
        """Kernel and stride: what the receptive field grows by."""
        return 1, 1

    @property
    def params(self) -> int:
        return sum(math.prod(shape) for shape in self.tensors().values())

    @property
    def weights(self) -> int:
        """Parameters, unless they are a norm's or an activation's."""
        return self.params


@dataclass(frozen=True)
class Conv(Layer):
    """A square convolution, `inputs` → `outputs` channels.

    Args:
      padding: ``same`` (the kernel centred on the first pixel, as PyTorch pads; an even kernel has
        no centre, and is padded by one pixel less than it would take to keep the size) or ``tf``
        (TensorFlow's 'same', which depends on the size of the photo and pads a stride-2 layer by
        one pixel less on the top and left).
      standardized: the weights of each filter are normalised before use (arXiv:1903.10520).
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    groups: int = 1
    bias: bool = False
    padding: str = "same"
    standardized: bool = False

    def tensors(self) -> Shapes:
        weight = (self.outputs, self.inputs // self.groups, self.kernel, self.kernel)
        return {"weight": weight} | ({"bias": (self.outputs,)} if self.bias else {})

    @property
    def pad(self) -> int:
        """Pixels that ``same`` pads each side by."""
        return (self.kernel - 1) // 2

    def out(self, side: int) -> int:
        lost = 0 if self.padding == "tf" else self.kernel - 1 - 2 * self.pad
        return -(-(side - lost) // self.stride)

    def macs(self, pixels: int) -> int:
        return pixels * math.prod(self.tensors()["weight"])

    @property
    def reach(self) -> tuple[int, int]:
        return self.kernel, self.stride


@dataclass(frozen=True)
class Norm(Layer):
    """BatchNorm (`kind` ``batch``) or GroupNorm of 32 groups (``group``), with γ and β.

    `vector` says that the input is ``N C`` instead of ``N C H W``.
    """

    channels: int
    kind: str = "batch"
    eps: float = 1e-5
    vector: bool = False

    def tensors(self) -> Shapes:
        return {"weight": (self.channels,), "bias": (self.channels,)}

    def buffers(self) -> Shapes:
        if self.kind == "group":
            return {}
        shape = (self.channels,)
        return {"running_mean": shape, "running_var": shape, COUNTER: ()}

    @property
    def weights(self) -> int:
        return 0


@dataclass(frozen=True)
class Act(Layer):
    """ReLU (`kind` ``relu``), or PReLU with a slope for each channel (``prelu``)."""

    channels: int
    kind: str = "relu"

    def tensors(self) -> Shapes:
        return {"weight": (self.channels,)} if self.kind == "prelu" else {}

    @property
    def weights(self) -> int:
        return 0


@dataclass(frozen=True)
class Pool(Layer):
    """Pooling within the network.

    ``max`` pads with −∞ (an even window has no border to pad, and leaves out the last pixel of an
    odd side, as torch's does), ``zero-max`` with zeros (which differs where values are negative)
    and ``tf-max`` as TensorFlow's 'same' does; ``avg`` counts only pixels that are there, and
    rounds an odd side up; ``blur`` subsamples after a binomial filter over reflected borders
    (arXiv:1904.11486).
    """

    kind: str
    channels: int
    kernel: int
    stride: int

    def out(self, side: int) -> int:
        if self.kind == "blur" and side < 2:
            return 0  # there is no border to reflect
        lost = 1 - self.kernel % 2 if self.kind == "max" else 0
        return -(-(side - lost) // self.stride)

    @property
    def reach(self) -> tuple[int, int]:
        return self.kernel, self.stride


@dataclass(frozen=True)
class Pad(Layer):
    """Option A: every `stride`-th pixel, and zeros for the channels that are missing (v1, 3.3)."""

    inputs: int
    outputs: int
    stride: int

    def out(self, side: int) -> int:
        return -(-side // self.stride)

    @property
    def reach(self) -> tuple[int, int]:
        return 1, self.stride


@dataclass(frozen=True)
class Gate(Layer):
    """Channel attention: ``se`` with `size` hidden channels (arXiv:1709.01507, Figure 2), or
    ``eca`` with a kernel of `size` (arXiv:1910.03151, Figure 2)."""

    kind: str
    channels: int
    size: int

    def tensors(self) -> Shapes:
        if self.kind == "eca":
            return {"conv.weight": (1, 1, self.size)}
        return {
            "fc1.weight": (self.size, self.channels, 1, 1),
            "fc1.bias": (self.size,),
            "fc2.weight": (self.channels, self.size, 1, 1),
            "fc2.bias": (self.channels,),
        }

    def macs(self, pixels: int) -> int:  # over the pooled channels, whatever the size
        return self.channels * self.size * (1 if self.kind == "eca" else 2)


@dataclass(frozen=True)
class Linear(Layer):
    """The classifier, ``N inputs`` → ``N outputs``, times `scale`."""

    inputs: int
    outputs: int
    bias: bool = True
    scale: float = 1.0

    def tensors(self) -> Shapes:
        weight = (self.outputs, self.inputs)
        return {"weight": weight} | ({"bias": (self.outputs,)} if self.bias else {})

    def macs(self, pixels: int) -> int:
        return self.inputs * self.outputs


@dataclass(frozen=True)
class Flatten(Layer):
    """``N C H W`` → a vector: the mean (`kind` ``avg``) or maximum (``max``) over all pixels, or
    all of them (``all``)."""

    kind: str
