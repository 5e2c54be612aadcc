"""Which photos a model is judged on: never those that training saw, unless asked for."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.data.sources import Dataset, Samples, open_dataset
from resnets.data.split import SPLITS
from resnets.errors import UserError, did_you_mean
from resnets.predict import Predictor
from resnets.weights.model_file import Model

LISTED = 20
ELSEWHERE = ("seeded", "split table")
"""Kinds of splits that are not in the data, which without the record would be all one."""
LOOKED_AT = ("train", "val")
BEFORE = {"val": ("train",), "test": LOOKED_AT}
"""What training sees before it comes to a split: copies of those in it are a fault of the data."""
MOST = 10_000_000
"""Photos whose keys a header has room for: their 53 MB leave a fifth of it to everything else."""
BY_CHANCE = 1 / 1000
"""Of photos so many may have the key of another, which is no sign of having been seen."""
UNSEEN = "no file of it was seen in training"
UNRECORDED = "what training saw is not recorded in the model file"


def record_seen(dataset: Dataset) -> dict[str, Any]:
    """Return what a model file notes of the photos that training saw, so as to know them again.

    Four bytes of each, those of ``train`` first, and how many `trained` the model: the others were
    of ``val``. Nothing of more than `MOST`.
    """
    parts = [dataset.splits[name] for name in LOOKED_AT if name in dataset.splits]
    if sum(map(len, parts)) > MOST:
        return {}
    keys = _keys(dataset, LOOKED_AT).astype("<u4").tobytes()
    return {"seen": base64.b64encode(keys).decode(), "trained": len(dataset.splits["train"])}


def seen_by(model: Model) -> NDArray[np.uint32]:
    """Return the keys of the photos that training saw, as far as `record_seen` has noted them."""
    return np.frombuffer(base64.b64decode(model.data.get("seen", "")), "<u4")


def trained_by(model: Model) -> NDArray[np.uint32]:
    """Return the keys of those that it learnt from, and not only chose its weights by."""
    return seen_by(model)[: model.data.get("trained")]


def is_told(model: Model) -> bool:
    """Tell whether the file says what trained the model: others' weights do not."""
    return "seen" in model.data or "fingerprint" in model.data


def _keys(dataset: Dataset, names: Sequence[str]) -> NDArray[np.uint32]:
    parts = [dataset.splits[name].keys() for name in names if name in dataset.splits]
    return np.concatenate([np.zeros(0, np.uint32), *parts])


def count_seen(model: Model, dataset: Dataset, split: str, samples: Samples) -> int | None:
    """Return how many photos of a split training saw; None where that cannot be known.

    Training is known to look at ``val``: of it, and of ``train``, those count that trained the
    model. Not so copies of the data's own training photos, in any ``val``, or in a ``test`` that
    the data names: they are where the user has put them, and told by ``check`` and ``train``.
    """
    if split == "val" and "trained" not in model.data:
        return 0  # what chose the weights and what trained them was one in files of before
    if "seen" not in model.data:
        return _count_by_fingerprint(model, dataset, split, samples)
    keys, seen = samples.keys(), (trained_by if split in LOOKED_AT else seen_by)(model)
    known = np.isin(keys, seen)
    chance = max(BY_CHANCE, 2 * len(seen) / 2**32) * len(samples)
    given = split == "test" and dataset.split_info["kind"] not in ELSEWHERE
    if known.sum() > chance and (given or split == "val"):
        known &= ~np.isin(keys, _keys(dataset, BEFORE[split]))
    count = int(known.sum())
    return count if count > chance else 0


def _count_by_fingerprint(
    model: Model, dataset: Dataset, split: str, samples: Samples
) -> int | None:
    """Count for a file that does not say what training saw: none, all, or who knows."""
    parted = dataset.split_info["kind"] not in ELSEWHERE
    if split != "train" and not (split == "all" and parted and "train" in dataset.splits):
        return 0
    told = model.data.get("fingerprint")
    if told is None or dataset.fingerprint() != told:
        return None
    return len(samples) - (len(dataset.splits.get("test", ())) if split == "all" else 0)


def as_drawn(model: Model) -> dict[str, Any]:
    """Return `open_dataset`'s options with which training drew its splits."""
    names = ("seed", "val_fraction", "test_fraction")
    return {name: model.data[name] for name in names if name in model.data}


def open_for(
    predictor: Predictor,
    data: str | Path,
    split: str | None,
    options: Mapping[str, Any],
    beside: Sequence[Model] = (),
) -> tuple[Dataset, Samples, str, str]:
    """Open data that a model is to be judged on.

    Data with splits of its own gives its ``test``, else its ``val``. Of a bare folder the photos
    that training saw are left out: they are known by their content from the model file. So are
    those that the models `beside` it saw, with which it is compared. If none is left, those are
    taken that trained no model.

    Returns:
      The data, its classes in the order of the model's; the samples to judge on, the name of their
      split, and how it was chosen.

    Raises:
      UserError: the classes are not the model's, there is no such split, or all trained it.
    """
    fractions: dict[str, Any] = {"val_fraction": 0.0, "test_fraction": 0.0}
    if split in SPLITS:  # perhaps one that training drew
        fractions = as_drawn(predictor.model)
    dataset = open_dataset(data, **options, **fractions)
    check_classes(dataset.classes, predictor.classes, "the data", "the model")
    dataset = _in_order(dataset, predictor.classes)
    if split is not None:
        if split not in dataset.splits:
            near = did_you_mean(split, (*SPLITS, "all")) if split not in SPLITS else ""
            there = ", ".join(dataset.splits)
            raise UserError(f"{data} has no split {split!r}{near}; there are: {there}")
        return dataset, dataset.splits[split], split, "as asked"
    for own in ("test", "val"):
        if own in dataset.splits:
            return dataset, dataset.splits[own], own, "a split of the data"
    everything = dataset.splits["all"]
    models, keys = (predictor.model, *beside), everything.keys()
    fresh = ~np.isin(keys, np.concatenate([seen_by(model) for model in models]))
    if fresh.all():
        known = all("seen" in model.data for model in models)
        return dataset, everything, "all", UNSEEN if known else UNRECORDED
    if fresh.any():
        return dataset, everything.subset(fresh), "test", "the part that training held out"
    chose = ~np.isin(keys, np.concatenate([trained_by(model) for model in models]))
    if chose.any():
        return dataset, everything.subset(chose), "val", "the part that chose the weights"
    raise UserError(f"training saw every photo of {data}; --split all scores them all the same")


def check_classes(classes: tuple[str, ...], expected: tuple[str, ...], one: str, two: str) -> None:
    """Raise UserError, which names those that differ, unless both are the same in any order."""
    unknown = [name for name in classes if name not in expected]
    absent = [name for name in expected if name not in classes]
    if unknown or absent:
        parts = [f"only in {one}: {_listed(unknown)}"] if unknown else []
        parts += [f"only in {two}: {_listed(absent)}"] if absent else []
        raise UserError(f"the classes of {one} are not {two}'s; {'; '.join(parts)}")


def _in_order(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    """Return the data with labels that index `classes`: others' models have their own order."""
    if dataset.classes == classes:
        return dataset
    order = np.array([classes.index(name) for name in dataset.classes], np.int64)
    splits = {
        name: dataclasses.replace(samples, labels=order[samples.labels])
        for name, samples in dataset.splits.items()
    }
    return dataclasses.replace(dataset, classes=classes, splits=splits)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
