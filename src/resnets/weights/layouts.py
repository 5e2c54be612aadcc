"""How frameworks lay the same numbers out: from our tensors to theirs, and back.

``torch`` is our own: kernels O I H W, linear weights O I. ``torch-conv-head`` has the classifier as
a 1×1 convolution. ``keras`` has kernels H W I O and linear weights I O. Every change is a
permutation or a reshape, so that there and back is the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from resnets.layers import Act, Conv, Gate, Layer, Linear


@dataclass(frozen=True)
class Change:
    """A change of layout: from ours, and to ours (for a tensor of this shape of ours)."""

    out: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]


SAME = Change(lambda t: t, lambda t: t)


def _permuted(*order: int) -> Change:
    inverse = tuple(sorted(range(len(order)), key=order.__getitem__))
    return Change(lambda t: t.permute(order), lambda t: t.permute(inverse))


KERNEL = _permuted(2, 3, 1, 0)
LINEAR = _permuted(1, 0)
CONV_HEAD = Change(lambda t: t[:, :, None, None], lambda t: t[:, :, 0, 0])
SLOPES = Change(lambda t: t[None, None], lambda t: t[0, 0])  # a PReLU shared over height and width
WINDOW = _permuted(2, 1, 0)  # of a one-dimensional convolution
CHANGES: dict[str, dict[tuple[type[Layer], str, int], Change]] = {
    # by layer, tensor and dimensions
    "torch": {},
    "torch-conv-head": {(Linear, "weight", 2): CONV_HEAD},
    "keras": {
        (Conv, "weight", 4): KERNEL,
        (Linear, "weight", 2): LINEAR,
        (Act, "weight", 1): SLOPES,
        (Gate, "fc1.weight", 4): KERNEL,
        (Gate, "fc2.weight", 4): KERNEL,
        (Gate, "conv.weight", 3): WINDOW,
    },
}


def change(layout: str, layer: Layer, tensor: str, dimensions: int) -> Change:
    """Return the change of a layer's tensor, which has so many dimensions in our layout."""
    return CHANGES[layout].get((type(layer), tensor, dimensions), SAME)
