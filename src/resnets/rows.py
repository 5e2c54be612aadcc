"""Predictions as rows of Parquet, CSV or JSON lines, written as they come."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from resnets.errors import UserError, did_you_mean
from resnets.files import atomic
from resnets.predict import Prediction

Write = Callable[[Prediction], None]
ROW_GROUP = 4096


@contextmanager
def open_rows(path: Path | None, top: int) -> Iterator[Write]:
    """Yield a function that writes one prediction; without a path, lines for people to read.

    The file appears when all is written, and holds what its extension says.

    Raises:
      UserError: an extension that is none of .parquet, .csv and .jsonl, or a file that cannot be
        written.
    """
    if path is None:
        yield _print
        return
    if path.suffix not in FORMATS:
        kinds = ", ".join(FORMATS)
        raise UserError(f"{path}: rows are written as {kinds}{did_you_mean(path.suffix, FORMATS)}")
    with atomic(path) as temporary, FORMATS[path.suffix](temporary, top) as write:
        yield write


def _print(row: Prediction) -> None:
    if row.label is None:
        sys.stdout.write(f"{row.path}\t{row.status}\n")
    else:
        sys.stdout.write(f"{row.path}\t{row.label}\t{row.probability:.4f}\n")


@contextmanager
def _csv(path: Path, top: int) -> Iterator[Write]:
    ranks = range(1, top + 1)
    header = [f"{name}_{i}" for i in ranks for name in ("label", "probability")]
    with _text(path, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "probability", "status", *header])

        def write(row: Prediction) -> None:
            ranked = [value for pair in row.top for value in pair]
            empty = [None] * (len(header) - len(ranked))
            writer.writerow([row.path, row.label, row.probability, row.status, *ranked, *empty])

        yield write


@contextmanager
def _jsonl(path: Path, top: int) -> Iterator[Write]:
    with _text(path) as file:

        def write(row: Prediction) -> None:
            file.write(json.dumps(_values(row), ensure_ascii=False) + "\n")

        yield write


@contextmanager
def _parquet(path: Path, top: int) -> Iterator[Write]:
    ranked = pa.list_(pa.struct({"label": pa.string(), "probability": pa.float32()}))
    schema = pa.schema(
        {
            "path": pa.string(),
            "label": pa.string(),
            "probability": pa.float32(),
            "status": pa.string(),
            "top": ranked,
        }
    )
    waiting: list[dict[str, object]] = []
    with pq.ParquetWriter(path, schema) as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(waiting, schema))
            waiting.clear()

        def write(row: Prediction) -> None:
            waiting.append(_values(row))
            if len(waiting) >= ROW_GROUP:
                flush()

        yield write
        flush()


def _text(path: Path, newline: str | None = None) -> TextIO:
    # A path may hold bytes that are no UTF-8; they are written as \udcff rather than lost.
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline=newline)


def _values(row: Prediction) -> dict[str, object]:
    return {
        "path": row.path.encode("utf-8", "backslashreplace").decode(),
        "label": row.label,
        "probability": row.probability,
        "status": row.status,
        "top": [{"label": label, "probability": value} for label, value in row.top],
    }


FORMATS: dict[str, Callable[[Path, int], AbstractContextManager[Write]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _jsonl,
}
