"""Out-of-fold probabilities by a training run a fold, as `resnets.train` does it."""

from __future__ import annotations

import csv
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resnets.console import Console
from resnets.data.samples import Samples
from resnets.experiment import resume, train
from resnets.files import atomic
from resnets.labelling.out_of_fold import OutOfFold
from resnets.training.run_folder import RunFolder


def from_trainings(
    data: Any,
    samples: Samples,
    fold: NDArray[np.int64],
    seed: int,
    work: Path,
    budget: float,
    console: Console,
    **options: Any,
) -> OutOfFold:
    """Judge the photos of each `fold` by networks trained on the others; `options` are those of
    `train`.

    A run that was stopped is resumed, and one that has ended is not trained again. A `budget`, in
    seconds, is shared by the folds that are left.
    """
    folds = int(fold.max()) + 1
    values = np.zeros((len(samples), int(samples.labels.max()) + 1), np.float32)
    failed: dict[int, str] = {}
    began = time.monotonic()
    for k in range(folds):
        run = RunFolder(work / f"fold-{k + 1}")
        console.say(f"fold     {k + 1} of {folds}: {run.path}")
        table = work / f"fold-{k + 1}.csv"
        if not run.predictions.exists():
            if (run.path / "config.yaml").exists():
                known = {name: options[name] for name in ("device", "workers", "quiet")}
                resume(run.path, **known)
            else:
                _write_split(table, samples, fold == k)
                left = budget - (time.monotonic() - began)
                limit = max(1.0, left / (folds - k)) if budget else None
                train(
                    data,
                    out=run.path,
                    split_table=table,
                    val_fraction=0.0,
                    seed=seed,
                    budget=limit,
                    **options,
                )
        shutil.rmtree(run.checkpoints, ignore_errors=True)  # it has ended: what is left is judged
        judged = pq.read_table(run.predictions, columns=["status", "probabilities"])
        part = np.flatnonzero(fold == k)
        for i, row in zip(part.tolist(), judged.to_pylist(), strict=True):
            if row["status"] == "ok":
                values[i] = row["probabilities"]
            else:
                failed[i] = row["status"]
    return OutOfFold.of(fold, values, failed)


def _write_split(path: Path, samples: Samples, judged: NDArray[np.bool_]) -> None:
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "split"])
        names = {True: "test", False: "train"}
        writer.writerows((i, names[t]) for i, t in zip(samples.ids, judged.tolist(), strict=True))
