"""What people get of a result: the report with its pictures, and every prediction as a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resnets.data.sources import Dataset
from resnets.evaluate import ReportPhoto, write_report
from resnets.evaluate.confusion import most_confused
from resnets.evaluate.report import SHOWN_MISTAKES, SHOWN_PAIRS, Examples, Trust
from resnets.files import atomic
from resnets.judging.heldout import is_told
from resnets.judging.scoring import SplitResult
from resnets.pages import thumbnail
from resnets.predict import Predictor

EACH = 2
"""Photos on either side of a pair of classes."""
PAIR_SIDE = 112
"""Pixels of their longer side."""


def report_result(
    result: SplitResult,
    predictor: Predictor,
    path: Path,
    title: str,
    dataset: Dataset,
    history: Sequence[Mapping[str, float]] = (),
    *,
    learned: str,
) -> None:
    """Write the HTML report of a result. Raises UserError if it cannot be written.

    `learned` is what keeps its figures from being a judgement, as `words.learned` says it.
    """
    notes = list(dataset.notes)
    if result.split == "val":
        notes.append("These photos chose the weights, so the figures are a little too good.")
    if result.failed:
        notes.append(f"{len(result.failed):,} photos do not decode and are left out.")
    write_report(
        path,
        title=title,
        evaluation=result.evaluation,
        split=result.split,
        learned=learned,
        told=is_told(predictor.model),
        history=history,
        facts=_facts(predictor, dataset),
        mistakes=worst_mistakes(result, predictor.classes),
        examples=confused_photos(result),
        trust=Trust(result.calibration, result.uncalibrated, result.temperature, result.coverage),
        slices=result.slices,
        compared=result.compared,
        robustness=result.robustness,
        notes=notes,
    )


def _facts(predictor: Predictor, dataset: Dataset) -> dict[str, dict[str, str]]:
    model, ready = predictor.model, predictor.ready
    spec, preprocess = model.spec, model.preprocess
    machine = predictor.machine.describe() | {"engine": ready.name, "precision": ready.precision}
    splits = {f"{k} photos": f"{len(v):,}" for k, v in dataset.splits.items() if k != "all"}
    return {
        "Model": {
            "architecture": spec.name,
            "parameters": f"{spec.params():,}",
            "multiply-adds": f"{spec.macs(preprocess.size):,}",
            "input": f"{preprocess.size} px, {preprocess.channels} channels",
            "temperature": _temperature(model.calibration),
        },
        "Data": {"source": dataset.root, "classes": str(len(dataset.classes)), **splits}
        | {k: str(v) for k, v in model.data.items() if k in ("fingerprint", "kind", "seed")},
        "Recipe": {k: str(v) for k, v in model.recipe.items()},
        "Machine": machine | dict(model.versions),
    }


def _temperature(calibration: Mapping[str, Any]) -> str:
    if not calibration:
        return "none fitted"
    where = f"{calibration.get('n', 0):,} photos of {calibration.get('split', '')}"
    return f"{calibration['temperature']:.3g}, fitted on {where}"


def write_predictions(result: SplitResult, classes: tuple[str, ...], path: Path) -> None:
    """Write one row a photo: path, truth, label, probability, status, and all probabilities.

    The last is empty for a photo that does not decode.
    """
    n, k = len(result.samples), len(classes)
    best = result.predictions
    label: list[str | None] = [None] * n
    probability: list[float | None] = [None] * n
    for i, winner, row in zip(result.scored, best, result.probabilities, strict=True):
        label[i], probability[i] = classes[winner], float(row[winner])
    lengths = np.zeros(n + 1, np.int64)
    lengths[result.scored + 1] = k
    every = pa.LargeListArray.from_arrays(lengths.cumsum(), result.probabilities.ravel())
    failed = result.failed
    table = pa.table(
        {
            "path": [result.samples.path(i) for i in range(n)],
            "truth": [classes[i] for i in result.samples.labels],
            "label": pa.array(label, pa.string()),
            "probability": pa.array(probability, pa.float32()),
            "status": [failed.get(i, "ok") for i in range(n)],
            "probabilities": every,
        }
    )
    with atomic(path) as temporary:
        pq.write_table(table, temporary)


def worst_mistakes(result: SplitResult, classes: tuple[str, ...]) -> list[ReportPhoto]:
    """Return the photos that the model got most confidently wrong, as the model saw them."""
    confidence = result.probabilities.max(1)
    wrong = np.flatnonzero(result.predictions != result.labels)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:SHOWN_MISTAKES]
    return [
        ReportPhoto(
            path=result.samples.ids[int(result.scored[row])],
            truth=classes[result.labels[row]],
            prediction=classes[result.predictions[row]],
            probability=float(confidence[row]),
            thumbnail=thumbnail(photo),
        )
        for row, photo in _photos(result, surest)
    ]


def confused_photos(result: SplitResult) -> dict[tuple[int, int], Examples]:
    """Return photos of the most confused pairs (truth, prediction): the surest of those that were
    taken for the other class, and of those of the other class that were not mistaken."""
    confidence, found = result.probabilities.max(1), {}
    predictions, labels = result.predictions, result.labels

    def pictures(truth: int, prediction: int) -> tuple[bytes, ...]:
        rows = np.flatnonzero((labels == truth) & (predictions == prediction))
        surest = rows[np.argsort(-confidence[rows], kind="stable")][:EACH]
        return tuple(thumbnail(photo, PAIR_SIDE) for _, photo in _photos(result, surest))

    for pair in most_confused(result.evaluation.confusion, SHOWN_PAIRS):
        taken, right = pair.truth, pair.prediction
        found[taken, right] = Examples(pictures(taken, right), pictures(right, right))
    return found


def _photos(
    result: SplitResult, rows: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield rows of a result and their photos; none for a file that has gone since."""
    for row in rows.tolist():
        found, pixels = result.cache.get(result.scored[[row]])
        if len(found):
            yield row, pixels[0]
