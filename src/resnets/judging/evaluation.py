"""`evaluate`: a model file on labelled data, alone or beside another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnets.console import Console
from resnets.data.cache import ImageCache, Storage
from resnets.data.samples import Samples
from resnets.errors import UserError
from resnets.evaluate import words
from resnets.evaluate.comparison import Compared, compare
from resnets.judging.fitting import fitted
from resnets.judging.heldout import check_classes, count_seen, open_for
from resnets.judging.reporting import report_result, write_predictions
from resnets.judging.robustness import measure
from resnets.judging.scoring import SplitResult, score
from resnets.judging.slicing import read_facts, slice_result
from resnets.predict import Predictor
from resnets.training.inference import score_split
from resnets.weights import known, model_file

FITTED_ON = ("val", "all")
"""Splits that a model may be fitted on: it would flatter a test, and training is too easy."""


def evaluate_model(
    model: str | Path,
    data: str | Path,
    split: str | None = None,
    columns: Mapping[str, Any] | None = None,
    *,
    device: str | None = None,
    workers: int | None = None,
    engine: str | None = None,
    precision: str | None = None,
    slices: Sequence[str] | None = None,
    against: str | Path | None = None,
    calibrate: Path | None = None,
    report: Path | None = None,
    out: Path | None = None,
    robustness: Sequence[str] = (),
    limit: int | None = None,
    console: Console | None = None,
    check: Callable[[Predictor, Samples], None] = lambda predictor, samples: None,
    told: Callable[[SplitResult], None] = lambda result: None,
) -> SplitResult:
    """Measure a model file on labelled data.

    Args:
      model, data: a model file; and a folder, table, array file or built-in name.
      split: ``train``, ``val``, ``test`` or ``all``; else see `open_for`.
      columns: `open_dataset`'s ``path_column`` and ``label_column``.
      device, workers: where to compute, and threads that decode photos.
      engine, precision: what computes, and how exactly, as `Predictor.of` takes them.
      slices: judge parts of the photos, too: by what they look like, and by these columns of the
        table, or ``folder:1`` for the first folder of their paths. A report has the former anyway.
      against: another model file with the same classes, to compare with on the same photos.
      calibrate: fit on these photos a temperature, and what tells unknown ones, and write the model
        with both to this file; the photos are those of ``val`` if no split is named. The result has
        the model as it was.
      report, out: files for the HTML report and for every prediction (Parquet).
      robustness: names of `resnets.data.corruptions` to judge it under, too, on `limit` photos.
      check: refuses the model or the photos for what is wanted of the result, before any work.
      told: gets the result when `report` and `out` are written, before anything is fitted: what
        fails then loses nothing of it.

    Raises:
      UserError: the model or the data cannot be used, or their classes differ.
    """
    console = console or Console()
    if calibrate:
        split = split or "val"
        if split not in FITTED_ON:
            raise UserError(
                f"--calibrate --split {split}: it is fitted on photos that neither trained the "
                "model nor test it; take val"
            )
    options: dict[str, Any] = {"workers": workers, "engine": engine, "precision": precision}
    predictor = Predictor.load(model, device, **options, say=console.say)
    other = Predictor.load(against, device, **options) if against else None
    if other:
        check_classes(other.classes, predictor.classes, str(against), str(model))
    beside = [other.model] if other else []
    dataset, samples, split, how = open_for(predictor, data, split, columns or {}, beside)
    names = [str(model), *([str(against)] if other else [])]
    models = [predictor.model, *beside]
    seen = [count_seen(one, dataset, split, samples) for one in models]
    if calibrate and seen[0]:
        raise UserError(
            f"--calibrate --split {split}: training saw {seen[0]:,} of these {len(samples):,} "
            f"photos of {data}; take others, such as its own val"
        )
    if calibrate and len(samples) < known.LEAST:
        raise UserError(
            f"--calibrate: {len(samples)} photos of {split}, and {known.LEAST} or more are needed"
        )
    check(predictor, samples)
    console.say(f"data     {dataset.root}: {len(samples):,} photos of {split} ({how})")
    learned = [words.learned(count, len(samples)) for count in seen]
    for name, what in zip(names, learned, strict=True):
        if what:
            console.warn(f"{name}: {what}: no judgement to rely on; on new ones expect less")
    cache = ImageCache(samples, predictor.model.preprocess, Storage("none"))
    look = slices is not None or report is not None
    facts = read_facts(samples, data, slices or (), columns or {})  # first, as it may fail
    result = score(predictor, cache, split, console, look=look)
    if look:
        result = slice_result(result, facts)
    compared = None
    if other:
        compared = _compare(result, predictor, other, names[-1], learned[-1], console)
    hardened = measure(predictor, samples, robustness, console, limit) if robustness else None
    result = dataclasses.replace(result, compared=compared, robustness=hardened)
    if out:
        write_predictions(result, predictor.classes, out)
    if report:
        title = f"{predictor.model.spec.name} on {dataset.name}"
        report_result(result, predictor, report, title, dataset, learned=learned[0])
    told(result)
    if calibrate:
        _calibrate(predictor, result, calibrate, console)
    return result


def _compare(
    result: SplitResult,
    predictor: Predictor,
    other: Predictor,
    name: str,
    learned: str,
    console: Console,
) -> Compared:
    """Have the other model answer for the same photos; what either cannot decode is left out."""
    samples = result.samples
    cache = ImageCache(samples, other.model.preprocess, Storage("none"))
    with console.track(f"Evaluating {name}", len(samples)) as advance:
        scored, values = score_split(
            other.ready.engine, other.task, cache, other.workers, seen=advance
        )
    order = np.array([predictor.classes.index(name) for name in other.classes])
    both, here, there = np.intersect1d(result.scored, scored, return_indices=True)
    labels = samples.labels[both]
    own, theirs = result.predictions[here], order[values.argmax(1)][there]
    differing = [
        {
            "path": samples.ids[int(both[i])],
            "truth": predictor.classes[labels[i]],
            "label": predictor.classes[own[i]],
            "other": predictor.classes[theirs[i]],
        }
        for i in np.flatnonzero(own != theirs).tolist()
    ]
    figures = compare(own, theirs, labels, predictor.classes)
    return Compared(name, figures, tuple(differing), learned)


def _calibrate(predictor: Predictor, result: SplitResult, path: Path, console: Console) -> None:
    model = fitted(predictor, result.cache, result.split, console).model
    if not model.calibration and model.unknown is None:
        raise UserError(f"nothing could be fitted, and {path} is not written")
    model_file.save(model, path)
    console.say(f"wrote    {path}")
