"""HDF5 in the narrow way that Keras writes it: groups, plain arrays and short attributes.

The HDF5 library is not used: one changed byte sends it into an endless loop, files can make it open
other files and load plug-ins, and here nothing needs what it can do beyond this. What leads out of
the file, or is packed, cut into chunks or built of other types, is refused.

Source: HDF5 File Format Specification 3.0 (section and message numbers below are its). Sizes in
bytes; all numbers are little-endian, addresses and lengths have eight bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from struct import Struct

from resnets.errors import UserError
from resnets.weights.readers.foreign import shown

SUPERBLOCK = Struct("<8s5x2B9xQ8xQ16xQ")  # II.A, version 0: the root group's entry is last
HEADER = Struct("<BxHII4x")  # IV.A.1.a: an object
MESSAGE = Struct("<HHB3x")
TREE = Struct("<4sBBH16x")  # III.A.1: a version 1 B-tree
HEAP = Struct("<4sB3xQ8xQ")  # III.D: a local heap
SYMBOLS = Struct("<4sBxH")  # III.B: a symbol table node
SYMBOL = Struct("<QQI20x")
COLLECTION = Struct("<4sB3xQ")  # III.E: a global heap
HEAP_OBJECT = Struct("<H6xQ")
REFERENCE = Struct("<IQI")  # to an object in a global heap: its length, heap and number
ADDRESSES = Struct("<QQ")

DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL = 0x01, 0x02, 0x03, 0x06, 0x07
LAYOUT, FILTERS, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE = 0x08, 0x0B, 0x0C, 0x10, 0x11
SOFT = 2
MAX_MEMBERS = 100_000
MAX_NAME = 1_000


@dataclass(frozen=True)
class Datatype:
    """A datatype message (IV.A.2.d): class, its bits, and what else describes it."""

    kind: int
    bits: int
    size: int
    properties: bytes


@dataclass(frozen=True)
class Array:
    """A datatype, a shape and the bytes of the values, of which there may be too few."""

    datatype: Datatype
    shape: tuple[int, ...]
    data: memoryview

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Node:
    """A group or a dataset.

    Its methods raise UserError where it is of a kind that is not read, and ValueError, IndexError
    or struct.error where it is damaged.
    """

    def __init__(self, file: File, address: int, name: str) -> None:
        self.file, self.name = file, name
        self._messages = list(file.messages(address))

    def find(self, kind: int) -> memoryview | None:
        return next(self.all(kind), None)

    def all(self, kind: int) -> Iterator[memoryview]:
        return (body for number, body in self._messages if number == kind)

    def has(self, name: str) -> bool:
        return name in self.addresses

    def child(self, path: str) -> Node:
        """Return a member, or one of a member's and so on (``a/b``)."""
        node = self
        for name in path.split("/"):
            if name not in node.addresses:
                raise self.file.error(f"damaged (no {shown(name)} in {shown(node.name)})")
            node = self.file.node(node.addresses[name], name)
        return node

    @cached_property
    def addresses(self) -> dict[str, int]:
        """Where the members of a group are, by name; empty for a dataset."""
        if self.find(LINK) or self.find(LINK_INFO):  # where external links are, among others
            raise self.file.error(f"{shown(self.name)} has links that may lead out of the file")
        table = self.find(SYMBOL_TABLE)
        return dict(self.file.symbols(*ADDRESSES.unpack_from(table))) if table else {}

    @cached_property
    def attributes(self) -> dict[str, Array]:
        return dict(map(self.file.attribute, self.all(ATTRIBUTE)))

    def array(self) -> Array:
        """Return what a dataset holds. Raises UserError where that is not one run of bytes."""
        space, datatype, layout = map(self.find, (DATASPACE, DATATYPE, LAYOUT))
        if not (space and datatype and layout):
            raise self.file.error(f"{shown(self.name)} is no array")
        if self.find(EXTERNAL):
            raise self.file.error(f"{shown(self.name)} is stored in another file")
        if self.find(FILTERS):
            raise self.file.error(f"{shown(self.name)} is packed, which Keras does not do")
        version, kind = layout[0], layout[1]
        if version != 3 or kind > 1:
            raise self.file.error(f"{shown(self.name)} is stored in pieces or in other files")
        if kind == 0:
            data = layout[4 : 4 + int.from_bytes(layout[2:4], "little")]
        else:
            address, size = ADDRESSES.unpack_from(layout, 2)
            data = self.file.at(address, size) if size else layout[:0]
        return Array(_datatype(datatype), _shape(space), data)


class File:
    """An HDF5 file in memory; `path` is for messages."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self._data = memoryview(data)
        if data[8]:
            raise self.error("in HDF5's newer layout (libver), which Keras does not write")
        _, offsets, lengths, base, end, root = SUPERBLOCK.unpack_from(data)
        if (offsets, lengths, base) != (8, 8, 0):
            raise self.error("in a layout of HDF5 that Keras does not write")
        if end > len(data):
            raise self.error(f"truncated ({len(data)} of {end} bytes)")
        self._nodes: dict[int, Node] = {}
        self._heaps: dict[int, dict[int, memoryview]] = {}
        self._text_room = len(data)
        self.root = self.node(root, "/")

    def node(self, address: int, name: str) -> Node:
        if address not in self._nodes:
            self._nodes[address] = Node(self, address, name)
        return self._nodes[address]

    def error(self, what: str) -> UserError:
        return UserError(f"{self.path}: {what}")

    def at(self, address: int, size: int) -> memoryview:
        """Return bytes of the file. Raises ValueError where it has not so many."""
        if address + size > len(self._data):
            raise ValueError(f"address {address} is outside the file")
        return self._data[address : address + size]

    def _read(self, layout: Struct, address: int, magic: bytes = b"") -> tuple[int, ...]:
        values = layout.unpack(self.at(address, layout.size))
        if magic and values[0] != magic:
            raise ValueError(f"no {magic.decode()} at address {address}")
        return values[1:] if magic else values

    def messages(self, address: int) -> Iterator[tuple[int, memoryview]]:
        """Yield the messages of an object's header, and of the blocks that continue it."""
        version, count, _, size = self._read(HEADER, address)
        if version != 1:
            raise ValueError(f"no object at address {address}")
        blocks = [(address + HEADER.size, size)]
        for start, size in blocks:  # which grows meanwhile
            end = start + size
            while start + MESSAGE.size <= end and count:
                count -= 1
                kind, length, flags = self._read(MESSAGE, start)
                body = self.at(start + MESSAGE.size, length)
                if flags & 2 and kind in (DATASPACE, DATATYPE, FILTERS, ATTRIBUTE):
                    raise self.error("has shared types, which Keras does not write")
                if kind == CONTINUATION:
                    blocks.append(ADDRESSES.unpack_from(body))
                yield kind, body
                start += MESSAGE.size + length

    def symbols(self, tree: int, heap: int) -> Iterator[tuple[str, int]]:
        """Yield name and address of a group's members; raise UserError at a soft link."""
        _, size, start = self._read(HEAP, heap, b"HEAP")
        names = bytes(self.at(start, size))
        room = iter(range(MAX_MEMBERS))
        for leaf in self._leaves(tree, set()):
            _, count = self._read(SYMBOLS, leaf, b"SNOD")
            for number in range(count):
                if next(room, None) is None:
                    raise ValueError("a group with too many members")
                place = leaf + SYMBOLS.size + number * SYMBOL.size
                offset, address, cached = self._read(SYMBOL, place)
                name = names[offset : names.index(0, offset, offset + MAX_NAME)].decode()
                if cached == SOFT:
                    raise self.error(f"{shown(name)} is a link, which may lead out of the file")
                yield name, address

    def _leaves(self, address: int, seen: set[int]) -> Iterator[int]:
        _, level, count = self._read(TREE, address, b"TREE")
        for number in range(count):
            _, child = self._read(ADDRESSES, address + TREE.size + number * ADDRESSES.size)
            if child in seen:
                raise ValueError("a tree with a loop")
            seen.add(child)
            if level:
                yield from self._leaves(child, seen)
            else:
                yield child

    def attribute(self, body: memoryview) -> tuple[str, Array]:
        """Parse an attribute message (IV.A.2.m), versions 1 to 3."""
        version = body[0]
        if version > 1 and body[1]:
            raise self.error("has shared types, which Keras does not write")
        sizes = [int.from_bytes(body[i : i + 2], "little") for i in (2, 4, 6)]
        place = 9 if version == 3 else 8
        parts = []
        for size in sizes:
            parts.append(body[place : place + size])
            place += -(-size // 8) * 8 if version == 1 else size
        name, datatype, space = parts
        text = bytes(name).partition(b"\0")[0].decode()
        return text, Array(_datatype(datatype), _shape(space), body[place:])

    def heap_object(self, reference: bytes | memoryview) -> bytes:
        """Return the bytes of a value of variable length."""
        length, heap, number = REFERENCE.unpack(reference)
        if not length:
            return b""
        if heap not in self._heaps:
            self._heaps[heap] = dict(self._heap_objects(heap))
        found = self._heaps[heap].get(number, b"")
        self._text_room -= length  # as many references may go to one text
        if length > len(found) or self._text_room < 0:
            raise ValueError("a text is longer than its place")
        return bytes(found[:length])

    def _heap_objects(self, heap: int) -> Iterator[tuple[int, memoryview]]:
        _, size = self._read(COLLECTION, heap, b"GCOL")
        place, end = heap + COLLECTION.size, heap + size
        while place + HEAP_OBJECT.size <= end:
            number, size = self._read(HEAP_OBJECT, place)
            if number == 0:  # free space, which is last
                break
            yield number, self.at(place + HEAP_OBJECT.size, size)
            place += HEAP_OBJECT.size + -(-size // 8) * 8


def _datatype(body: memoryview) -> Datatype:
    bits = int.from_bytes(body[1:4], "little")
    size = int.from_bytes(body[4:8], "little")
    return Datatype(body[0] & 15, bits, size, bytes(body[8:]))


def _shape(body: memoryview) -> tuple[int, ...]:
    """Parse a dataspace message (IV.A.2.b), versions 1 and 2."""
    version, rank = body[0], body[1]
    if version == 2 and body[3] == 2:  # "null": no values at all
        return (0,)
    start = 8 if version == 1 else 4
    sizes = [body[start + 8 * axis : start + 8 * axis + 8] for axis in range(rank)]
    if any(len(size) < 8 for size in sizes):
        raise ValueError("a shape is cut short")
    return tuple(int.from_bytes(size, "little") for size in sizes)
