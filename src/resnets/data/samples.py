"""What a data source becomes: samples with ids and labels, in named splits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from resnets.data.tokens import Tokens
from resnets.files import printable

Labels = NDArray[np.int64]


class Reader(Protocol):
    """Gives the encoded image, or the pixels, of row `i`; cheap to copy to another process."""

    def read(self, i: int) -> Path | bytes | np.ndarray:
        """Return what `resnets.data.images.decode` takes."""
        ...

    def path(self, i: int) -> str:
        """Return what a person can open, e.g. ``photos/cat/1.jpg`` or ``table.parquet#row 17``.

        Bytes of a name that are no UTF-8 are written as ``\\xff``, so that it can be saved.
        """
        ...

    def token(self, i: int) -> str:
        """Return what changes with the content of row `i`: see `content_token`."""
        ...


@dataclass(frozen=True)
class FileReader:
    """Image files at `paths`, relative to `root` with forward slashes (or absolute)."""

    root: Path
    paths: tuple[str, ...] = field(repr=False)
    tokens: Tokens = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", Tokens(self.root, self.paths))

    def read(self, i: int) -> Path:
        return self.root / self.paths[i]

    def path(self, i: int) -> str:
        return printable(str(self.root / self.paths[i]))

    def token(self, i: int) -> str:
        return self.tokens[i]


@dataclass(frozen=True)
class ArrayReader:
    """Images of one or more arrays ``N H W [C]``, one array after the other, by row."""

    arrays: tuple[np.ndarray, ...] = field(repr=False)
    names: tuple[str, ...]

    def read(self, i: int) -> np.ndarray:
        array, row = self._locate(i)
        return np.asarray(self.arrays[array][row])

    def path(self, i: int) -> str:
        array, row = self._locate(i)
        return printable(f"{self.names[array]}#row {row}")

    def token(self, i: int) -> str:
        pixels = np.ascontiguousarray(self.read(i)).tobytes()
        return hashlib.blake2b(pixels, digest_size=8).hexdigest()

    def _locate(self, i: int) -> tuple[int, int]:
        for k, array in enumerate(self.arrays):
            if i < len(array):
                return k, i
            i -= len(array)
        raise IndexError(i)


@dataclass(frozen=True)
class SubsetReader:
    """The rows `rows` of another reader."""

    reader: Reader
    rows: NDArray[np.int64] = field(repr=False)

    def read(self, i: int) -> Path | bytes | np.ndarray:
        return self.reader.read(int(self.rows[i]))

    def path(self, i: int) -> str:
        return self.reader.path(int(self.rows[i]))

    def token(self, i: int) -> str:
        return self.reader.token(int(self.rows[i]))


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled images in a fixed order.

    Attributes:
        ids: one for each sample, unique and stable: the relative path with forward slashes, or
            ``row 17``.
        labels: int64 ``N``, an index into the classes of the dataset, or -1 where unknown.
        reader: gives sample `i` through `read`.
    """

    ids: tuple[str, ...] = field(repr=False)
    labels: Labels = field(repr=False)
    reader: Reader

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.ids),):
            raise ValueError(f"{len(self.ids)} ids, but labels of shape {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, i: int) -> Path | bytes | np.ndarray:
        """Return the encoded image or the pixels of sample `i`, as the decoder takes them."""
        return self.reader.read(i)

    def path(self, i: int) -> str:
        """Return what a person can open to see sample `i`."""
        return self.reader.path(i)

    def subset(self, indices: Sequence[int] | NDArray[Any]) -> Samples:
        """Return the samples at `indices` (numbers, or a mask of ``N`` booleans), in that order."""
        chosen = np.asarray(indices)
        chosen = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.int64)
        inner = self.reader
        reader = (
            SubsetReader(inner.reader, inner.rows[chosen])
            if isinstance(inner, SubsetReader)
            else SubsetReader(inner, chosen)
        )
        return Samples(tuple(self.ids[i] for i in chosen), self.labels[chosen], reader)

    def fingerprint(self) -> str:
        """Return 16 hex digits of SHA-256 over ids, labels and contents, whatever their order."""
        digests = np.empty(len(self), "S16")
        for i, name in enumerate(self.ids):
            line = f"{name}\0{self.labels[i]}\0{self.reader.token(i)}"
            encoded = line.encode("utf-8", "backslashreplace")
            digests[i] = hashlib.blake2b(encoded, digest_size=8).hexdigest()
        digests.sort()
        return hashlib.sha256(digests.tobytes()).hexdigest()[:16]

    def keys(self) -> NDArray[np.uint32]:
        """Return a short digest of each sample's content, by which it is known again.

        Whatever it is called, and wherever it has moved; what cannot be read goes by its id.
        """
        keys = np.empty(len(self), np.uint32)
        for i, name in enumerate(self.ids):
            text = self.reader.token(i) or name
            encoded = text.encode("utf-8", "backslashreplace")
            digest = hashlib.blake2b(encoded, digest_size=4).digest()
            keys[i] = int.from_bytes(digest, "little")
        return keys


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data source, opened: its classes and its splits. No image has been read.

    Attributes:
        name: short, for the name of a run.
        root: the path that was opened, or ``memory``.
        classes: sorted class names; a label is an index into them.
        splits: ``train``, ``val`` and ``test`` as far as there are such, and ``all``: every sample.
        ignored: how many of what was passed over, e.g. ``{"hidden files": 3}``.
        notes: remarks for the user, one line each.
        split_info: how the splits came about; fit for JSON.
    """

    name: str
    root: str
    classes: tuple[str, ...]
    splits: Mapping[str, Samples]
    ignored: Mapping[str, int]
    notes: tuple[str, ...]
    split_info: Mapping[str, object]

    def fingerprint(self) -> str:
        """Return what changes with the ids, labels, splits, classes and contents."""
        digest = hashlib.sha256()
        for name, samples in sorted(self.splits.items()):
            if name == "all":  # every sample of it is in another split: read no file twice
                continue
            digest.update(f"{name} {samples.fingerprint()}\n".encode())
        digest.update("\0".join(self.classes).encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Listing:
    """What a layout found, before splitting.

    Attributes:
        ids, reader: as in `Samples`; row `i` of the reader is ``ids[i]``.
        class_names: the class of each sample.
        split_names: ``train``, ``val`` or ``test`` for each sample, or None where the source has
            no splits.
        kind: what tells the splits apart: ``folders``, ``table`` or ``arrays``.
    """

    ids: tuple[str, ...]
    reader: Reader
    class_names: Sequence[str]
    split_names: Sequence[str] | None = None
    ignored: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    kind: str = "folders"
