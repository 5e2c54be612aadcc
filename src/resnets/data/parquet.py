"""Images kept as bytes in Parquet files: the layout of Hugging Face datasets."""

from __future__ import annotations

import json
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from threading import Lock

import pyarrow as pa
import pyarrow.parquet as pq

from resnets.data.tokens import content_token

CACHE_BYTES = 256 * 2**20


class BytesReader:
    """The image column `column` of Parquet files, one file after the other, by row.

    Row groups are read when first asked for; as many stay in memory as fit into `CACHE_BYTES`,
    and at least one. Threads that want the same group wait for one of them to read it. A row
    becomes a Python object only when it is read. No file stays open, and a copy sent to another
    process takes the file names only.
    """

    def __init__(self, files: tuple[Path, ...], column: str) -> None:
        self.files = files
        self.column = column
        self._groups: list[tuple[int, int]] = []
        file_rows, group_rows, sizes = [0], [0], [1]
        for k, file in enumerate(files):
            meta = pq.read_metadata(file)
            file_rows.append(meta.num_rows)
            for g in range(meta.num_row_groups):
                self._groups.append((k, g))
                group_rows.append(meta.row_group(g).num_rows)
                sizes.append(_bytes_of(meta.row_group(g), column))
        self._file_starts = list(accumulate(file_rows))
        self._group_starts = list(accumulate(group_rows))
        self._group = lru_cache(maxsize=max(1, CACHE_BYTES // max(sizes)))(self._load)
        self._loading = tuple(Lock() for _ in self._groups)

    def __reduce__(self) -> tuple[type[BytesReader], tuple[tuple[Path, ...], str]]:
        return BytesReader, (self.files, self.column)

    def __repr__(self) -> str:
        return f"BytesReader({self.files!r}, {self.column!r})"

    def read(self, i: int) -> bytes | Path:
        """Return the bytes of row `i`, or the file where the row holds a path and no bytes."""
        g = bisect_right(self._group_starts, i) - 1
        with self._loading[g]:
            group = self._group(g)
        value = group[i - self._group_starts[g]].as_py()
        content, path = (
            (value["bytes"], value.get("path")) if isinstance(value, dict) else (value, None)
        )
        if content is None and path:
            return self.files[self._groups[g][0]].parent / str(path)
        return bytes(content or b"")

    def token(self, i: int) -> str:
        content = self.read(i)
        return content_token(content, len(content)) if isinstance(content, bytes) else content.name

    def path(self, i: int) -> str:
        k = bisect_right(self._file_starts, i) - 1
        return f"{self.files[k]}#row {i - self._file_starts[k]}"

    def _load(self, g: int) -> pa.ChunkedArray:
        k, group = self._groups[g]
        with pq.ParquetFile(self.files[k], memory_map=True) as file:
            # Arrow's own threads do not survive the fork of a loader's worker.
            return file.read_row_group(group, columns=[self.column], use_threads=False).column(0)


def is_image_type(kind: pa.DataType) -> bool:
    """True for the types that hold encoded images: binary, or a struct with a `bytes` field."""
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def class_label_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """Return the ClassLabel names that Hugging Face keeps in the metadata, if there are any."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(map(str, names))


def _bytes_of(group: pq.RowGroupMetaData, column: str) -> int:
    chunks = (group.column(c) for c in range(group.num_columns))
    return sum(
        c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] == column
    )
