"""State dicts to and from Keras models: PyTorch's names and layouts, as NumPy arrays.

``layer1_0_conv1``'s ``kernel`` is ``layer1.0.conv1.weight``, laid out as PyTorch does. Keras does
not count batches: ``num_batches_tracked`` is not read, and not written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from resnets.errors import UserError, list_misfits
from resnets.layers import COUNTER


@dataclass(frozen=True)
class Layout:
    """Where a layer keeps a tensor, and how its axes get there from PyTorch and back."""

    variable: str
    to_keras: Callable[[np.ndarray], np.ndarray] = lambda value: value
    to_torch: Callable[[np.ndarray], np.ndarray] = lambda value: value


CONV2D = Layout("kernel", lambda w: w.transpose(2, 3, 1, 0), lambda w: w.transpose(3, 2, 0, 1))
REVERSED = Layout("kernel", np.transpose, np.transpose)
SLOPES = Layout("alpha", lambda w: w.reshape(1, 1, -1), lambda w: w.reshape(-1))
BIAS = {"bias": Layout("bias")}
AFFINE = {"weight": Layout("gamma"), "bias": Layout("beta")}
STATISTICS = {
    "running_mean": Layout("moving_mean"),
    "running_var": Layout("moving_variance"),
}
LAYOUTS: dict[type[keras.layers.Layer], dict[str, Layout]] = {
    keras.layers.Conv2D: {"weight": CONV2D} | BIAS,
    keras.layers.Conv1D: {"weight": REVERSED} | BIAS,
    keras.layers.Dense: {"weight": REVERSED} | BIAS,
    keras.layers.BatchNormalization: AFFINE | STATISTICS,
    keras.layers.GroupNormalization: AFFINE,
    keras.layers.PReLU: {"weight": SLOPES},
}


@dataclass(frozen=True)
class Slot:
    """One tensor of a built model."""

    variable: Any
    layout: Layout

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in PyTorch."""
        # One number that poses as a whole tensor takes no memory.
        return self.layout.to_torch(np.broadcast_to(0.0, self.variable.shape)).shape

    def read(self) -> np.ndarray:
        value = np.asarray(self.variable)  # `np.array` would ask for a copy: a warning in Keras
        return np.array(self.layout.to_torch(value), order="C")

    def write(self, value: np.ndarray) -> None:
        # A copy, as backends may go on using the memory that they are given.
        self.variable.assign(np.array(self.layout.to_keras(value), order="C"))


def _slots(model: keras.Model) -> Iterator[tuple[str, Slot]]:
    """Yield every tensor of a model under its canonical name."""
    for layer in model.layers:
        for kind, layouts in LAYOUTS.items():
            if not isinstance(layer, kind):
                continue
            for name, layout in layouts.items():
                variable = getattr(layer, layout.variable)
                if variable is not None:  # a layer without bias
                    yield f"{layer.name.replace('_', '.')}.{name}", Slot(variable, layout)


def get_state(model: keras.Model) -> dict[str, np.ndarray]:
    """Return copies of a model's weights by their canonical names, in PyTorch's layouts."""
    return {name: slot.read() for name, slot in _slots(model)}


def set_state(model: keras.Model, state: Mapping[str, np.ndarray]) -> None:
    """Give a model the weights of a state dict, whose names are canonical and layouts PyTorch's.

    Raises:
      UserError: the weights do not fit; what is missing, extra or of another shape is listed, and
        the model is left as it was.
    """
    slots = dict(_slots(model))
    misfits = list_misfits(
        [name for name in slots if name not in state],
        [name for name in state if name not in slots and not name.endswith(f".{COUNTER}")],
        [
            f"{name} {list(np.shape(state[name]))} for {list(slot.shape)}"
            for name, slot in slots.items()
            if name in state and np.shape(state[name]) != slot.shape
        ],
    )
    if misfits:
        raise UserError(f"weights do not fit {model.name}: {misfits}")
    for name, slot in slots.items():
        slot.write(np.asarray(state[name]))
