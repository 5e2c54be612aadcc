"""Predictions as rows of Parquet, CSV or JSON lines, written as they come."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from resnets.files import atomic, on_screen, printable
from resnets.predict import Prediction

Write = Callable[[Prediction], None]
ROW_GROUP = 4096
SCREEN = Path("-")


@contextmanager
def open_rows(path: Path | None, top: int, novelty: bool = False) -> Iterator[Write]:
    """Yield a function that writes one prediction; without a path, lines for people to read, and
    with ``-`` for a path JSON lines, on standard output.

    The file appears when all is written, and holds what its extension says, one of `FORMATS` in any
    case; with `novelty` that, too, after the status.

    Raises:
      UserError: a file that cannot be written.
    """
    if path is None:
        yield _print
        return
    if path == SCREEN:
        yield lambda row: _show(json.dumps(_values(_printable(row), novelty), ensure_ascii=False))
        return
    rows = FORMATS[path.suffix.lower()]
    with atomic(path) as temporary, rows(temporary, top, novelty) as write:
        yield lambda row: write(_printable(row))


def _printable(row: Prediction) -> Prediction:
    """Return `row` with names that any UTF-8 file takes: a path may hold bytes that are none."""
    return replace(
        row,
        path=printable(row.path),
        label=row.label and printable(row.label),
        top=tuple((printable(label), value) for label, value in row.top),
    )


def _print(row: Prediction) -> None:
    cells = [cell for label, value in row.top for cell in (label, f"{value:.4f}")]
    if row.novelty is not None:
        cells = [row.label or "-", f"{row.novelty:.4f}", *cells]
    _show("\t".join(map(on_screen, [row.path, *(cells or ["-", row.status])])))


def _show(line: str) -> None:
    # The encoding may lack some characters: in the C locale it is ASCII.
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(f"{line}\n".encode(encoding, "backslashreplace").decode(encoding))


@contextmanager
def _csv(path: Path, top: int, novelty: bool) -> Iterator[Write]:
    ranks = range(1, top + 1)
    header = [f"{name}_{i}" for i in ranks for name in ("label", "probability")]
    with _text(path, newline="") as file:
        writer = csv.writer(file)
        first = ["path", "label", "probability", "status", *(["novelty"] if novelty else [])]
        writer.writerow([*first, *header])

        def write(row: Prediction) -> None:
            ranked = [value for pair in row.top for value in pair]
            empty = [None] * (len(header) - len(ranked))
            values = _values(row, novelty)
            writer.writerow([*(values[name] for name in first), *ranked, *empty])

        yield write


@contextmanager
def _jsonl(path: Path, top: int, novelty: bool) -> Iterator[Write]:
    with _text(path) as file:

        def write(row: Prediction) -> None:
            file.write(json.dumps(_values(row, novelty), ensure_ascii=False) + "\n")

        yield write


@contextmanager
def _parquet(path: Path, top: int, novelty: bool) -> Iterator[Write]:
    ranked = pa.list_(pa.struct({"label": pa.string(), "probability": pa.float32()}))
    schema = pa.schema(
        {
            "path": pa.string(),
            "label": pa.string(),
            "probability": pa.float32(),
            "status": pa.string(),
            **({"novelty": pa.float32()} if novelty else {}),
            "top": ranked,
        }
    )
    waiting: list[dict[str, object]] = []
    with pq.ParquetWriter(path, schema) as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(waiting, schema))
            waiting.clear()

        def write(row: Prediction) -> None:
            waiting.append(_values(row, novelty))
            if len(waiting) >= ROW_GROUP:
                flush()

        yield write
        flush()


def _text(path: Path, newline: str | None = None) -> TextIO:
    return path.open("w", encoding="utf-8", newline=newline)


def _values(row: Prediction, novelty: bool) -> dict[str, object]:
    return {
        "path": row.path,
        "label": row.label,
        "probability": row.probability,
        "status": row.status,
        **({"novelty": row.novelty} if novelty else {}),
        "top": [{"label": label, "probability": value} for label, value in row.top],
    }


FORMATS: dict[str, Callable[[Path, int, bool], AbstractContextManager[Write]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _jsonl,
}
