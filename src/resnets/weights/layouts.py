"""How projects lay the same numbers out: from our tensors to theirs, and back.

``torch`` is our own: kernels O I H W, linear weights O I. ``torch-conv-head`` has the classifier as
a 1×1 convolution. ``keras`` is `resnets.axes`. Every change is a permutation or a reshape, so that
there and back is the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from resnets import axes
from resnets.axes import KerasTensor
from resnets.layers import Layer, Linear


@dataclass(frozen=True)
class Change:
    """A change of layout: from ours, and to ours."""

    out: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]


SAME = Change(lambda t: t, lambda t: t)
CONV_HEAD = Change(lambda t: t[:, :, None, None], lambda t: t[:, :, 0, 0])


def _keras(kept: KerasTensor) -> Change:
    return Change(
        lambda t: t.permute(kept.order)[kept.grow],
        lambda t: t[kept.shrink].permute(kept.inverse),
    )


CHANGES: Mapping[str, Mapping[type[Layer], Mapping[str, Change]]] = {
    "torch": {},
    "torch-conv-head": {Linear: {"weight": CONV_HEAD}},
    "keras": {
        layer: {name: _keras(kept) for name, kept in tensors.items()}
        for layer, tensors in axes.TENSORS.items()
    },
}


def change(layout: str, layer: Layer, tensor: str) -> Change:
    """Return the change of a layer's tensor."""
    return CHANGES[layout].get(type(layer), {}).get(tensor, SAME)
