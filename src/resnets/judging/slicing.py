"""What is known of photos, to judge a model on parts of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.audit.tables import find_table
from resnets.data.looks import LOOKS
from resnets.data.samples import Samples
from resnets.data.tables import read_values
from resnets.errors import UserError
from resnets.evaluate.slices import MOST, Values, slices
from resnets.judging.scoring import SplitResult

FOLDER = "folder:"
NOTHING: Mapping[str, Values] = MappingProxyType({})


def read_facts(
    samples: Samples, data: Any, names: Sequence[str], columns: Mapping[str, Any]
) -> dict[str, Values]:
    """Return what is known of samples by name, ``N`` values each.

    Args:
      samples: of `data`, which `open_dataset` opened with `columns`.
      names: columns of the table that `data` is or holds, or ``folder:N`` for the Nth folder of a
        photo's path below the data, from 1.

    Raises:
      UserError: there is no such column, or no table, or it parts no photos.
    """
    facts = {
        name: _folders(samples.ids, name)
        if name.startswith(FOLDER)
        else _column(data, name, samples.ids, columns)
        for name in names
    }
    for name, values in facts.items():
        if len(set(values)) < 2:
            raise UserError(f"--slice {name}: the same for all photos, so it parts none; leave it")
    return facts


def slice_result(result: SplitResult, facts: Mapping[str, Values] = NOTHING) -> SplitResult:
    """Return the result, whose photos were looked at, with its slices: by what the photos look
    like, then by `facts` of the whole split."""
    scored = result.scored
    width, height = np.where(result.sizes, result.sizes, np.nan)[scored].T
    known: dict[str, Values] = {
        "shorter side, px": np.minimum(width, height),
        "width / height": width / height,
        **dict(zip(LOOKS, result.looks[scored].T, strict=True)),
    }
    for name, values in facts.items():
        known[name] = (
            values[scored]
            if isinstance(values, np.ndarray)
            else [values[i] for i in scored.tolist()]
        )
    found = slices(result.predictions == result.labels, known)
    return dataclasses.replace(result, slices=found)


def _folders(ids: Sequence[str], name: str) -> list[str]:
    level = name.removeprefix(FOLDER)
    if not level.isdecimal() or not int(level):
        raise UserError(f"--slice {name}: folders are counted from 1, as in folder:1")
    folders = [path.split("/")[:-1] for path in ids]
    return [(parts[int(level) - 1 :] or [""])[0] for parts in folders]


def _column(data: Any, name: str, ids: Sequence[str], columns: Mapping[str, Any]) -> Values:
    """Return a column as numbers, where all are and they are many, else as texts."""
    table = find_table(Path(data)) if isinstance(data, str | Path) else None
    if table is None:
        raise UserError(
            f"--slice {name}: {data} is no table, nor a folder of one; name a .csv or .parquet "
            "file, or folder:1 for the folders of its photos"
        )
    texts = read_values(table, name, ids, **columns)
    numbers = _numbers(texts)
    return texts if numbers is None or len(set(texts)) <= MOST else numbers


def _numbers(texts: Sequence[str]) -> NDArray[np.float64] | None:
    try:
        return np.array([float(text) if text else np.nan for text in texts])
    except ValueError:
        return None
