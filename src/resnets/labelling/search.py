"""``resnets check DATA --labels``: which labels of a data set are likely to be wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from resnets.console import Console
from resnets.data.folds import deal
from resnets.data.folds import kin as kin_of
from resnets.data.sources import Dataset, open_dataset
from resnets.errors import Interrupted, UserError
from resnets.evaluate.mislabelled import find
from resnets.judging.heldout import as_drawn, count_seen
from resnets.labelling.by_features import features, judge
from resnets.labelling.by_training import from_trainings
from resnets.labelling.found import LabelCheck
from resnets.labelling.out_of_fold import OutOfFold
from resnets.tasks.classify import Classify
from resnets.training.budget import parse_budget
from resnets.training.machine import default_workers
from resnets.training.recipe import Recipe
from resnets.training.recipes import get_recipe
from resnets.training.run_folder import RunFolder
from resnets.weights.convert import open_model
from resnets.weights.model_file import Model

PROBABILITIES = "probabilities.parquet"
FAST = "fast"
"""The recipe of trainings from scratch: few epochs, as wrong labels are learnt last (Arpit et al.
2017, arXiv:1706.05394)."""
QUICKER = "; with --weights MODEL it takes the time of an evaluation"


def check_labels(
    data: Any,
    *,
    weights: str | Path | None = None,
    folds: int = 5,
    seed: int = 0,
    groups: Mapping[str, Hashable] | None = None,
    recipe: str | Recipe | None = None,
    epochs: int | None = None,
    budget: str | float | None = None,
    model: str | None = None,
    size: int | None = None,
    work: str | Path | None = None,
    device: str | None = None,
    workers: int | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    quiet: bool = False,
) -> LabelCheck:
    """Find labels that are likely to be wrong, by networks that never saw the photo.

    All photos are judged, of whichever split. What was stopped goes on where it was, by the same
    call. Nothing of the data is changed.

    Args:
      data: a folder, table, array file or built-in name; or a pair (images, labels) in memory.
      weights: a network whose features are taken, and that was not trained on these labels: a model
        file, another project's checkpoint, or a published name. Without it every fold is trained
        from scratch, which takes `folds` times as long as a training.
      folds, seed: in how many parts the photos are dealt, and how.
      groups: the group of an id; photos of a group, such as duplicates, are judged together. Files
        of the same content if None.
      recipe, epochs, budget, model, size: of the trainings, as `resnets.train` takes them; the
        recipe is ``fast`` if not given, and the budget is for all folds together. With `weights` a
        recipe other than ``linear`` has every fold trained, starting from them.
      work: the folder of what is computed; ``runs/<data>-labels-<key>`` if None, where the key
        follows from all of the above and the data.
      device, workers: where to compute, and threads that decode photos.
      path_column, label_column: of a table, where the names do not tell.
      quiet: say nothing but warnings.

    Raises:
      UserError: something given cannot be used; the message says what and how to mend it.
      Interrupted: stopped; the same call goes on.
    """
    limit, console = parse_budget(budget), Console(quiet)
    columns: dict[str, Any] = {"path_column": path_column, "label_column": label_column}
    dataset = open_dataset(data, val_fraction=0.0, test_fraction=0.0, **columns)
    samples = dataset.splits["all"]
    start = None if weights is None else open_model(weights, arch=model, say=console.say)
    if start is not None:
        _check_unseen(start, data, columns, dataset, weights)
    chosen = get_recipe(recipe) if isinstance(recipe, str) else recipe
    frozen = start is not None and (chosen is None or chosen.linear)
    if frozen:
        _check_learnt(epochs=epochs, budget=budget, size=size)
    kin = kin_of(samples, groups)
    fold = deal(samples.ids, samples.labels, kin, folds, seed)
    said = (folds, seed, recipe, epochs, limit, model, size, kin.tolist(), _digest(start))
    key = hashlib.sha256(repr((dataset.fingerprint(), *said)).encode()).hexdigest()
    folder = Path(work) if work else Path("runs") / f"{dataset.name}-labels-{key[:8]}"
    how = _how(start, frozen, folds, recipe)
    console.say(f"labels   {len(samples):,} photos by {how}{'' if start else QUICKER}")
    console.say(f"folder   {folder}; a stopped command goes on from there")
    with _working(folder, key) as finished:
        if finished.exists():
            console.say("         judged before: nothing to compute")
            judgement = OutOfFold.read(finished, len(dataset.classes))
        elif frozen:
            assert start is not None
            workers = default_workers() if workers is None else workers
            found, failed = features(start, samples, folder, device, workers, console)
            judgement = judge(found, failed, samples, kin, folds, seed, console)
        else:
            options: dict[str, Any] = {"epochs": epochs, "model": model, "size": size}
            options |= {"recipe": recipe if start else recipe or FAST, "weights": weights}
            options |= {"device": device, "workers": workers, "quiet": quiet}
            judgement = from_trainings(
                data, samples, fold, seed, folder, limit, console, **options, **columns
            )
        judgement.write(finished, samples, dataset.classes)
        for file in folder.glob("features-*.npz"):  # many times as large, and of no more use
            file.unlink()
    judged = judgement.judged
    if not len(judged):
        raise UserError(f"not one of the {len(samples):,} photos can be judged")
    result = find(judgement.probabilities[judged], samples.labels[judged], dataset.classes)
    return LabelCheck(dataset, judgement, result, how, folder)


def _check_learnt(**options: Any) -> None:
    """Refuse options of trainings where there are none."""
    for name, value in options.items():
        if value is not None:
            raise UserError(
                f"--{name} {value}: is for trainings, and with --weights there are none, unless "
                "--recipe names one, such as finetune"
            )


def _digest(start: Model | None) -> str:
    """Return what changes with the weights, and with how they are used."""
    if start is None:
        return ""
    used = (start.spec.to_dict(), start.preprocess.to_dict())
    digest = hashlib.sha256(json.dumps(used, sort_keys=True).encode())
    for name, value in sorted(start.weights.items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _how(start: Model | None, frozen: bool, folds: int, recipe: str | Recipe | None) -> str:
    """Say what judges the photos."""
    if frozen:
        assert start is not None
        return f"{folds} linear classifiers on features of {start.spec.name}"
    named = recipe.name if isinstance(recipe, Recipe) else recipe
    if start is None:
        return f"{folds} trainings from scratch by recipe {named or FAST}"
    return f"{folds} trainings from {start.spec.name} by recipe {named}"


@contextmanager
def _working(folder: Path, key: str) -> Iterator[Path]:
    """Keep a folder for one process and one question; yield where its answer is written."""
    note = folder / "key"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from None
    with RunFolder(folder).lock():
        there = [path for path in folder.iterdir() if not path.name.startswith(".")]
        if there and (not note.is_file() or note.read_text() != key):
            raise UserError(f"{folder} holds something else: name another folder, or none")
        note.write_text(key)
        try:
            yield folder / PROBABILITIES
        except (KeyboardInterrupt, Interrupted):
            raise Interrupted(f"stopped; the same command goes on from {folder}") from None


def _check_unseen(
    model: Model, data: Any, columns: Mapping[str, Any], dataset: Dataset, weights: Any
) -> None:
    """Raise UserError for weights that have learnt these very labels, the wrong ones with them."""
    if model.task != Classify.name:
        raise UserError(f"{weights}: {model.spec.name} tells no classes apart; take another model")
    samples = dataset.splits["all"]
    known = count_seen(model, dataset, "train", samples)
    if known is None and "fingerprint" in model.data:  # perhaps split as training drew it
        with suppress(UserError):  # classes too small for such a split: it is not
            drawn = open_dataset(data, **columns, **as_drawn(model))
            known = count_seen(model, drawn, "train", samples)
    if known:
        raise UserError(
            f"{weights} was trained on {known:,} of these {len(samples):,} photos, and knows their "
            "labels, the wrong ones too: give weights of other photos, or leave --weights out"
        )
