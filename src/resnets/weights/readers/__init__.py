"""Checkpoints of other libraries, read as data: nothing in them is run, imported or fetched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnets.errors import UserError
from resnets.weights.readers import (
    keras_file,
    keras_h5,
    onnx_file,
    safetensors_file,
    torch_file,
)
from resnets.weights.readers.foreign import Content, Foreign, one_line, parse_json
from resnets.weights.readers.kinds import kind_of

__all__ = ["READERS", "Foreign", "read"]

READERS: dict[str, Callable[[Path], Content]] = {
    "torch": torch_file.read,
    "safetensors": safetensors_file.read,
    "h5": keras_h5.read,
    "keras": keras_file.read,
    "onnx": onnx_file.read,
}
FOLDER_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
FOLDER_CONFIG = "config.json"
FOLDER_READING = "preprocessor_config.json"
MAX_CONFIG = 16 * 2**20


def read(path: str | Path, entry: str | None = None) -> Foreign:
    """Read a checkpoint, or a folder that transformers or timm saved: `config` is then a fact, and
    `preprocessor` where there is one.

    `entry` is for PyTorch's: which of several sets of weights, such as ``state_dict_ema``.

    Raises:
      UserError: it is missing, damaged or of an unknown format; holds code or objects, or tensors
        that are no weights (dtype, NaN, more bytes than the file has); or is a model file.
    """
    path = Path(path)
    # os.path, as pathlib raises where a folder on the way may not be entered.
    return _read_folder(path) if os.path.isdir(path) else _read_file(path, entry)


def _read_file(path: Path, entry: str | None = None) -> Foreign:
    try:
        kind = kind_of(path)
        reader = READERS[kind]
        tensors, facts = torch_file.read(path, entry) if kind == "torch" else reader(path)
        if entry and entry not in facts.get("wrappers", ()):
            there = ", ".join((*facts.get("wrappers", ()), *facts.get("also", ())))
            known = f"; it has {there}" if there else ""
            raise UserError(f"{path}: has no weights at {entry!r}{known}")
    except UserError:
        raise
    except Exception as error:  # five libraries over any bytes: there is no list of what they raise
        raise UserError(f"{path}: truncated or damaged ({one_line(error)})") from None
    if not tensors:
        raise UserError(f"{path}: holds no weights")
    return Foreign(path, kind, tensors, facts)


def _read_folder(path: Path) -> Foreign:
    found = [path / name for name in FOLDER_WEIGHTS if os.path.isfile(path / name)]
    config = path / FOLDER_CONFIG
    if not found or not os.path.isfile(config):
        raise UserError(
            f"{path}: a folder without {FOLDER_CONFIG} and {' or '.join(FOLDER_WEIGHTS)}"
        )
    inner = _read_file(found[0])
    facts = {**inner.facts, "config": _json(config)}
    reading = path / FOLDER_READING
    if os.path.isfile(reading):
        facts["preprocessor"] = _json(reading)
    return Foreign(path, inner.format, inner.tensors, facts)


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_CONFIG:
            raise ValueError("too large")
        values = parse_json(path.read_bytes())
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({one_line(error)})") from None
    return values
