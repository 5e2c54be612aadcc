"""3×3 convolutions on the CPU with a quarter of the multiplications (Lavin and Gray 2016,
arXiv:1509.09308, F(4×4, 3×3)), forwards and backwards."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from resnets.errors import UserError
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
    "transform_inputs": 8,
    "transform_outputs": 8,
    "transform_output_gradients": 8,
    "transform_filters": 3,
    "transform_filter_gradients": 3,
}
"""The functions of winograd.cpp, and how many sizes each is told."""


class Winograd(TorchFunctionMode):
    """While it is entered, convolutions that fit are computed so, forwards and backwards: 3×3 of
    stride 1 in one group and without a bias, float32 on the CPU, between at least 24 channels, to
    outputs of at least 3×3 pixels. A second derivative cannot be taken through them,
    and what a stage recomputes within ``Tensor.backward`` is computed directly.

    Raises:
      UserError: they cannot be compiled here.
    """

    def __init__(self) -> None:
        super().__init__()
        library()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.conv2d and (fitting := _fitting(*args, **kwargs)):
            return torch.ops.resnets.winograd(*fitting)
        return func(*args, **kwargs)


def _fitting(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
) -> tuple[Tensor, Tensor, int] | None:
    """Return photos, filters and padding of a convolution that fits; None for others."""
    plain = bias is None and groups == 1 and _both(stride) == _both(dilation) == 1
    width = _both(padding)
    if not plain or width not in (0, 1, 2):
        return None
    if tuple(weight.shape[2:]) != (3, 3) or min(weight.shape[:2]) < FEWEST or input.dim() != 4:
        return None
    fits = input.device.type == "cpu" and input.dtype == weight.dtype == torch.float32
    large = min(input.shape[2:]) + 2 * width - 2 >= SMALLEST
    return (input, weight, width) if fits and large else None


def _both(value: Any) -> Any:
    """Return what holds for rows and columns alike; None if they differ."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value[0] if len({*value}) == 1 else None
    return value


def library() -> ctypes.CDLL:
    """Return the transforms, compiled for this machine.

    Raises:
      UserError: they cannot be compiled here.
    """
    found = _compiled()
    if isinstance(found, str):
        raise UserError(found)
    return found


@cache
def _compiled() -> ctypes.CDLL | str:
    """Return the transforms, or why there are none: a compiler is asked once."""
    try:
        found = compile_library(Path(__file__).with_suffix(".cpp"), _openmp())
    except UserError as error:
        return str(error)
    for name, sizes in TRANSFORMS.items():
        getattr(found, name).argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_ssize_t] * sizes
    return found


def _openmp() -> Path | None:
    """Return torch's own OpenMP runtime, where its wheel brings one."""
    package = Path(torch.__file__).parent
    folders = (package / "lib", package.with_name("torch.libs"))
    return next((path for folder in folders for path in sorted(folder.glob("libgomp*"))), None)


# -- the two operations ---------------------------------------------------------------------------


_operation = partial(torch.library.custom_op, mutates_args=(), device_types="cpu")


@_operation("resnets::winograd", schema="(Tensor x, Tensor weight, int padding) -> Tensor")
def _convolve(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """Return the convolution ``N K H W`` of ``N C H W`` with filters ``K C 3 3``."""
    _check(x, weight, padding)
    _expect(tuple(weight.shape[1:]) == (x.shape[1], 3, 3), "filters are K C 3 3")
    x, y = x.contiguous(memory_format=CHANNELS_LAST), _outputs(x, weight, padding)
    turned = weight.transpose(0, 1).contiguous(memory_format=CHANNELS_LAST)
    inputs, outputs = turned.shape[:2]
    filters = _scratch("filters", POINTS, inputs, outputs)
    threads = torch.get_num_threads()
    library().transform_filters(turned.data_ptr(), filters.data_ptr(), inputs, outputs, threads)
    for block in _blocks(y, inputs):
        tiles = block.transform("inputs", x, padding)
        products = torch.bmm(tiles, filters, out=block.rows("products", outputs))
        block.restore("outputs", products, y)
    return y


@_operation("resnets::winograd_weight", schema="(Tensor x, Tensor gradient, int padding) -> Tensor")
def _weight_gradient(x: Tensor, gradient: Tensor, padding: int) -> Tensor:
    """Return the gradient ``K C 3 3`` of the filters, from that of the outputs, ``N K H W``."""
    _check(x, gradient, padding)
    sides = tuple(side + 2 * padding - 2 for side in x.shape[2:])
    _expect((gradient.shape[0], *gradient.shape[2:]) == (x.shape[0], *sides), "sizes agree")
    x = x.contiguous(memory_format=CHANNELS_LAST)
    gradient = gradient.contiguous(memory_format=CHANNELS_LAST)
    outputs, inputs = gradient.shape[1], x.shape[1]
    sums = _scratch("filters", POINTS, outputs, inputs).zero_()
    for block in _blocks(gradient, inputs):
        tiles = block.transform("inputs", x, padding)
        changes = block.transform("output_gradients", gradient, 0)
        torch.baddbmm(sums, changes.transpose(1, 2), tiles, out=sums)
    found, threads = _weights(x, gradient), torch.get_num_threads()
    address = found.data_ptr()
    library().transform_filter_gradients(sums.data_ptr(), address, outputs, inputs, threads)
    return found


def _check(x: Tensor, other: Tensor, padding: int) -> None:
    """Refuse what the transforms, which see addresses only, would take for something else."""
    _expect(x.dtype == other.dtype == torch.float32, "tensors are float32")
    _expect(x.dim() == other.dim() == 4, "tensors have four dimensions")
    _expect(padding in (0, 1, 2) and min(x.shape[2:]) + 2 * padding > 2, "a pixel comes out")


def _expect(held: bool, what: str) -> None:
    torch._check_value(held, lambda: f"in Winograd's convolution {what}")


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
        sides = (self.count, height, width, channels, self.down, self.across)
        threads = torch.get_num_threads()
        getattr(library(), f"transform_{name}")(source, target, *sides, padding, threads)


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


def forget() -> None:
    """Give back this thread's memory."""
    _memory.__dict__.clear()


def _scratch(name: str, *shape: int) -> Tensor:
    """Return memory of this thread, what it holds being anything; the same for the same name.

    It is kept, as the first touch of new memory takes longer than a transform.
    """
    size = torch.Size(shape).numel()
    kept = _memory.__dict__.get(name)
    if kept is None or kept.numel() < size:
        with torch.inference_mode(False):  # or it could not be written to outside of that mode
            kept = torch.empty(size, dtype=torch.float32, device="cpu")
            _memory.__dict__[name] = kept
    return kept[:size].view(shape)
