"""ONNX: initialisers (and Constant nodes) as tensors, the graph as data.

Tensors may lie in a file beside the model, as torch's exporter puts them; nowhere else.

Facts: ``nodes`` (op, name, inputs, outputs and attributes that are numbers or text, in the order of
the graph), ``inputs`` and ``outputs`` (name and shape; None is an unknown size), ``opsets``,
``producer`` and ``metadata``.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from resnets.errors import UserError
from resnets.extras import library
from resnets.weights.readers.foreign import Content, Facts, Gathered, shown

Proto: TypeAlias = Any
"""A message of protobuf, which has no types."""

MAX_BYTES = 2**31 - 1
DEFAULT_DOMAINS = ("", "ai.onnx")

# By the number of the data type in onnx.proto: the dtype, and the field that holds its values where
# they are not raw bytes. Numbers of 16 bits lie as bits in a field of 32.
DTYPES: dict[int, tuple[torch.dtype, str]] = {
    1: (torch.float32, "float_data"),
    6: (torch.int32, "int32_data"),
    7: (torch.int64, "int64_data"),
    10: (torch.float16, "int32_data"),
    11: (torch.float64, "double_data"),
    16: (torch.bfloat16, "int32_data"),
}
BITS_16 = (torch.float16, torch.bfloat16)

# By the number of the attribute type in onnx.proto.
TENSOR = 4
VALUES: dict[int, Callable[[Proto], Any]] = {
    1: lambda a: a.f,
    2: lambda a: a.i,
    3: lambda a: _text(a.s),
    6: lambda a: list(a.floats),
    7: lambda a: list(a.ints),
    8: lambda a: [_text(s) for s in a.strings],
}


def read(path: Path) -> Content:
    """Read an ONNX model.

    Raises:
      UserError: the package onnx is missing; weights are stored outside the model's folder; or it
        has graphs within its graph, functions of its own, or sparse weights.
    """
    onnx = library("onnx", "export", f"{path}: reading it")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: larger than ONNX's 2 GiB")
    data = path.read_bytes()
    model = onnx.ModelProto.FromString(data)
    graph = model.graph
    if not (graph.node and graph.output and model.opset_import):  # the last of which comes last
        raise UserError(f"{path}: truncated or damaged (no graph, or of no version)")
    if graph.sparse_initializer or model.functions:
        raise UserError(f"{path}: has sparse weights or functions of its own, which are not read")
    into = Gathered(path, len(data) + sum(_beside(path, graph).values()))
    for stored in graph.initializer:
        _take(into, stored.name, stored)
    nodes = [_node(into, node) for node in graph.node]
    inputs = [value for value in graph.input if value.name not in into.tensors]
    return into.tensors, {
        "nodes": nodes,
        "inputs": _values(inputs),
        "outputs": _values(graph.output),
        "opsets": {opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
    }


def _node(into: Gathered, node: Proto) -> Facts:
    attributes = {}
    for attribute in node.attribute:
        if attribute.type in VALUES:
            attributes[attribute.name] = VALUES[attribute.type](attribute)
        elif attribute.type == TENSOR and node.op_type == "Constant":
            _take(into, node.output[0], attribute.t)
        else:
            raise UserError(
                f"{into.path}: {shown(node.op_type)} {shown(node.name)} has an attribute "
                f"{shown(attribute.name)} that is neither numbers nor text"
            )
    default = node.domain in DEFAULT_DOMAINS
    return {
        "op": node.op_type if default else f"{node.domain}.{node.op_type}",
        "name": node.name,
        "inputs": list(node.input),
        "outputs": list(node.output),
        "attributes": attributes,
    }


def _values(values: Iterable[Proto]) -> list[Facts]:
    return [{"name": value.name, "shape": _shape(value.type.tensor_type)} for value in values]


def _shape(kind: Proto) -> list[int | None]:
    return [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]


def _beside(path: Path, graph: Proto) -> dict[str, int]:
    """Return the files beside a model that hold tensors of its graph, and their sizes."""
    named = {_place(stored).get("location", "") for stored in graph.initializer if _is_out(stored)}
    return {name: os.lstat(path.parent / name).st_size for name in named if _is_beside(path, name)}


def _is_out(stored: Proto) -> bool:
    return bool(stored.data_location or stored.external_data)


def _place(stored: Proto) -> dict[str, str]:
    return {entry.key: entry.value for entry in stored.external_data}


def _is_beside(path: Path, name: str) -> bool:
    """Tell whether a name is that of a file in the model's own folder, and of no link."""
    bare = name not in ("", ".", "..") and not set(name) & set("/\\:\0")
    try:
        return bare and stat.S_ISREG(os.lstat(path.parent / name).st_mode)
    except (OSError, ValueError):
        return False


def _read_beside(into: Gathered, name: str, stored: Proto, size: int) -> bytes:
    """Return the `size` bytes of a tensor that is stored in a file beside the model."""
    place = _place(stored)
    location = place.get("location", "")
    if not _is_beside(into.path, location):
        into.refuse(
            name,
            f"is stored in {shown(location)}, which is no file beside {into.path.name}; no other "
            "is opened",
        )
    offset, length = int(place.get("offset") or 0), int(place.get("length") or size)
    if offset < 0 or length != size:
        into.refuse(name, f"takes {size} bytes, and {length} are stored (damaged)")
    with (into.path.parent / location).open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _take(into: Gathered, name: str, stored: Proto) -> None:
    kind, field = DTYPES.get(stored.data_type, (f"number {stored.data_type}", ""))
    shape = list(stored.dims)
    dtype = into.expect(name, kind, shape)
    raw = stored.raw_data
    if _is_out(stored):
        raw = _read_beside(into, name, stored, math.prod(shape) * dtype.itemsize)
    values = _raw(raw, dtype) if raw else _typed(stored, field, dtype)
    if values.numel() != math.prod(shape):
        into.refuse(name, f"of shape {shape} has {values.numel()} values (damaged)")
    into.add(name, values.reshape(shape))


def _raw(data: bytes, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=dtype)


def _typed(stored: Proto, field: str, dtype: torch.dtype) -> Tensor:
    values = list(getattr(stored, field))
    if dtype in BITS_16:
        return torch.from_numpy(np.array(values, np.uint16).view(np.int16)).view(dtype)
    return torch.tensor(values, dtype=dtype)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
