"""State dicts to and from Keras models: PyTorch's names and layouts, as NumPy arrays.

``layer1_0_conv1``'s ``kernel`` is ``layer1.0.conv1.weight``, laid out as PyTorch does. Keras does
not count batches: ``num_batches_tracked`` is not read, and not written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from resnets.axes import TENSORS, KerasTensor, plan_name
from resnets.errors import UserError, list_misfits
from resnets.layers import COUNTER, Act, Conv, Gate, Linear, Norm

KEPT: Mapping[type[keras.layers.Layer], Mapping[str, KerasTensor]] = {
    keras.layers.Conv2D: TENSORS[Conv],
    keras.layers.Conv1D: {"weight": TENSORS[Gate]["conv.weight"]},
    keras.layers.Dense: TENSORS[Linear],
    keras.layers.BatchNormalization: TENSORS[Norm],
    keras.layers.GroupNormalization: {name: TENSORS[Norm][name] for name in ("weight", "bias")},
    keras.layers.PReLU: TENSORS[Act],
}


@dataclass(frozen=True)
class Slot:
    """One tensor of a built model."""

    variable: Any
    kept: KerasTensor

    def _to_torch(self, value: np.ndarray) -> np.ndarray:
        return value[self.kept.shrink].transpose(self.kept.inverse)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in PyTorch."""
        # One number that poses as a whole tensor takes no memory.
        return self._to_torch(np.broadcast_to(0.0, self.variable.shape)).shape

    def read(self) -> np.ndarray:
        value = np.asarray(self.variable)  # `np.array` would ask for a copy: a warning in Keras
        return np.array(self._to_torch(value), order="C")

    def write(self, value: np.ndarray) -> None:
        # A copy, as backends may go on using the memory that they are given.
        value = value.transpose(self.kept.order)[self.kept.grow]
        self.variable.assign(np.array(value, order="C"))


def _slots(model: keras.Model) -> Iterator[tuple[str, Slot]]:
    """Yield every tensor of a model under its canonical name."""
    for layer in model.layers:
        for kind, tensors in KEPT.items():
            if not isinstance(layer, kind):
                continue
            for name, kept in tensors.items():
                variable = getattr(layer, kept.name)
                if variable is not None:  # a layer without bias
                    yield f"{plan_name(layer.name)}.{name}", Slot(variable, kept)


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
