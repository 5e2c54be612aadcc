"""3×3 convolutions on the CPU with a quarter of the multiplications (Lavin and Gray 2016,
arXiv:1509.09308, F(4×4, 3×3)), forwards and backwards."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from resnets.native import compile_library

TILE, POINTS = 4, 36
"""Outputs of a tile along a side, and products that it takes."""
FEWEST = 24
"""Channels: with fewer, transforms take more than products save (docs/speed.md)."""
SMALLEST = 3
"""Pixels of an output's side: smaller ones leave most of a tile empty."""
BLOCK = 20_000_000
"""Bytes of transformed photos at a time, which are to stay in a cache."""
CHANNELS_LAST = torch.channels_last
TRANSFORMS = {
    "transform_inputs": 7,
    "transform_outputs": 7,
    "transform_output_gradients": 7,
    "transform_filters": 2,
    "transform_filter_gradients": 2,
}
"""The functions of winograd.cpp, and how many sizes each is told."""


class Winograd(TorchFunctionMode):
    """While it is entered, convolutions that fit are computed so: 3×3, stride 1, float32, CPU.

    Raises:
      UserError: there is no C++ compiler.
    """

    def __init__(self) -> None:
        super().__init__()
        library()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.conv2d and (padding := _padding(*args, **kwargs)) is not None:
            return torch.ops.resnets.winograd(args[0], args[1], padding)
        return func(*args, **kwargs)


def _padding(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
) -> int | None:
    """Return the padding of a convolution that fits; None for others."""
    plain = bias is None and groups == 1 and _both(stride) == _both(dilation) == 1
    width = _both(padding)
    if not plain or width not in (0, 1, 2):
        return None
    if tuple(weight.shape[2:]) != (3, 3) or min(weight.shape[:2]) < FEWEST or x.dim() != 4:
        return None
    fits = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    return width if fits and min(x.shape[2:]) + 2 * width - 2 >= SMALLEST else None


def _both(value: Any) -> Any:
    """Return what holds for rows and columns alike; None if they differ."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value[0] if len({*value}) == 1 else None
    return value


@cache
def library() -> ctypes.CDLL:
    """Return the transforms, compiled for this machine.

    Raises:
      UserError: there is no C++ compiler.
    """
    found = compile_library(Path(__file__).with_suffix(".cpp"))
    for name, sizes in TRANSFORMS.items():
        getattr(found, name).argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_ssize_t] * sizes
    return found


# -- the two operations ---------------------------------------------------------------------------


@torch.library.custom_op(
    "resnets::winograd", mutates_args=(), schema="(Tensor x, Tensor weight, int padding) -> Tensor"
)
def _convolve(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """Return the convolution ``N K H W`` of ``N C H W`` with filters ``K C 3 3``."""
    x, y = x.contiguous(memory_format=CHANNELS_LAST), _outputs(x, weight, padding)
    turned = weight.transpose(0, 1).contiguous(memory_format=CHANNELS_LAST)
    inputs, outputs = turned.shape[:2]
    filters = _scratch("filters", POINTS, inputs, outputs)
    library().transform_filters(turned.data_ptr(), filters.data_ptr(), inputs, outputs)
    for block in _blocks(y, inputs):
        tiles = block.transform("inputs", x, padding)
        products = torch.bmm(tiles, filters, out=block.rows("products", outputs))
        block.restore("outputs", products, y)
    return y


@torch.library.custom_op(
    "resnets::winograd_weight",
    mutates_args=(),
    schema="(Tensor x, Tensor gradient, int padding) -> Tensor",
)
def _weight_gradient(x: Tensor, gradient: Tensor, padding: int) -> Tensor:
    """Return the gradient ``K C 3 3`` of the filters, from that of the outputs, ``N K H W``."""
    x = x.contiguous(memory_format=CHANNELS_LAST)
    gradient = gradient.contiguous(memory_format=CHANNELS_LAST)
    outputs, inputs = gradient.shape[1], x.shape[1]
    sums = _scratch("filters", POINTS, outputs, inputs)
    for block in _blocks(gradient, inputs):
        tiles = block.transform("inputs", x, padding)
        changes = block.transform("output_gradients", gradient, 0)
        kept = 1 if block.first else 0
        torch.baddbmm(sums, changes.transpose(1, 2), tiles, beta=kept, out=sums)
    found = _weights(x, gradient)
    library().transform_filter_gradients(sums.data_ptr(), found.data_ptr(), outputs, inputs)
    return found


def _outputs(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    height, width = (side + 2 * padding - 2 for side in x.shape[2:])
    return x.new_empty(x.shape[0], height, width, weight.shape[0]).permute(0, 3, 1, 2)


def _weights(x: Tensor, gradient: Tensor) -> Tensor:
    return x.new_empty(gradient.shape[1], 3, 3, x.shape[1]).permute(0, 3, 1, 2)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
    x, weight, ctx.padding = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, weight = ctx.saved_tensors
    of_x = of_weight = None
    if ctx.needs_input_grad[0]:
        mirrored = weight.flip(2, 3).transpose(0, 1)
        of_x = torch.ops.resnets.winograd(gradient, mirrored, 2 - ctx.padding)
    if ctx.needs_input_grad[1]:
        of_weight = torch.ops.resnets.winograd_weight(x, gradient, ctx.padding)
    return of_x, of_weight, None


_convolve.register_fake(_outputs)
_convolve.register_autograd(_backward, setup_context=_keep)
_weight_gradient.register_fake(lambda x, gradient, padding: _weights(x, gradient))


# -- blocks of photos, and memory -----------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    """Photos ``first`` to ``first + count``, and how many tiles lie over the outputs of each."""

    first: int
    count: int
    down: int
    across: int

    def rows(self, name: str, channels: int) -> Tensor:
        """Return memory ``36 tiles channels``."""
        return _scratch(name, POINTS, self.count * self.down * self.across, channels)

    def transform(self, name: str, photos: Tensor, padding: int) -> Tensor:
        """Return the tiles of the photos ``N C H W``."""
        rows = self.rows(name, photos.shape[1])
        self._call(name, self._address(photos), rows.data_ptr(), photos, padding)
        return rows

    def restore(self, name: str, rows: Tensor, photos: Tensor) -> None:
        """Fill the photos ``N C H W`` from their tiles."""
        self._call(name, rows.data_ptr(), self._address(photos), photos, 0)

    def _address(self, photos: Tensor) -> int:
        return photos.data_ptr() + self.first * photos[0].numel() * photos.element_size()

    def _call(self, name: str, source: int, target: int, photos: Tensor, padding: int) -> None:
        channels, height, width = photos.shape[1:]
        sides = (height, width, channels, self.down, self.across)
        getattr(library(), f"transform_{name}")(source, target, self.count, *sides, padding)


def _blocks(outputs: Tensor, inputs: int) -> Iterator[_Block]:
    """Divide photos, given their outputs ``N K H W``, evenly."""
    count, channels = outputs.shape[:2]
    down, across = (-(-side // TILE) for side in outputs.shape[2:])
    photo = POINTS * outputs.element_size() * down * across * (inputs + channels)
    blocks = -(-count // max(1, BLOCK // photo))
    for number in range(blocks):
        first, end = count * number // blocks, count * (number + 1) // blocks
        yield _Block(first, end - first, down, across)


_memory = threading.local()


def _scratch(name: str, *shape: int) -> Tensor:
    """Return memory of this thread, what it holds being anything; the same for the same name.

    It is kept, as the first touch of new memory takes longer than a transform.
    """
    size = torch.Size(shape).numel()
    kept = _memory.__dict__.get(name)
    if kept is None or kept.numel() < size:
        with torch.inference_mode(False):  # or it could not be written to outside of that mode
            kept = _memory.__dict__[name] = torch.empty(size)
    return kept[:size].view(shape)
