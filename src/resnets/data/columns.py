"""Table files, CSV or Parquet: which columns hold the images and the labels, and their values."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from resnets.data.parquet import class_label_names, is_image_type
from resnets.data.scan import unreadable
from resnets.errors import UserError, did_you_mean

CSV_SUFFIXES: Final = (".csv", ".tsv")
SUFFIXES: Final = (*CSV_SUFFIXES, ".parquet")
PATH_COLUMNS: Final = ("path", "file", "filename", "image", "image_path")
LABEL_COLUMNS: Final = ("label", "class", "category", "fine")
SPLIT_COLUMNS: Final = ("split", "subset")
ID_COLUMNS: Final = ("id", "path")

_WAY_OUT: Final = {
    "image": "name the one to use with path_column (--path-column)",
    "label": "name the one to use with label_column (--label-column)",
    "id": "a split table has the columns id and split",
    "split": "a split table has the columns id and split",
}


@dataclass(frozen=True)
class Columns:
    """The columns of one table that matter.

    Attributes:
        in_bytes: whether `image` holds the images themselves; else it holds their paths.
        has_paths: whether `image` holds paths, alone or beside the bytes.
        names: the class names of integer labels, where the table has them.
    """

    image: str
    label: str
    split: str | None
    in_bytes: bool
    has_paths: bool
    names: tuple[str, ...] | None


def choose_columns(
    file: Path, path_column: str | None = None, label_column: str | None = None
) -> Columns:
    """Find the columns of a table by their types and names, or take those given.

    The one column of images comes first; else the first of `PATH_COLUMNS` that is there (a wrong
    guess shows, as the files are missing). Two columns that may be the label are an error.
    """
    schema = read_schema(file)
    held = [field.name for field in schema if is_image_type(field.type)]
    image = _choose("image", path_column, held or _matches(schema, PATH_COLUMNS)[:1], schema, file)
    label = _choose("label", label_column, _matches(schema, LABEL_COLUMNS), schema, file)
    kind = schema.field(image).type
    in_bytes = is_image_type(kind)
    return Columns(
        image=image,
        label=label,
        split=next(iter(_matches(schema, SPLIT_COLUMNS)), None),
        in_bytes=in_bytes,
        has_paths=not in_bytes or (pa.types.is_struct(kind) and kind.get_field_index("path") >= 0),
        names=class_label_names(schema, label),
    )


def choose_split_columns(file: Path) -> tuple[str, str]:
    """Find the columns of a split table: the ids of the samples, and their splits."""
    schema = read_schema(file)
    ids = _choose("id", None, _matches(schema, ID_COLUMNS)[:1], schema, file)
    return ids, _choose("split", None, _matches(schema, SPLIT_COLUMNS)[:1], schema, file)


def read_schema(file: Path) -> pa.Schema:
    """Read the names and types of the columns; those of a CSV file are all strings."""
    with _errors_of(file):
        if file.suffix.lower() not in CSV_SUFFIXES:
            return pq.read_schema(file)
        with file.open(encoding="utf-8-sig", newline="") as lines:
            header = next(csv.reader(lines, delimiter=_delimiter(file)), [])
        return pa.schema([(name, pa.string()) for name in header])


def read_columns(file: Path, names: Sequence[str]) -> pa.Table:
    """Read the columns `names` (``image.path`` for a field); an empty field of a CSV is null."""
    with _errors_of(file):
        if file.suffix.lower() not in CSV_SUFFIXES:
            return pq.ParquetFile(file).read(columns=list(names))
        return pyarrow.csv.read_csv(
            file,
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=_delimiter(file), newlines_in_values=True
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(names),
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
            ),
        )


def _choose(
    kind: str, given: str | None, found: Sequence[str], schema: pa.Schema, file: Path
) -> str:
    columns = f"columns: {', '.join(schema.names)}"
    if given is not None:
        if given not in schema.names:
            near = did_you_mean(given, schema.names)
            raise UserError(f"{file} has no column {given!r} ({columns}){near}")
        return given
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} {kind} columns, {' and '.join(found)}" if found else f"no {kind} column"
    raise UserError(f"{file} has {what} ({columns}): {_WAY_OUT[kind]}")


def _matches(schema: pa.Schema, accepted: Sequence[str]) -> list[str]:
    """Return the columns whose names are accepted in any case, in the order of `accepted`."""
    return [name for wanted in accepted for name in schema.names if name.casefold() == wanted]


def _delimiter(file: Path) -> str:
    with file.open(encoding="utf-8-sig") as lines:
        header = lines.readline()
    return max((",", ";", "\t"), key=header.count)


@contextmanager
def _errors_of(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno:
            raise unreadable(file, error) from error
        raise _broken(file, error) from error  # so Arrow reports a Parquet file that is cut short
    except (pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
        raise _broken(file, error) from error


def _broken(file: Path, error: Exception) -> UserError:
    lines = str(error).splitlines() or [type(error).__name__]
    kind = "UTF-8 CSV" if file.suffix.lower() in CSV_SUFFIXES else "Parquet"
    return UserError(f"{file} cannot be read as a {kind} table: {lines[0]}")
