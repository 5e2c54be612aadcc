"""What is wrong with the rows of a table of photos."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnets.audit.findings import Findings
from resnets.data.columns import SUFFIXES, choose_columns, read_columns, read_schema
from resnets.data.folders import look, split_of
from resnets.data.scan import is_hidden
from resnets.data.tables import read_tables
from resnets.errors import UserError, did_you_mean
from resnets.files import printable


@dataclass(frozen=True)
class Row:
    """A row of a table of paths: `place` names it to people; the file may not exist."""

    place: str
    path: str
    label: str
    split: str
    exists: bool


def find_table(path: Path) -> Path | None:
    """Return the one table that `path` is, or that a folder without class folders holds."""
    if path.is_file():
        return path if path.suffix.lower() in SUFFIXES else None
    try:
        names = [n for n in os.listdir(path) if not is_hidden(n)]
        bare = not look(path).candidates
    except (OSError, UserError):
        return None
    tables = [path / n for n in names if os.path.splitext(n)[1].lower() in SUFFIXES]
    return tables[0] if len(tables) == 1 and bare else None


def table_rows(
    file: Path, path_column: str | None = None, label_column: str | None = None
) -> list[Row]:
    """Return the rows of a table of paths as they are; nothing for a table that holds the images.

    Raises:
      UserError: the table or its columns cannot be read.
    """
    columns = choose_columns(file, path_column, label_column)
    if columns.in_bytes:
        return []
    names = [name for name in (columns.image, columns.label, columns.split) if name]
    table = read_columns(file, names)
    values = {name: [_text(v) for v in table.column(name).to_pylist()] for name in names}
    blank = [""] * table.num_rows
    rows = zip(
        values[columns.image],
        values[columns.label],
        values[columns.split] if columns.split else blank,
        strict=True,
    )
    found = []
    for number, (path, label, split) in enumerate(rows):
        path = posixpath.normpath(path) if path else ""
        exists = bool(path) and os.path.exists(os.path.join(file.parent, path))
        found.append(Row(f"row {number}", path, label, split, exists))
    return found


def check_table(rows: Sequence[Row], findings: Findings) -> None:
    """Add what is wrong with the rows, counted from 0."""
    named: dict[str, Row] = {}
    splits = any(row.split for row in rows)
    for row in rows:
        faults: Mapping[str, bool] = {
            "row-no-path": not row.path,
            "row-no-label": not row.label,
            "row-bad-split": splits and not split_of(row.split),
            "row-no-file": bool(row.path) and not row.exists,
            "row-outside": row.path.startswith(("../", "/")),
        }
        for kind in (kind for kind, there in faults.items() if there):
            findings.add(kind, row.place, detail=row.path or row.label)
        first = named.setdefault(row.path, row)
        if first is row or not row.path:
            continue
        again: Mapping[str, bool] = {
            "row-two-labels": first.label != row.label,
            "row-two-splits": split_of(first.split) != split_of(row.split),
        }
        different = [kind for kind, there in again.items() if there] or ["row-repeated"]
        for kind in different:
            findings.add(kind, first.place, row.place, detail=row.path)


def group_column(
    file: Path, column: str, path_column: str | None = None, label_column: str | None = None
) -> dict[str, str]:
    """Return what a column says of each photo of a table, by the photo's id.

    Raises:
      UserError: the table has no such column, or cannot be read.
    """
    known = read_schema(file).names
    if column not in known:
        near = did_you_mean(column, known)
        raise UserError(f"{file} has no column {column!r} (columns: {', '.join(known)}){near}")
    ids = [printable(row.path) for row in table_rows(file, path_column, label_column)]
    ids = ids or list(read_tables([(file, "")], path_column, label_column).ids)
    values = [_text(value) for value in read_columns(file, [column]).column(column).to_pylist()]
    if len(ids) != len(values):
        raise UserError(f"{file}: has rows without a label, so --group-column cannot tell whose")
    return dict(zip(ids, values, strict=True))


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()
