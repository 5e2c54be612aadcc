"""How good a model is on a split: the figures, the rows behind them, and the pictures."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resnets.console import Console
from resnets.data.cache import ImageCache, Storage
from resnets.data.sources import Dataset, Samples, open_dataset
from resnets.data.split import SPLITS
from resnets.errors import UserError
from resnets.evaluate import Evaluation, ReportPhoto, evaluate, write_report
from resnets.evaluate.robustness import Robustness
from resnets.files import atomic
from resnets.novelty import fit_unknown, some
from resnets.pages import thumbnail
from resnets.predict import Predictor
from resnets.robustness import measure
from resnets.training.distributed import Ranks
from resnets.training.inference import score_split
from resnets.weights import model_file

MISTAKES = 24
LISTED = 20


@dataclass(frozen=True, eq=False)
class SplitResult:
    """A model on a split.

    Attributes:
      split: its name.
      cache: the photos of the whole split, with those that do not decode.
      scored: which of them do, as positions.
      probabilities: ``scored classes``.
      evaluation: the figures over those that decode.
      robustness: the figures of them corrupted, where they were asked for.
    """

    split: str
    cache: ImageCache
    scored: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    evaluation: Evaluation
    robustness: Robustness | None = None

    @property
    def samples(self) -> Samples:
        return self.cache.samples

    @property
    def failed(self) -> Mapping[int, str]:
        """The photos that do not decode, with the reason where this process has tried."""
        lost = np.setdiff1d(np.arange(len(self.samples)), self.scored)
        return {int(i): self.cache.failed.get(int(i), "does not decode") for i in lost}

    def to_json(self) -> dict[str, Any]:
        failed = {self.samples.ids[i]: reason for i, reason in sorted(self.failed.items())}
        robustness = {"robustness": self.robustness.to_json()} if self.robustness else {}
        return {
            "split": self.split,
            **self.evaluation.to_json(),
            **robustness,
            "failed": failed,
        }


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
    report: Path | None = None,
    out: Path | None = None,
    knowing: Path | None = None,
    robustness: Sequence[str] = (),
    limit: int | None = None,
    console: Console | None = None,
) -> SplitResult:
    """Measure a model file on labelled data.

    Args:
      model, data: a model file; and a folder, table, array file or built-in name.
      split: ``train``, ``val``, ``test`` or ``all``; else see `open_for`.
      columns: `open_dataset`'s ``path_column`` and ``label_column``.
      device, workers: where to compute, and threads that decode photos.
      engine, precision: what computes, and how exactly, as `Predictor.of` takes them.
      report, out: files for the HTML report and for every prediction (Parquet).
      knowing: a model file to write, of the same model with what tells unknown photos, from these.
      robustness: names of `resnets.data.corruptions` to judge it under, too, on `limit` photos.

    Raises:
      UserError: the model or the data cannot be used, or their classes differ.
    """
    console = console or Console()
    predictor = Predictor.load(
        model, device, workers=workers, engine=engine, precision=precision, say=console.say
    )
    dataset, samples, split, how = open_for(predictor, data, split, columns or {})
    if knowing and split in ("train", "all") and how == "as asked":
        raise UserError(
            f"--fit-unknown: photos that trained a network lie nearer than new ones, so not "
            f"--split {split}: val or test, or a folder of others without --split"
        )
    console.say(f"data     {dataset.root}: {len(samples):,} photos of {split} ({how})")
    cache = ImageCache(samples, predictor.model.preprocess, Storage("none"))
    if knowing:
        _write_knowing(predictor, cache, split, knowing, console)
    result = score(predictor, cache, split, console)
    if robustness:
        found = measure(predictor, samples, robustness, console, limit)
        result = dataclasses.replace(result, robustness=found)
    if out:
        write_predictions(result, predictor.classes, out)
    if report:
        title = f"{predictor.model.spec.name} on {dataset.name}"
        report_result(result, predictor, report, title, dataset)
    return result


def _write_knowing(
    predictor: Predictor, cache: ImageCache, split: str, path: Path, console: Console
) -> None:
    model, ready = predictor.model, predictor.ready
    total = len(some(len(cache.samples), len(model.classes)))
    with console.track("Features of known photos", total) as advance:
        knowing = fit_unknown(model, ready, cache, split, predictor.workers, advance)
    model_file.save(knowing, path)
    console.say(f"wrote    {path}, for predict --reject")


def score(
    predictor: Predictor,
    cache: ImageCache,
    split: str,
    console: Console,
    ranks: Ranks | None = None,
) -> SplitResult:
    """Evaluate a model on labelled photos, with the other processes of a run if there are any.

    Raises:
      UserError: not one of the photos decodes.
    """
    samples = cache.samples
    with console.track(f"Evaluating on {split}", len(samples)) as advance:
        scored, values = score_split(
            predictor.ready.engine,
            predictor.task,
            cache,
            predictor.workers,
            ranks,
            seen=advance,
        )
    figures = evaluate(values, samples.labels[scored], predictor.classes)
    return SplitResult(split, cache, scored, values, figures)


def headline(figures: Evaluation) -> dict[str, Any]:
    """Return what a model file notes of a result."""
    names = ("n", "top1", "top1_low", "top1_high", "top5", "balanced_accuracy")
    return {name: getattr(figures, name) for name in names}


def record_seen(dataset: Dataset) -> dict[str, Any]:
    """Return what a model file notes of the photos that training saw, so as to know them again.

    Only where the split was drawn: data with splits of its own says itself what is for testing.
    """
    if dataset.split_info["kind"] != "seeded":
        return {}
    seen = [dataset.splits[name].keys() for name in ("train", "val") if name in dataset.splits]
    return {"seen": base64.b64encode(np.concatenate(seen).astype("<u4").tobytes()).decode()}


def open_for(
    predictor: Predictor, data: str | Path, split: str | None, options: Mapping[str, Any]
) -> tuple[Dataset, Samples, str, str]:
    """Open data that a model is to be judged on.

    Data with splits of its own gives its ``test``, else its ``val``. Of a bare folder the photos
    that training saw are left out: they are known by their content from the model file.

    Returns:
      The data, the samples to judge on, the name of their split, and how it was chosen.

    Raises:
      UserError: the classes are not the model's, there is no such split, or training saw all.
    """
    record = predictor.model.data
    fractions: dict[str, Any] = {"val_fraction": 0.0, "test_fraction": 0.0}
    if split in SPLITS:  # perhaps one that training drew
        fractions = {k: record[k] for k in ("seed", *fractions) if k in record}
    dataset = open_dataset(data, **options, **fractions)
    _check_classes(dataset.classes, predictor.classes)
    if split is not None:
        if split not in dataset.splits:
            there = ", ".join(dataset.splits)
            raise UserError(f"{data} has no split {split!r}; there are: {there}")
        return dataset, dataset.splits[split], split, "as asked"
    for own in ("test", "val"):
        if own in dataset.splits:
            return dataset, dataset.splits[own], own, "a split of the data"
    everything = dataset.splits["all"]
    seen = np.frombuffer(base64.b64decode(record.get("seen", "")), "<u4")
    fresh = ~np.isin(everything.keys(), seen)
    if fresh.all():
        return dataset, everything, "all", "no file of it was seen in training"
    if not fresh.any():
        raise UserError(f"training saw every photo of {data}; --split all scores them all the same")
    return dataset, everything.subset(fresh), "test", "the part that training held out"


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
        facts=_facts(predictor, dataset),
        mistakes=worst_mistakes(result, predictor.classes),
        notes=notes,
        robustness=result.robustness,
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
        },
        "Data": {"source": dataset.root, "classes": str(len(dataset.classes)), **splits}
        | {k: str(v) for k, v in model.data.items() if k in ("fingerprint", "kind", "seed")},
        "Recipe": {k: str(v) for k, v in model.recipe.items()},
        "Machine": machine | dict(model.versions),
    }


def write_predictions(result: SplitResult, classes: tuple[str, ...], path: Path) -> None:
    """Write one row a photo: path, truth, label, probability, status, and all probabilities.

    The last is empty for a photo that does not decode.
    """
    n, k = len(result.samples), len(classes)
    best = result.probabilities.argmax(1)
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
    truth = result.samples.labels[result.scored]
    best = result.probabilities.argmax(1)
    confidence = result.probabilities.max(1)
    wrong = np.flatnonzero(best != truth)
    photos = []
    for row in wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]:
        i = int(result.scored[row])
        found, pixels = result.cache.get(np.array([i]))
        if not len(found):  # the file has gone since
            continue
        photos.append(
            ReportPhoto(
                path=result.samples.ids[i],
                truth=classes[truth[row]],
                prediction=classes[best[row]],
                probability=float(confidence[row]),
                thumbnail=thumbnail(pixels[0]),
            )
        )
    return photos
