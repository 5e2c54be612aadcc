"""The header of a model file: how the file starts, and what the JSON object may say.

What reads a value raises ValueError for one that is not what it should be, or would mislead.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from resnets.errors import UserError
from resnets.weights.readers import archive
from resnets.weights.readers.kinds import PICKLES

NOT_OURS = "not a resnets model file; others' weights become one by: resnets convert SRC DST"
LARGEST = 64 * 2**20
"""Bytes of a header."""
TASKS = ("classify", "embed")
JSON_NAMES: dict[type, str] = {dict: "a JSON object", str: "a string"}

T = TypeVar("T")

# -- the file -------------------------------------------------------------------------------------


def check_start(path: Path) -> None:
    """Raise UserError for files that are something else, which says what they are."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except IsADirectoryError:
        hint = f"; did you mean {path / 'best.safetensors'}?" if _is_run(path) else ""
        raise UserError(f"{path}: a folder, not a model file{hint}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{str(path)!r}: {error}") from None
    if start.startswith((archive.MAGIC, *PICKLES)):
        raise UserError(f"{path}: a pickle or archive, never loaded and {NOT_OURS}")
    if len(start) < 8:
        raise UserError(f"{path}: truncated ({len(start)} bytes)")
    if int.from_bytes(start, "little") > LARGEST:
        raise UserError(f"{path}: not a safetensors file (starts with {start!r})")


def _is_run(path: Path) -> bool:
    return (path / "best.safetensors").is_file()


def sort_metadata(path: Path) -> None:
    """Make the same model the same bytes: safetensors writes its metadata in a random order."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        file.seek(8)
        file.write(text.ljust(size))


# -- the object -----------------------------------------------------------------------------------


def read_as(values: Mapping[str, Any], name: str, kind: type[T]) -> T:
    value = values[name]
    if not isinstance(value, kind):
        raise ValueError(f"{name} is not {JSON_NAMES[kind]}")
    return value


def read_task(value: object) -> str:
    if value not in TASKS:
        raise ValueError(f"task {value!r} is not one of: {', '.join(TASKS)}")
    return str(value)


def read_classes(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("classes is not a list of names")
    if len(set(values)) < len(values):
        raise ValueError("a class name comes twice")
    return tuple(values)


def read_calibration(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record, which a file need not have; ValueError for one that would mislead."""
    if "calibration" not in values:
        return {}
    found = read_as(values, "calibration", dict)
    temperature = found["temperature"]
    if type(temperature) not in (int, float) or not 0 < temperature < math.inf:
        raise ValueError(f"temperature {temperature!r} is not a positive number")
    return found
