"""What a reader hands back, and the checks that every tensor passes whatever its format."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import torch
from torch import Tensor

from resnets.errors import UserError

MAX_BYTES = 8 * 2**30
SLACK = 2**20
RATIO = 4
"""Tensors may take this many times the bytes of what they are read from (tied ones come twice)."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.int32, torch.int64)
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.")

Facts: TypeAlias = dict[str, Any]
Content: TypeAlias = tuple[Mapping[str, Tensor], Facts]


@dataclass(frozen=True)
class Foreign:
    """A checkpoint that another library wrote: names and tensors as stored, and what it says.

    `format` is ``torch``, ``safetensors``, ``h5``, ``keras`` or ``onnx``; `tensors` are on the CPU,
    in the file's order, neither transposed nor cast; `facts` are JSON-like, and differ by format:
    each reader's module says which.
    """

    path: Path
    format: str
    tensors: Mapping[str, Tensor] = field(repr=False)
    facts: Mapping[str, Any] = field(repr=False)


class Gathered:
    """The tensors of one file, checked: dtype and size before they are read, values after.

    Args:
      path: the file, for messages.
      size: bytes of what the tensors are read from.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.tensors: dict[str, Tensor] = {}
        self._room = min(MAX_BYTES, RATIO * size + SLACK)

    def expect(self, name: str, dtype: torch.dtype | str, shape: Sequence[int]) -> torch.dtype:
        """Return the dtype of a tensor that may be read, by what is declared of it; else refuse it.

        `dtype` is text where torch has no such dtype.
        """
        if name in self.tensors:
            self.refuse(name, "comes twice")
        if not isinstance(dtype, torch.dtype) or dtype not in (*FLOATS, *INTEGERS):
            self.refuse(name, f"has dtype {_dtype_name(dtype)}, and weights are floating-point")
        if dtype in INTEGERS and len(shape) > 1:
            self.refuse(name, f"has integers ({_dtype_name(dtype)}): only counters may")
        if min(shape, default=0) < 0:
            self.refuse(name, f"has shape {list(shape)}")
        self._room -= math.prod(shape) * dtype.itemsize
        if self._room < 0:
            self.refuse(name, f"of shape {list(shape)} is more than such a file can hold")
        return dtype

    def add(self, name: str, tensor: Tensor) -> None:
        """Take a tensor; refuse it if a value is not a finite number."""
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            self.refuse(name, "holds NaN or infinity")
        self.tensors[name] = tensor

    def refuse(self, name: str, why: str) -> NoReturn:
        raise UserError(f"{self.path}: tensor {shown(name)} {why}"[:600])


def _dtype_name(dtype: torch.dtype | str) -> str:
    return str(dtype).removeprefix("torch.")


def shown(name: object) -> str:
    """Return a name from a file fit for one line: control characters escaped, and not too long."""
    return repr(str(name))[1:-1][:100]


def one_line(error: BaseException) -> str:
    """Return the message of a library's exception as one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def strip_prefix(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Take off what wrappers put before every name; return the tensors and what was taken off.

    DataParallel puts ``module.``, torch.compile ``_orig_mod.``, a trainer's class ``model.`` or
    ``backbone.``; they nest in any order.
    """
    taken = ""
    while shared := [prefix for prefix in PREFIXES if _all_have(taken + prefix, tensors)]:
        taken += shared[0]
    return {name[len(taken) :]: tensor for name, tensor in tensors.items()}, taken


def _all_have(prefix: str, names: Iterable[str]) -> bool:
    return all(name.startswith(prefix) and name != prefix for name in names)


def parse_json(text: str | bytes) -> Any:
    """Parse strict JSON. Raises ValueError, for Python's NaN and Infinity too."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)
