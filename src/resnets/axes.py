"""What Keras calls the tensors of a layer, and in which order it keeps their axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from resnets.layers import Act, Conv, Gate, Layer, Linear, Norm


def keras_name(name: str) -> str:
    """Return what the layer of a plan's name is called in Keras: ``layer1_0_conv1``."""
    return name.replace(".", "_")


def plan_name(name: str) -> str:
    """Return the name of a plan's layer that is called so in Keras."""
    return name.replace("_", ".")


NEW = -1
"""An axis of length one, which Keras has and PyTorch has not."""


@dataclass(frozen=True)
class KerasTensor:
    """A tensor in Keras. `axes` are the numbers of PyTorch's axes, in Keras' order."""

    name: str
    axes: tuple[int, ...] = (0,)

    @property
    def order(self) -> tuple[int, ...]:
        """What PyTorch's tensor is permuted by, before the new axes are put in."""
        return tuple(axis for axis in self.axes if axis != NEW)

    @property
    def inverse(self) -> tuple[int, ...]:
        return tuple(sorted(range(len(self.order)), key=self.order.__getitem__))

    @property
    def grow(self) -> tuple[slice | None, ...]:
        """The index that puts the new axes in, of an array of any framework."""
        return tuple(None if axis == NEW else slice(None) for axis in self.axes)

    @property
    def shrink(self) -> tuple[slice | int, ...]:
        """The index that takes them out again."""
        return tuple(0 if axis == NEW else slice(None) for axis in self.axes)


KERNEL = KerasTensor("kernel", (2, 3, 1, 0))  # H W I O, for O I H W
BIAS = KerasTensor("bias")
TENSORS: Mapping[type[Layer], Mapping[str, KerasTensor]] = {
    # by layer, and our name of the tensor
    Conv: {"weight": KERNEL, "bias": BIAS},
    Linear: {"weight": KerasTensor("kernel", (1, 0)), "bias": BIAS},
    Norm: {
        "weight": KerasTensor("gamma"),
        "bias": KerasTensor("beta"),
        "running_mean": KerasTensor("moving_mean"),
        "running_var": KerasTensor("moving_variance"),
    },
    Act: {"weight": KerasTensor("alpha", (NEW, NEW, 0))},  # shared over height and width
    Gate: {
        "fc1.weight": KERNEL,
        "fc1.bias": BIAS,
        "fc2.weight": KERNEL,
        "fc2.bias": BIAS,
        "conv.weight": KerasTensor("kernel", (2, 1, 0)),
    },
}
