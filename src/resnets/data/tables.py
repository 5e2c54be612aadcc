"""Tables of images: paths or bytes in one column, labels in another."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resnets.data.columns import (
    Columns,
    choose_columns,
    choose_split_columns,
    read_columns,
    read_schema,
)
from resnets.data.folders import SPLIT_NAMES
from resnets.data.labels import class_name, missing_label, name_labels
from resnets.data.parquet import BytesReader
from resnets.data.paths import list_paths
from resnets.data.samples import Listing, SubsetReader
from resnets.errors import UserError, did_you_mean
from resnets.files import printable


@dataclass
class _Rows:
    """The labelled rows of all files, one list item each.

    `numbers` are the rows of the reader, that is of all files one after the other; `places` name
    them to a person; `total` and `unlabelled` count rows, labelled or not.
    """

    paths: list[str | None] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    total: int = 0

    @property
    def unlabelled(self) -> int:
        return self.total - len(self.numbers)


def read_tables(
    files: Sequence[tuple[Path, str]],
    path_column: str | None = None,
    label_column: str | None = None,
) -> Listing:
    """List the images of table files in one folder; each comes with its split, or with ``""``.

    Paths in a table are relative to its folder.

    Raises:
        UserError: for an unreadable table, columns that are missing or ambiguous, missing labels,
            files that do not exist, and an image with two labels or in two splits.
    """
    paths = tuple(file for file, _ in files)
    columns = [choose_columns(file, path_column, label_column) for file in paths]
    if len({(chosen.image, chosen.in_bytes) for chosen in columns}) > 1:
        names = ", ".join(file.name for file in paths)
        raise UserError(f"{names} differ in their image column: open them one by one")
    rows = _Rows()
    for (file, split), chosen in zip(files, columns, strict=True):
        _append(rows, file, split, chosen, alone=len(files) == 1)
    if not rows.numbers:
        raise UserError(f"{paths[0]} has no labelled rows: a row for each image is needed")
    listing = (
        _list_bytes(rows, BytesReader(paths, columns[0].image))
        if columns[0].in_bytes
        else _list_files(rows, paths[0])
    )
    unlabelled = {"rows without a label": rows.unlabelled} if rows.unlabelled else {}
    return replace(listing, kind="table", ignored={**listing.ignored, **unlabelled})


def read_split_table(file: Path) -> dict[str, str]:
    """Read which sample is in which split, from the columns ``id`` or ``path``, and ``split``.

    Raises:
        UserError: for an unreadable table, a missing column, or an unknown split.
    """
    names = choose_split_columns(file)
    ids, splits = read_columns(file, names).select(names).columns
    return dict(zip(ids.to_pylist(), _split_names(splits, file), strict=True))


def read_values(
    file: Path,
    column: str,
    ids: Sequence[str],
    path_column: str | None = None,
    label_column: str | None = None,
) -> list[str]:
    """Read a further column of a table, as text, for the samples `ids` that `read_tables` made of
    it; empty where there is no value. Of an image that has several rows the first one counts.

    Raises:
        UserError: for an unreadable table, or one without that column.
    """
    names = read_schema(file).names
    if column not in names:
        near = did_you_mean(column, names)
        raise UserError(f"{file} has no column {column!r} (columns: {', '.join(names)}){near}")
    chosen = choose_columns(file, path_column, label_column)
    source = f"{chosen.image}.path" if chosen.in_bytes else chosen.image
    table = read_columns(file, list(dict.fromkeys([column] + [source] * chosen.has_paths)))
    values = ["" if value is None else str(value) for value in table.column(column).to_pylist()]
    paths = _paths(table, chosen, file) if chosen.has_paths else []
    found = {f"row {i}": value for i, value in enumerate(values)}
    by_path: dict[str, str] = {}
    for path, value in zip(paths, values, strict=False):
        name = path if chosen.in_bytes else path and posixpath.normpath(path)
        by_path.setdefault(printable(name or ""), value)
    found |= by_path
    return [found[name] for name in ids]


def _append(rows: _Rows, file: Path, split: str, columns: Columns, alone: bool) -> None:
    source = f"{columns.image}.path" if columns.in_bytes else columns.image
    own_split = columns.split if not split else None
    wanted = (source if columns.has_paths else None, columns.label, own_split)
    table = read_columns(file, [name for name in wanted if name])
    count = table.num_rows
    if not count:
        return
    paths = _paths(table, columns, file) if columns.has_paths else [None] * count
    names = _class_names(table.column(columns.label), columns, file)
    splits = _split_names(table.column(own_split), file) if own_split else [split] * count
    for i, name in enumerate(names):
        if name is not None:
            rows.paths.append(paths[i])
            rows.class_names.append(name)
            rows.splits.append(splits[i])
            rows.places.append(f"row {i}" if alone else f"{file.name}#row {i}")
            rows.numbers.append(rows.total + i)
    rows.total += count


def _paths(table: pa.Table, columns: Columns, file: Path) -> list[str | None]:
    values = table.column(columns.image)
    if columns.in_bytes:
        values = pc.struct_field(values, "path")
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        raise UserError(
            f"column {columns.image!r} of {file} holds {values.type}: paths or encoded images "
            "(binary) are needed"
        )
    return list(values.to_pylist())


def _class_names(values: pa.ChunkedArray, columns: Columns, file: Path) -> list[str | None]:
    """Return the class of each row; None where a named label is -1, which means unknown."""
    where = f"column {columns.label!r} of {file}"
    if values.null_count:
        raise missing_label(where, pc.index(pc.is_null(values), True).as_py())
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if columns.names is None or not pa.types.is_integer(values.type):
        return list(name_labels(np.asarray(values.to_pylist()), where))
    known: dict[int, str | None] = dict(enumerate(map(class_name, columns.names)))
    known[-1] = None
    strange = set(values.unique().to_pylist()) - known.keys()
    if strange:
        raise UserError(
            f"{where} holds {min(strange)}, but its metadata names {len(columns.names)} classes"
        )
    return [known[value] for value in values.to_pylist()]


def _split_names(values: pa.ChunkedArray, file: Path) -> list[str]:
    names = []
    for row, value in enumerate(values.to_pylist()):
        if str(value).casefold() not in SPLIT_NAMES:
            raise UserError(
                f"the split column of {file} holds {value!r} in row {row} (from 0): "
                "use train, val or test"
            )
        names.append(SPLIT_NAMES[str(value).casefold()])
    return names


def _list_bytes(rows: _Rows, reader: BytesReader) -> Listing:
    # Paths are the better ids, as they stay when rows are added; if only they are all different.
    paths = [printable(path) for path in rows.paths if path]
    return Listing(
        ids=tuple(paths if len(set(paths)) == len(rows.paths) else rows.places),
        reader=SubsetReader(reader, np.asarray(rows.numbers)) if rows.unlabelled else reader,
        class_names=rows.class_names,
        split_names=rows.splits if any(rows.splits) else None,
    )


def _list_files(rows: _Rows, file: Path) -> Listing:
    for path, place in zip(rows.paths, rows.places, strict=True):
        if not path:
            raise UserError(f"{file} has no path in {place} (from 0): fill it in, or remove it")
    return list_paths(
        file.parent,
        [path for path in rows.paths if path],
        rows.class_names,
        rows.splits if any(rows.splits) else None,
        str(file),
        rows.places,
    )
