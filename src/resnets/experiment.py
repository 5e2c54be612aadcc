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

from resnets.console import Console
from resnets.data.cache import ImageCache, choose_storage
from resnets.data.preprocess import Preprocess
from resnets.data.sizes import median_short_side
from resnets.data.sources import Dataset, open_dataset
from resnets.display import Display
from resnets.errors import UserError
from resnets.evaluate import Evaluation
from resnets.evaluation import report_result, score, write_predictions
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
from resnets.training.recipe import Recipe, choose, get_recipe, override
from resnets.training.run_folder import Config, RunFolder
from resnets.version import VERSION
from resnets.weights import model_file
from resnets.weights.model_file import Model
from resnets.zoo import get_spec

SMALL = 48  # up to this many pixels a photo is small: small stem, small network
SIZES = (64, 96, 128, 160, 192, 224)
MARGIN = 8 / 7  # resize to size × 8/7, as the usual 256 for 224
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
    channels: int = 3,
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
    path_column: str | None = None,
    label_column: str | None = None,
    quiet: bool = False,
) -> Run:
    """Train a residual network on labelled photos; what is not given is chosen and announced.

    Args:
      data: a folder, table, array file or built-in name; or a pair (images, labels) in memory.
      model: a name of the zoo or a spec; by the size of the photos if None.
      weights: a model file to start from.
      size: side of the network's input, pixels; by the size of the photos if None.
      channels: 3, or 1 to read photos as grey.
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
      path_column, label_column: of a table, where the names do not tell.
      quiet: say nothing.

    Raises:
      UserError: something given cannot be used; the message says what and how to mend it.
      Interrupted: stopped by Ctrl-C or SIGTERM; the run can be resumed.
    """
    console = Console(quiet)
    machine = Machine.detect(device, precision, compile)
    options: dict[str, Any] = {
        "seed": seed,
        "val_fraction": val_fraction,
        "test_fraction": test_fraction,
        "path_column": path_column,
        "label_column": label_column,
    }
    dataset = open_dataset(data, **options)
    _announce_data(dataset, console)
    start = model_file.load(weights) if weights is not None else None
    preprocess = _choose_preprocess(dataset, size, channels, start, console)
    spec = _choose_spec(dataset, model, stem, preprocess, start, console)
    chosen = _choose_recipe(dataset, recipe, preprocess, epochs, batch_size, overrides, console)
    folder = _create_folder(out, dataset, spec)
    config = Config(
        data=dataset.root,
        data_options=options,
        fingerprint=_fingerprint(dataset),
        split=dataset.split_info,
        classes=dataset.classes,
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
    return _execute(folder, config, dataset, console, start)


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
    if device:
        changes["machine"] = {**config.machine, "device": device}
    config = dataclasses.replace(config, **changes)
    if config.data == "memory":
        raise UserError(f"{run}: trained on arrays in memory, which a resume cannot open again")
    dataset = open_dataset(config.data, **config.data_options)
    if _fingerprint(dataset) != config.fingerprint:
        raise UserError(
            f"{config.data} has changed since {run} began: files, labels or splits differ; "
            "train anew, or restore the data"
        )
    return _execute(folder, config, dataset, console, None)


# -- the choices --------------------------------------------------------------------------------


def _announce_data(dataset: Dataset, console: Console) -> None:
    counts = ", ".join(f"{name} {len(s):,}" for name, s in dataset.splits.items() if name != "all")
    console.say(f"data     {dataset.root}: {len(dataset.classes)} classes; {counts}")
    for note in dataset.notes:
        console.say(f"         {note}")
    for what, count in dataset.ignored.items():
        console.say(f"         ignored: {count:,} {what}")


def _choose_preprocess(
    dataset: Dataset, size: int | None, channels: int, start: Model | None, console: Console
) -> Preprocess:
    if start is not None and size is None:
        console.say(f"size     {start.preprocess.size} px, as the weights were trained with")
        return start.preprocess
    side = median_short_side(dataset.splits["train"])
    if side is None:
        raise UserError(f"{dataset.root}: not one of the photos looked at can be opened")
    if size is None:
        size = side if side <= SMALL else max([s for s in SIZES if s <= side], default=SMALL)
        console.say(
            f"size     {size} px: half of the photos are {side} px or more on the short side"
        )
    resize = max(size, min(side, round(size * MARGIN)) if size > SMALL else size)
    try:
        return Preprocess.for_photos(size, resize, channels)
    except ValueError as error:
        raise UserError(str(error)) from None


def _choose_spec(
    dataset: Dataset,
    model: str | ResNetSpec | None,
    stem: str,
    preprocess: Preprocess,
    start: Model | None,
    console: Console,
) -> ResNetSpec:
    small = preprocess.size <= SMALL
    if model is None and start is not None:
        spec = start.spec
    else:
        name = model or ("resnet20" if small else "resnet18")
        spec = get_spec(name) if isinstance(name, str) else name
        if stem not in ("auto", "imagenet", "small"):
            raise UserError(f"--stem {stem}: one of auto, imagenet, small")
        if spec.stem.pool and (stem == "small" or (stem == "auto" and small)):
            spec = spec.with_small_stem()
            console.say("stem     small (3×3, stride 1, no pooling); --stem imagenet for the other")
    spec = spec.replace(
        num_classes=len(dataset.classes),
        in_channels=preprocess.channels,
        image_size=preprocess.size,
    )
    millions, gmacs = spec.params() / 1e6, spec.macs() / 1e9
    console.say(
        f"model    {spec.name}: {millions:.2f} M parameters, {gmacs:.3f} GMACs"
        + ("" if model else "; --model for another")
    )
    return spec


def _choose_recipe(
    dataset: Dataset,
    recipe: str | Recipe | None,
    preprocess: Preprocess,
    epochs: int | None,
    batch_size: int | None,
    overrides: Mapping[str, Any] | None,
    console: Console,
) -> Recipe:
    photos = len(dataset.splits["train"])
    name = recipe if recipe is not None else choose(photos, preprocess.size)
    base = get_recipe(name) if isinstance(name, str) else name
    changes: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
    if batch_size is not None:
        changes |= {"batch_size": batch_size, "lr": base.lr * batch_size / base.batch_size}
    chosen = override(base, {**changes, **(overrides or {})})
    console.say(
        f"recipe   {chosen.name}: {chosen.epochs} epochs, batches of {chosen.batch_size}, "
        f"{chosen.optimizer} at {chosen.lr:g}" + ("" if recipe else f", for {photos:,} photos")
    )
    return chosen


def _create_folder(out: str | Path | None, dataset: Dataset, spec: ResNetSpec) -> RunFolder:
    if out is not None:
        return RunFolder.create(Path(out))
    return RunFolder.numbered(Path("runs"), f"{dataset.name}-{spec.name}")


# -- the run ------------------------------------------------------------------------------------


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
    folder: RunFolder, config: Config, dataset: Dataset, console: Console, start: Model | None
) -> Run:
    """Train from wherever the run stands, then judge its best weights and write the report."""
    spec = ResNetSpec.from_dict(config.spec)
    preprocess = Preprocess.from_dict(config.preprocess)
    recipe = Recipe(**{**config.recipe, "milestones": tuple(config.recipe["milestones"])})
    machine = Machine(**config.machine)
    caches = _decode(folder, dataset, preprocess, config.workers, console)
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
            "fingerprint": dataset.splits["all"].fingerprint(),
            "photos": len(dataset.splits["all"]),
            **config.split,
        },
        versions=config.versions,
    )
    display = Display(console, recipe.epochs)
    with graceful(console.say) as interrupt, display:
        trainer = Trainer(
            _network(spec, recipe, config.seed, start, console),
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
        state = checkpoint.load_newest(folder.checkpoints, console.warn)
        if state:
            trainer.restore(*state)
            progress = trainer.progress
            console.say(f"resumed  at epoch {progress.epoch + 1}, step {progress.step + 1}")
        else:
            trainer.save()
        try:
            history = trainer.run().history
        except Interrupted:
            raise Interrupted(f"stopped; continue with: resnets resume {folder.path}") from None
    return _finish(folder, config, dataset, caches, machine, history, console)


def _decode(
    folder: RunFolder, dataset: Dataset, preprocess: Preprocess, workers: int, console: Console
) -> dict[str, ImageCache]:
    """Make the caches of all splits and fill them; a class without a readable photo is an error."""
    photo = preprocess.resize**2 * preprocess.channels
    splits = {name: samples for name, samples in dataset.splits.items() if name != "all"}
    storage = choose_storage(photo * sum(map(len, splits.values())), folder.path)
    caches = {name: ImageCache(s, preprocess, storage) for name, s in splits.items()}
    total = sum(map(len, splits.values()))
    with console.track("Decoding photos", total) as advance:
        for cache in caches.values():
            for count in cache.fill(workers):
                advance(count)
    failed = [
        (cache.samples.path(i), why) for cache in caches.values() for i, why in _sorted(cache)
    ]
    for path, why in failed[:10]:
        console.warn(f"{path}: {why}; left out")
    if failed:
        console.warn(f"{len(failed):,} of {total:,} photos do not decode and are left out")
    train = caches["train"]
    lost = set(train.failed)
    readable = {int(label) for i, label in enumerate(train.samples.labels) if i not in lost}
    for label, name in enumerate(dataset.classes):
        if label not in readable:
            raise UserError(f"class {name!r}: none of its training photos decodes")
    return caches


def _sorted(cache: ImageCache) -> list[tuple[int, str]]:
    return sorted(cache.failed.items())


def _network(
    spec: ResNetSpec, recipe: Recipe, seed: int, start: Model | None, console: Console
) -> ResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ResNet(spec)
    if recipe.zero_init:
        zero_init_residual(net)
    if start is not None:
        own = net.state_dict()
        fitting = {k: v for k, v in start.weights.items() if k in own and own[k].shape == v.shape}
        missing = [name for name in own if name not in fitting]
        if any(not name.startswith("fc.") for name in missing):
            raise UserError(f"the weights are of {start.spec.name} and do not fit {spec.name}")
        net.load_state_dict(fitting, strict=False)
        console.say(f"weights  of {start.spec.name}" + ("; new classifier" if missing else ""))
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
    result = score(predictor, caches[split].samples, split, console, caches[split])
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
