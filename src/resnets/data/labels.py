"""Class names: how labels of any origin are written, and which cannot be classes."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

import numpy as np

from resnets.data.samples import Labels
from resnets.errors import UserError
from resnets.files import printable

_WAY_OUT = "class labels are whole numbers or names"


def class_name(name: str) -> str:
    """Return a class name as it is stored and compared: printable, in Unicode NFC."""
    return unicodedata.normalize("NFC", printable(name))


def name_labels(values: np.ndarray, where: str) -> list[str]:
    """Return the class name of each of ``N`` labels.

    `values` is ``N`` or ``N 1``: integers, booleans, strings, or objects that are all strings or
    all integers. `where` names their origin in errors.

    Raises:
        UserError: for missing labels (with the row), floats, one-hot or mixed labels.
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise UserError(f"{where} has shape {values.shape}: one label for each image is needed")
    if values.dtype.kind == "O":
        values = _unbox(values, where)
    if values.dtype.kind in "iub":
        return [str(value) for value in values.tolist()]
    if values.dtype.kind not in "UT":
        kind = "floating-point numbers" if values.dtype.kind == "f" else str(values.dtype)
        raise UserError(f"{where} holds {kind}: {_WAY_OUT}")
    names = [class_name(value) for value in values.tolist()]
    if "" in names:
        raise missing_label(where, names.index(""))
    if names and all(_is_fraction(name) for name in set(names)):
        raise UserError(f"{where} holds floating-point numbers: {_WAY_OUT}")
    return names


def index_labels(names: Sequence[str]) -> tuple[tuple[str, ...], Labels]:
    """Return the classes, sorted (numbers by value), and the label of each name: int64 ``N``."""
    unique = set(names)
    numeric = all(name.isascii() and name.isdecimal() for name in unique)
    classes = tuple(sorted(unique, key=lambda name: (int(name), name) if numeric else (0, name)))
    index = {name: i for i, name in enumerate(classes)}
    return classes, np.fromiter((index[name] for name in names), np.int64, len(names))


def missing_label(where: str, row: int) -> UserError:
    """Return the error for a row without a label."""
    return UserError(f"{where} has no label in row {row} (from 0): fill it in, or remove the row")


def _unbox(values: np.ndarray, where: str) -> np.ndarray:
    items = values.tolist()
    for row, item in enumerate(items):
        if item is None or (isinstance(item, float) and math.isnan(item)):  # pandas writes NaN
            raise missing_label(where, row)
    types = {type(item) for item in items}
    kinds = {np.dtype(one).kind for one in types}
    if len(kinds) != 1 or not kinds <= set("iubfU"):
        names = " and ".join(sorted(one.__name__ for one in types))
        raise UserError(f"{where} holds {names} objects: {_WAY_OUT}")
    return np.asarray(items)


def _is_fraction(name: str) -> bool:
    whole, point, rest = name.removeprefix("-").partition(".")
    return point == "." and (whole + rest).isdecimal()
