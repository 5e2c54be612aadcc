"""A model in int8: calibrated on photos that it was trained on, judged on those that it was not."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnets.console import Console
from resnets.data.cache import ImageCache, Storage, choose_storage
from resnets.data.samples import Samples
from resnets.data.sources import Dataset
from resnets.engines.int8 import NEEDS, PURPOSE, quantize
from resnets.errors import UserError
from resnets.extras import require
from resnets.judging.heldout import open_for
from resnets.judging.scoring import SplitResult, headline, score
from resnets.predict import Predictor
from resnets.version import VERSION
from resnets.weights.model_file import Model

CALIBRATION = 512
"""Photos over which the ranges of the maps are taken."""
MOST_LOST = 0.5
"""Points of top-1 that a model may lose unless the user says otherwise."""


def quantize_model(
    model: Model,
    data: str | Path,
    columns: Mapping[str, Any] | None = None,
    *,
    force: bool = False,
    workers: int | None = None,
    console: Console | None = None,
) -> Model:
    """Return a model in int8, with a record of how it was made and what it has lost.

    Args:
      model: one in float32 that tells classes apart.
      data: a folder, table, array file or built-in name with the model's classes. It is judged on
        what `open_for` selects, and calibrated on training photos; if there are none, on some of
        the others, which it is then not judged on.
      columns: `open_dataset`'s ``path_column`` and ``label_column``.
      force: return it also if it has lost more than half a point of top-1.
      workers: threads that decode photos.

    Raises:
      UserError: a library is missing, the data cannot be used, or too much is lost.
    """
    console = console or Console()
    require(NEEDS, "export", PURPOSE)
    before = Predictor.of(model, "cpu", workers=workers)
    dataset, judged, split, how = open_for(before, data, None, columns or {})
    calibration, judged, source = _part(before, dataset, judged, data, columns or {})
    console.say(f"data     {dataset.root}: {len(judged):,} photos of {split} ({how})")
    photos = _photos(before, calibration)
    console.say(f"int8     calibrated on {len(photos):,} photos {source}")
    tensors, record = quantize(model, photos)
    small = dataclasses.replace(model, weights=tensors, quantization=record, unknown=None)
    after = Predictor.of(small, "cpu", workers=workers)
    size = len(judged) * model.preprocess.resize**2 * model.preprocess.channels
    cache = ImageCache(judged, model.preprocess, choose_storage(size, Path(tempfile.gettempdir())))
    results = [score(predictor, cache, split, console) for predictor in (before, after)]
    figures = _figures(*results)
    lost = (
        f"{figures['points_lost']:.2f} points of top-1 on {figures['n']:,} photos of {split} "
        f"({100 * figures['top1_before']:.2f} to {100 * figures['top1_after']:.2f} %)"
    )
    if figures["points_lost"] > MOST_LOST:
        if not force:
            raise UserError(
                f"int8 loses {lost}, more than {MOST_LOST}: nothing is written; --force does it "
                "all the same"
            )
        console.warn(f"int8 loses {lost}")
    console.say(
        f"         loses {lost}; the same answer for {100 * figures['agreement']:.1f} % of them"
    )
    record |= {
        "calibration": {"photos": len(photos), "of": source, "data": dataset.name},
        "judged": {"split": split, **figures},
    }
    return dataclasses.replace(
        small,
        quantization=record,
        metrics={"split": split, **headline(results[1].evaluation)},
        versions={**model.versions, "resnets": VERSION},
    )


def _part(
    predictor: Predictor,
    dataset: Dataset,
    judged: Samples,
    data: str | Path,
    columns: Mapping[str, Any],
) -> tuple[Samples, Samples, str]:
    """Return photos to calibrate on, those to judge on, and what the first ones are."""
    train = judged.subset(np.zeros(len(judged), bool))
    if "train" in dataset.splits:
        train = open_for(predictor, data, "train", columns)[1]  # as training drew it
    if dataset.split_info["kind"] == "seeded":
        train = train.subset(~np.isin(train.keys(), judged.keys()))
    if len(train):
        return _some(train), judged, "of the training split"
    chosen = np.zeros(len(judged), bool)
    chosen[_indices(len(judged), min(CALIBRATION, len(judged) // 2))] = True
    if not chosen.any():
        raise UserError(f"{data}: too few photos to calibrate on some and judge on others")
    return judged.subset(chosen), judged.subset(~chosen), "set aside, as none are of training"


def _some(samples: Samples) -> Samples:
    return samples.subset(_indices(len(samples), min(CALIBRATION, len(samples))))


def _indices(n: int, number: int) -> NDArray[np.int64]:
    """Return `number` of `n` positions, in order, the same each time."""
    return np.sort(np.random.default_rng(0).permutation(n)[:number])


def _photos(predictor: Predictor, samples: Samples) -> Tensor:
    """Return the photos that decode, normalised, ``N C H W``."""
    preprocess = predictor.model.preprocess
    cache = ImageCache(samples, preprocess, Storage("memory"))
    for _ in cache.fill(predictor.workers):
        pass
    _, pixels = cache.get(np.arange(len(samples)))
    if not len(pixels):
        raise UserError("not one of the photos to calibrate on decodes")
    return preprocess.normalize(preprocess.center(torch.from_numpy(pixels)))


def _figures(before: SplitResult, after: SplitResult) -> dict[str, Any]:
    same = before.probabilities.argmax(1) == after.probabilities.argmax(1)
    top1 = before.evaluation.top1, after.evaluation.top1
    return {
        "n": before.evaluation.n,
        "top1_before": top1[0],
        "top1_after": top1[1],
        "points_lost": round(100 * (top1[0] - top1[1]), 10),
        "agreement": float(same.mean()),
    }
