"""`train` and `resume`: from what the user names to a run folder with a model and a report."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor

from resnets.choices import (
    announce_data,
    check_options,
    choose_preprocess,
    choose_recipe,
    choose_spec,
)
from resnets.console import Console
from resnets.data.cache import ImageCache
from resnets.data.preprocess import Preprocess
from resnets.data.sources import Dataset, open_dataset
from resnets.decoding import decode_splits
from resnets.display import Display
from resnets.errors import UserError
from resnets.evaluate import Evaluation
from resnets.evaluation import record_seen, report_result, score, write_predictions
from resnets.nn import ResNet
from resnets.nn.surgery import zero_init_residual
from resnets.predict import Predictor
from resnets.spec import ResNetSpec
from resnets.tasks.classify import Classify
from resnets.training import checkpoint
from resnets.training.events import write_events
from resnets.training.interrupt import graceful
from resnets.training.loop import Interrupted, Trainer
from resnets.training.machine import Machine, default_workers
from resnets.training.recipe import Recipe
from resnets.training.run_folder import Config, RunFolder
from resnets.version import VERSION
from resnets.weights import hub, model_file
from resnets.weights.adapt import HEAD
from resnets.weights.convert import open_model
from resnets.weights.model_file import Model

CHECKPOINT_EVERY = 600.0


@dataclass(frozen=True)
class Run:
    """A finished training run: its folder, model file and figures on held-out photos."""

    path: Path
    model: Path
    report: Path
    split: str
    evaluation: Evaluation


def train(
    data: Any,
    *,
    model: str | ResNetSpec | None = None,
    weights: str | Path | None = None,
    size: int | None = None,
    channels: int | None = None,
    stem: str = "auto",
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    recipe: str | Recipe | None = None,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    precision: str = "auto",
    compile: bool = False,
    workers: int | None = None,
    checkpoint_every: float = CHECKPOINT_EVERY,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    split_table: str | Path | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    quiet: bool = False,
) -> Run:
    """Train a residual network on labelled photos; what is not given is chosen and announced.

    Args:
      data: a folder, table, array file or built-in name; or a pair (images, labels) in memory.
      model: a name of the zoo or a spec; by the size of the photos if None.
      weights: what to start from: a model file, another project's checkpoint, or a published name
        such as ``timm/resnet50.a1_in1k``; the recipe is then ``finetune`` if none is given.
      size: side of the network's input, pixels; by the size of the photos if None.
      channels: 3, or 1 to read photos as grey; as the weights have it, else 3, if None.
      stem: ``auto`` (small for photos of up to 48 px), ``imagenet`` or ``small``.
      epochs, batch_size: instead of the recipe's; the rate follows the batch size.
      seed: of the split, the initialisation, the order and the augmentation.
      recipe, overrides: a recipe or its name, and fields to replace in it.
      out: the run folder; ``runs/<data>-<model>-<n>`` if None.
      device, precision, compile: ``cpu``, ``cuda``…; ``auto``, ``fp32`` or ``bf16``; whether to
        compile the training step.
      workers: threads that decode photos.
      checkpoint_every: seconds between checkpoints within an epoch; each epoch ends with one.
      val_fraction, test_fraction: of a source that has no such split.
      split_table: a CSV or Parquet of the split of every photo, such as a run's ``splits.csv``.
      path_column, label_column: of a table, where the names do not tell.
      quiet: say nothing but warnings.

    Raises:
      UserError: something given cannot be used; the message says what and how to mend it.
      Interrupted: stopped by Ctrl-C or SIGTERM; the run can be resumed.
    """
    console = Console(quiet)
    if not 0 <= seed < 2**63:
        raise UserError(f"--seed {seed}: from 0 to 2⁶³ - 1")
    check_options(model, stem, channels, recipe, overrides)
    if out is not None:
        RunFolder.check_free(Path(out))
    start = None
    if weights is not None:
        arch = model if isinstance(model, str) else None
        start = open_model(weights, arch=arch, say=console.say)
        weights = str(weights) if hub.is_name(weights) else str(Path(weights).resolve())
    machine = Machine.detect(device, precision, compile)
    options: dict[str, Any] = {
        "seed": seed,
        "val_fraction": val_fraction,
        "test_fraction": test_fraction,
        "split_table": None if split_table is None else str(Path(split_table).absolute()),
        "path_column": path_column,
        "label_column": label_column,
    }
    dataset = open_dataset(data, **options)
    announce_data(dataset, console)
    preprocess = choose_preprocess(dataset, size, channels, start, console)
    spec = choose_spec(dataset, model, stem, preprocess, start, console)
    chosen = choose_recipe(
        dataset, recipe, preprocess, epochs, batch_size, overrides, start, console
    )
    folder = _create_folder(out, dataset, spec)
    config = Config(
        data=dataset.root if isinstance(data, str | Path) else None,
        data_options=options,
        fingerprint=_fingerprint(dataset),
        split=dataset.split_info,
        classes=dataset.classes,
        weights=None if weights is None else str(weights),
        start={} if start is None else _record(start),
        spec=spec.to_dict(),
        preprocess=preprocess.to_dict(),
        recipe=chosen.to_dict(),
        machine=machine.to_dict(),
        seed=seed,
        workers=default_workers() if workers is None else workers,
        checkpoint_every=checkpoint_every,
        versions=_versions(),
    )
    folder.write_config(config)
    folder.write_splits({k: v.ids for k, v in dataset.splits.items() if k != "all"})
    console.say(f"run      {folder.path}")
    try:
        return _execute(folder, config, dataset, start, console)
    except UserError:
        if not checkpoint.generations(folder.checkpoints):
            folder.discard()
        raise


def resume(
    run: str | Path, *, device: str | None = None, workers: int | None = None, quiet: bool = False
) -> Run:
    """Continue an interrupted run from its newest checkpoint, with the choices it began with.

    Raises:
      UserError: not a run folder, or its data has changed since.
    """
    console = Console(quiet)
    folder = RunFolder(Path(run))
    config = folder.read_config()
    changes: dict[str, Any] = {"workers": workers} if workers is not None else {}
    recorded = Machine(**config.machine)
    same = device in (None, recorded.device)
    precision = recorded.precision if same else "auto"
    machine = Machine.detect(device or recorded.device, precision, recorded.compile)
    config = dataclasses.replace(config, **changes, machine=machine.to_dict())
    if config.data is None:
        raise UserError(f"{run}: trained on arrays in memory, which a resume cannot open again")
    dataset = open_dataset(config.data, **config.data_options)
    if _fingerprint(dataset) != config.fingerprint:
        raise UserError(
            f"{config.data} has changed since {run} began: files, labels or splits differ; "
            "train anew, or restore the data"
        )
    return _execute(folder, config, dataset, None, console)


# -- the run ------------------------------------------------------------------------------------


def _record(start: Model) -> dict[str, Any]:
    """Return what a run's own model files carry on of the weights that it starts from."""
    data = {k: v for k, v in start.data.items() if k != "seen"}
    return {"licence": start.licence, "data": {"spec": start.spec.name, **data}}


def _create_folder(out: str | Path | None, dataset: Dataset, spec: ResNetSpec) -> RunFolder:
    if out is not None:
        return RunFolder.create(Path(out))
    return RunFolder.numbered(Path("runs"), f"{dataset.name}-{spec.name}")


@dataclass(frozen=True)
class _Keeper:
    """Writes the model files and the history of a run."""

    folder: RunFolder
    template: Model

    def keep(self, name: str, weights: Mapping[str, Tensor], row: Mapping[str, float]) -> None:
        model = dataclasses.replace(self.template, weights=weights, metrics=dict(row))
        model_file.save(model, self.folder.path / f"{name}.safetensors")

    def history(self, rows: list[dict[str, float]]) -> None:
        self.folder.write_history(rows)
        write_events(self.folder.path, rows[-1])


def _execute(
    folder: RunFolder, config: Config, dataset: Dataset, start: Model | None, console: Console
) -> Run:
    """Train from wherever the run stands, then judge its best weights and write the report."""
    spec = ResNetSpec.from_dict(config.spec)
    preprocess = Preprocess.from_dict(config.preprocess)
    recipe = Recipe.from_dict(config.recipe)
    machine = Machine(**config.machine)
    caches = decode_splits(folder.path, dataset, preprocess, config.workers, console)
    task = Classify.for_labels(
        dataset.classes,
        dataset.splits["train"].labels,
        recipe.label_smoothing,
        recipe.class_weights,
    )
    template = Model(
        spec=spec,
        classes=dataset.classes,
        preprocess=preprocess,
        weights={},
        recipe=config.recipe,
        data={
            "name": dataset.name,
            "fingerprint": config.fingerprint,
            "photos": len(dataset.splits["all"]),
            **config.split,
            **record_seen(dataset),
            **({"start": config.start["data"]} if config.start else {}),
        },
        licence=config.start.get("licence", ""),
        versions=config.versions,
    )
    display = Display(console, recipe.epochs)
    state = checkpoint.load_newest(folder.checkpoints, console.warn)
    if config.weights and not state and start is None:  # stopped before its first checkpoint
        start = open_model(config.weights, arch=spec.name)
    with graceful(console.say) as interrupt, display:
        trainer = Trainer(
            _network(spec, recipe, config.seed, None if state else start, dataset.classes, console),
            task,
            recipe,
            caches["train"],
            caches.get("val"),
            machine,
            seed=config.seed,
            workers=config.workers,
            checkpoints=folder.checkpoints,
            keeper=_Keeper(folder, template),
            observer=display,
            interrupt=interrupt,
            checkpoint_every=config.checkpoint_every,
        )
        if state:
            trainer.restore(*state)
            progress = trainer.progress
            finished = progress.epoch >= recipe.epochs
            where = f"at epoch {progress.epoch + 1}, step {progress.step + 1}"
            console.say(
                "resumed  " + ("after the last epoch: judging again" if finished else where)
            )
        else:
            trainer.save()
        try:
            history = trainer.run().history
        except (Interrupted, KeyboardInterrupt):
            raise Interrupted(f"stopped; continue with: resnets resume {folder.path}") from None
        except torch.OutOfMemoryError:
            raise UserError(
                f"out of memory on {machine.device}: try --batch-size {recipe.batch_size // 2}, "
                "a smaller --size or --set accumulate=2"
            ) from None
    return _finish(folder, config, dataset, caches, machine, history, console)


def _network(
    spec: ResNetSpec,
    recipe: Recipe,
    seed: int,
    start: Model | None,
    classes: tuple[str, ...],
    console: Console,
) -> ResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ResNet(spec)
    if recipe.zero_init:
        zero_init_residual(net)
    if start is not None:
        # A classifier fits only the very classes, in the very order, that it was trained for.
        same = start.classes == classes
        kept = {k: v for k, v in start.weights.items() if same or not k.startswith(HEAD)}
        net.load_state_dict(kept, strict=same)
        console.say(f"weights  of {start.spec.name}" + ("" if same else "; new classifier"))
    return net


def _finish(
    folder: RunFolder,
    config: Config,
    dataset: Dataset,
    caches: Mapping[str, ImageCache],
    machine: Machine,
    history: list[dict[str, float]],
    console: Console,
) -> Run:
    """Judge the best weights on photos that training never used, and write it all down."""
    predictor = Predictor.load(folder.best, machine.device, config.workers)
    split = next(name for name in ("test", "val", "train") if name in caches)
    if split == "train":
        console.warn("no photos were held out: the figures are of the training photos themselves")
    result = score(predictor, caches[split], split, console)
    figures = result.evaluation
    metrics = {**predictor.model.metrics, "split": split, **_headline(figures)}
    model_file.save(dataclasses.replace(predictor.model, metrics=metrics), folder.best)
    write_predictions(result, predictor.classes, folder.predictions)
    title = f"{config.spec['name']} on {dataset.name}"
    report_result(result, predictor, folder.report, title, dataset, history)
    console.say(f"{split:8} {figures.summary()}")
    console.say(f"model    {folder.best}")
    console.say(f"report   {folder.report}")
    return Run(folder.path, folder.best, folder.report, split, figures)


def _headline(figures: Evaluation) -> dict[str, Any]:
    names = ("n", "top1", "top1_low", "top1_high", "top5", "balanced_accuracy")
    return {name: getattr(figures, name) for name in names}


def _fingerprint(dataset: Dataset) -> str:
    digest = hashlib.sha256()
    for name, samples in sorted(dataset.splits.items()):
        if name == "all":  # every sample of it is in another split: read no file twice
            continue
        digest.update(f"{name} {samples.fingerprint()}\n".encode())
    digest.update("\0".join(dataset.classes).encode())
    return digest.hexdigest()[:16]


def _versions() -> dict[str, str]:
    return {
        "resnets": VERSION,
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "python": platform.python_version(),
    }
