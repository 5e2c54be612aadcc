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
BY_CHANCE = 1 / 1000
"""Of a million photos so many have the key of another, which is no sign of having been seen."""
UNSEEN = "no file of it was seen in training"
UNRECORDED = "what training saw is not recorded in the model file"


def record_seen(dataset: Dataset) -> dict[str, Any]:
    """Return what a model file notes of the photos that training saw, so as to know them again.

    Only where the data does not say it: data with splits of its own names what is for testing.
    """
    if dataset.split_info["kind"] not in ELSEWHERE:
        return {}
    seen = [dataset.splits[name].keys() for name in ("train", "val") if name in dataset.splits]
    return {"seen": base64.b64encode(np.concatenate(seen).astype("<u4").tobytes()).decode()}


def seen_by(model: Model) -> NDArray[np.uint32]:
    """Return the keys of the photos that training saw, as far as `record_seen` has noted them."""
    return np.frombuffer(base64.b64decode(model.data.get("seen", "")), "<u4")


def count_seen(model: Model, dataset: Dataset, split: str, samples: Samples) -> int | None:
    """Return how many photos of a split training saw; None where that cannot be known.

    Not of ``val``, which training is known to look at.
    """
    known = int(np.isin(samples.keys(), seen_by(model)).sum())
    if split == "val" or "seen" in model.data:
        return 0 if split == "val" or known <= BY_CHANCE * len(samples) else known
    parted = dataset.split_info["kind"] not in ELSEWHERE
    if split != "train" and not (split == "all" and parted and "train" in dataset.splits):
        return 0
    if dataset.fingerprint() != model.data.get("fingerprint"):
        return None
    return len(samples) - (len(dataset.splits.get("test", ())) if split == "all" else 0)


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
    those that the models `beside` it saw, with which it is compared.

    Returns:
      The data, its classes in the order of the model's; the samples to judge on, the name of their
      split, and how it was chosen.

    Raises:
      UserError: the classes are not the model's, there is no such split, or training saw all.
    """
    record = predictor.model.data
    fractions: dict[str, Any] = {"val_fraction": 0.0, "test_fraction": 0.0}
    if split in SPLITS:  # perhaps one that training drew
        fractions = {k: record[k] for k in ("seed", *fractions) if k in record}
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
    seen = [seen_by(model) for model in (predictor.model, *beside)]
    fresh = ~np.isin(everything.keys(), np.concatenate(seen))
    if fresh.all():
        known = all("seen" in model.data for model in (predictor.model, *beside))
        return dataset, everything, "all", UNSEEN if known else UNRECORDED
    if not fresh.any():
        raise UserError(f"training saw every photo of {data}; --split all scores them all the same")
    return dataset, everything.subset(fresh), "test", "the part that training held out"


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
