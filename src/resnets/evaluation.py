"""How good a model is on a split: the figures, the rows behind them, and the pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from resnets.console import Console
from resnets.data.cache import ImageCache, Storage
from resnets.data.preprocess import Preprocess
from resnets.data.sources import Dataset, Samples, open_dataset
from resnets.errors import UserError
from resnets.evaluate import Evaluation, ReportPhoto, evaluate, write_report
from resnets.files import atomic
from resnets.predict import Predictor
from resnets.training.inference import score_split
from resnets.training.machine import Machine
from resnets.weights.model_file import Model

MISTAKES = 24
THUMBNAIL = 160
LISTED = 20


@dataclass(frozen=True, eq=False)
class SplitResult:
    """A model on a split.

    Attributes:
      split: its name.
      samples: the whole split.
      scored: which of them decode, as positions.
      probabilities: ``scored classes``.
      failed: the others, with the reason.
      evaluation: the figures over those that decode.
    """

    split: str
    samples: Samples
    scored: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    failed: Mapping[int, str]
    evaluation: Evaluation

    def to_json(self) -> dict[str, Any]:
        failed = {self.samples.ids[i]: reason for i, reason in sorted(self.failed.items())}
        return {"split": self.split, **self.evaluation.to_json(), "failed": failed}


def evaluate_model(
    model: str | Path,
    data: str | Path,
    split: str | None = None,
    columns: Mapping[str, Any] | None = None,
    *,
    device: str | None = None,
    workers: int | None = None,
    report: Path | None = None,
    out: Path | None = None,
    console: Console | None = None,
) -> SplitResult:
    """Measure a model file on labelled data.

    Args:
      model, data: a model file; and a folder, table, array file or built-in name.
      split: ``train``, ``val``, ``test`` or ``all``; else see `open_for`.
      columns: `open_dataset`'s ``path_column`` and ``label_column``.
      device, workers: where to compute, and threads that decode photos.
      report, out: files for the HTML report and for every prediction (Parquet).

    Raises:
      UserError: the model or the data cannot be used, or their classes differ.
    """
    console = console or Console()
    predictor = Predictor.load(model, device, workers)
    dataset, split, how = open_for(predictor, data, split, columns or {})
    samples = dataset.splits[split]
    console.say(f"data     {dataset.root}: {len(samples):,} photos of {split} ({how})")
    result = score(predictor, samples, split, console)
    if out:
        write_predictions(result, predictor.classes, out)
    if report:
        title = f"{predictor.model.spec.name} on {dataset.name}"
        report_result(result, predictor, report, title, dataset)
    return result


def score(
    predictor: Predictor,
    samples: Samples,
    split: str,
    console: Console,
    cache: ImageCache | None = None,
) -> SplitResult:
    """Evaluate a model on labelled samples, decoding them anew unless they are cached.

    Raises:
      UserError: not one of the photos decodes.
    """
    cache = cache or ImageCache(samples, predictor.model.preprocess, Storage("none"))
    with console.track(f"Evaluating on {split}", len(samples)) as advance:
        scored, values = score_split(
            predictor.net, predictor.task, predictor.machine, cache, predictor.workers, advance
        )
    figures = evaluate(values, samples.labels[scored], predictor.classes)
    return SplitResult(split, samples, scored, values, dict(cache.failed), figures)


def open_for(
    predictor: Predictor, data: str | Path, split: str | None, options: Mapping[str, Any]
) -> tuple[Dataset, str, str]:
    """Open data that a model is to be judged on; return it with the split and how it was chosen.

    Data with splits gives its ``test``, else its ``val``. A bare folder gives the held-out part if
    the model was trained on that very folder (its fingerprint is in the model file), else all.

    Raises:
      UserError: the classes are not the model's, or there is no such split.
    """
    record = predictor.model.data
    seeded = {k: record[k] for k in ("seed", "val_fraction", "test_fraction") if k in record}
    dataset = open_dataset(data, **{**options, **seeded})
    _check_classes(dataset.classes, predictor.classes)
    if dataset.splits["all"].fingerprint() == record.get("fingerprint"):
        how = "the part that training held out"
    elif dataset.split_info["kind"] == "seeded" and split is None:
        split, how = "all", "the data has no splits of its own"
    else:
        how = "a split of the data"
    choices = [name for name in ("test", "val", "all") if name in dataset.splits]
    split = split or choices[0]
    if split not in dataset.splits:
        there = ", ".join(dataset.splits)
        raise UserError(f"{data} has no split {split!r}; there are: {there}")
    return dataset, split, how


def _check_classes(data: tuple[str, ...], model: tuple[str, ...]) -> None:
    unknown = [name for name in data if name not in model]
    absent = [name for name in model if name not in data]
    if unknown or absent:
        parts = [f"only in the data: {_listed(unknown)}"] if unknown else []
        parts += [f"only in the model: {_listed(absent)}"] if absent else []
        raise UserError(f"the classes of the data are not the model's; {'; '.join(parts)}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def report_result(
    result: SplitResult,
    predictor: Predictor,
    path: Path,
    title: str,
    dataset: Dataset,
    history: Sequence[Mapping[str, float]] = (),
) -> None:
    """Write the HTML report of a result. Raises UserError if it cannot be written."""
    model = predictor.model
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
        history=history,
        facts=_facts(model, dataset, predictor.machine),
        mistakes=worst_mistakes(result, predictor.classes, model.preprocess),
        notes=notes,
    )


def _facts(model: Model, dataset: Dataset, machine: Machine) -> dict[str, dict[str, str]]:
    spec, preprocess = model.spec, model.preprocess
    splits = {f"{k} photos": f"{len(v):,}" for k, v in dataset.splits.items() if k != "all"}
    return {
        "Model": {
            "architecture": spec.name,
            "parameters": f"{spec.params():,}",
            "multiply-adds": f"{spec.macs(preprocess.size):,}",
            "input": f"{preprocess.size} px, {preprocess.channels} channels",
        },
        "Data": {"source": dataset.root, "classes": str(len(dataset.classes)), **splits}
        | {k: str(v) for k, v in model.data.items() if k in ("fingerprint", "kind", "seed")},
        "Recipe": {k: str(v) for k, v in model.recipe.items()},
        "Machine": machine.describe() | dict(model.versions),
    }


def write_predictions(result: SplitResult, classes: tuple[str, ...], path: Path) -> None:
    """Write one row a photo: path, truth, label, probability, status, and all probabilities."""
    n = len(result.samples)
    best = result.probabilities.argmax(1)
    label: list[str | None] = [None] * n
    probability: list[float | None] = [None] * n
    rows: list[list[float] | None] = [None] * n
    for i, winner, row in zip(result.scored, best, result.probabilities, strict=True):
        label[i], probability[i], rows[i] = classes[winner], float(row[winner]), row.tolist()
    table = pa.table(
        {
            "path": [result.samples.path(i) for i in range(n)],
            "truth": [classes[i] for i in result.samples.labels],
            "label": pa.array(label, pa.string()),
            "probability": pa.array(probability, pa.float32()),
            "status": [result.failed.get(i, "ok") for i in range(n)],
            "probabilities": pa.array(rows, pa.list_(pa.float32())),
        }
    )
    with atomic(path) as temporary:
        pq.write_table(table, temporary)


def worst_mistakes(
    result: SplitResult, classes: tuple[str, ...], preprocess: Preprocess
) -> list[ReportPhoto]:
    """Return the photos that the model got most confidently wrong, as the model saw them."""
    truth = result.samples.labels[result.scored]
    best = result.probabilities.argmax(1)
    confidence = result.probabilities.max(1)
    wrong = np.flatnonzero(best != truth)
    photos = []
    for row in wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]:
        i = int(result.scored[row])
        photos.append(
            ReportPhoto(
                path=result.samples.ids[i],
                truth=classes[truth[row]],
                prediction=classes[best[row]],
                probability=float(confidence[row]),
                thumbnail=_thumbnail(preprocess.prepare(result.samples.read(i))),
            )
        )
    return photos


def _thumbnail(photo: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(photo[..., 0] if photo.shape[2] == 1 else photo)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
