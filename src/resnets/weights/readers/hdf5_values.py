"""Values in HDF5: the texts and tensors of an array."""

from __future__ import annotations

from struct import Struct

import numpy as np
import torch
from torch import Tensor

from resnets.weights.readers.foreign import Gathered
from resnets.weights.readers.hdf5 import REFERENCE, Array, Datatype, Node

MAX_TEXTS = 100_000

INTEGER, FLOAT, TEXT, OPAQUE, VARIABLE = 0, 1, 3, 5, 9
KINDS = {INTEGER: "integer", FLOAT: "float", TEXT: "text", OPAQUE: "opaque", 6: "compound"}
BIG_ENDIAN, SIGNED, VAX = 0x01, 0x08, 0x40  # bits of a datatype

NUMBERS = {INTEGER: Struct("<HH"), FLOAT: Struct("<HHBBBBI")}
# By what HDF5 says of a number: bytes, first bit, bits, and of a float the place and size of the
# exponent and of the mantissa, and the exponent's bias.
DTYPES: dict[tuple[int, ...], torch.dtype] = {
    (4, 0, 32): torch.int32,
    (8, 0, 64): torch.int64,
    (2, 0, 16, 10, 5, 0, 10, 15): torch.float16,
    (2, 0, 16, 7, 8, 0, 7, 127): torch.bfloat16,
    (4, 0, 32, 23, 8, 0, 23, 127): torch.float32,
    (8, 0, 64, 52, 11, 0, 52, 1023): torch.float64,
}


def texts(node: Node, name: str) -> list[str] | None:
    """Return an attribute that is an array of texts, or one; None where it is missing.

    An attribute holds 64 KiB, so Keras cuts longer arrays: ``name0``, ``name1``, ….
    """
    if name in node.attributes:
        return _texts(node, name)
    parts: list[str] = []
    while (part := f"{name}{len(parts)}") in node.attributes:
        parts.append(part)
    return [text for part in parts for text in _texts(node, part)] if parts else None


def text(node: Node, name: str) -> str | None:
    """Return an attribute that is one text; None where it is missing."""
    found = texts(node, name)
    return found[0] if found else None


def _texts(node: Node, name: str) -> list[str]:
    array = node.attributes[name]
    kind, size = array.datatype.kind, array.datatype.size
    if array.size == 0:  # whatever the type: Keras writes an empty list as numbers
        return []
    # A few bytes can declare more values than memory holds.
    if array.size > MAX_TEXTS or array.size * size > len(array.data):
        raise node.file.error(f"damaged (the attribute {name} is too long)")
    values = [array.data[i : i + size] for i in range(0, array.size * size, size)]
    if kind == TEXT:
        return [bytes(value).partition(b"\0")[0].decode().rstrip() for value in values]
    if kind == VARIABLE and array.datatype.bits & 15 == 1 and size == REFERENCE.size:
        return [node.file.heap_object(value).decode() for value in values]
    raise node.file.error(f"damaged (the attribute {name} is not text)")


def take(into: Gathered, name: str, node: Node) -> None:
    """Gather a dataset. Raises UserError where it is not a plain array of numbers."""
    array = node.array()
    dtype = into.expect(name, _dtype(node, array.datatype), array.shape)
    size = array.size * dtype.itemsize
    if len(array.data) < size:
        into.refuse(name, "has not all its values (truncated or damaged)")
    into.add(name, _tensor(array, dtype, size))


def _tensor(array: Array, dtype: torch.dtype, size: int) -> Tensor:
    # As integers, which numpy has for every dtype, and by which bytes come in this machine's order.
    order = ">" if array.datatype.bits & BIG_ENDIAN else "<"
    stored = np.frombuffer(array.data[:size], f"{order}i{dtype.itemsize}")
    native = stored.astype(stored.dtype.newbyteorder("="))
    return torch.from_numpy(native).view(dtype).reshape(array.shape)


def _dtype(node: Node, stored: Datatype) -> torch.dtype | str:
    unsigned = stored.kind == INTEGER and not stored.bits & SIGNED
    if stored.kind in NUMBERS and not unsigned and not stored.bits & VAX:
        key = (stored.size, *NUMBERS[stored.kind].unpack_from(stored.properties))
        return DTYPES.get(key, f"{KINDS[stored.kind]} of an odd kind")
    # HDF5 has had no bfloat16; Keras writes two opaque bytes, and says so beside them.
    if stored.kind == OPAQUE and stored.size == 2 and text(node, "dtype") == "bfloat16":
        return torch.bfloat16
    return f"{KINDS.get(stored.kind, 'object')} of {stored.size} bytes"
