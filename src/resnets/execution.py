"""Carrying out a run: from wherever it stands to judged weights and a report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from resnets.audit.quick import quick_check
from resnets.console import Console
from resnets.data.cache import ImageCache
from resnets.data.plan import Plan
from resnets.data.preprocess import Preprocess
from resnets.data.sources import Dataset
from resnets.decoding import decode_splits
from resnets.display import Display
from resnets.errors import Interrupted, UserError
from resnets.evaluate import Evaluation
from resnets.judging.fitting import fitted
from resnets.judging.heldout import record_seen
from resnets.judging.reporting import report_result, write_predictions
from resnets.judging.scoring import headline, score
from resnets.judging.slicing import slice_result
from resnets.nn import ResNet
from resnets.nn.surgery import pass_through, whiten_stem, zero_init_residual
from resnets.novelty import some
from resnets.predict import Predictor
from resnets.spec import ResNetSpec
from resnets.tasks.classify import Classify
from resnets.training import checkpoint
from resnets.training.budget import epochs_within
from resnets.training.distributed import Ranks, State, noticing_loss
from resnets.training.events import write_events
from resnets.training.interrupt import graceful
from resnets.training.launch import watch_parent
from resnets.training.loop import Trainer
from resnets.training.machine import Machine
from resnets.training.optim import learning_rate
from resnets.training.progress import Progress
from resnets.training.recipe import Recipe
from resnets.training.run_folder import Config, RunFolder
from resnets.training.saver import Every
from resnets.training.speed import Speed, choose_speed
from resnets.training.trial import Trial
from resnets.weights import model_file
from resnets.weights.adapt import HEAD
from resnets.weights.convert import open_model
from resnets.weights.model_file import Model

SAMPLE = 2000
"""Training photos that whitening looks at."""


@dataclass(frozen=True)
class Run:
    """A finished training run: its folder, model file and figures on held-out photos."""

    path: Path
    model: Path
    report: Path
    split: str
    evaluation: Evaluation


def execute(
    folder: RunFolder,
    config: Config,
    dataset: Dataset,
    start: Model | None,
    console: Console,
    ranks: Ranks,
    epochs: int | None = None,
    moved: bool = False,
    began: float | None = None,
) -> Run:
    """Train from wherever the run stands, then judge its best weights and write the report.

    The leading process has locked the folder. With `epochs` the run is extended to so many; a run
    that has `moved` to another device is measured anew there. The run's budget counts from `began`
    (`time.monotonic`), or from now.
    """
    began = time.monotonic() if began is None else began
    spec = ResNetSpec.from_dict(config.spec)
    preprocess = Preprocess.from_dict(config.preprocess)
    speed = Speed.parse(config.speed)
    machine = Machine(**config.machine).of_rank(ranks.local)
    unmeasured = speed.on(Machine(machine.device))
    machine.take()
    state = _load(folder, console, ranks)
    planned = Recipe.from_dict(config.recipe)
    if state:  # it may have been extended
        planned = _lasting(planned, state[1]["progress"]["epochs"])
    recipe = planned if epochs is None else _extended(planned, epochs)
    task = Classify.for_labels(
        dataset.classes,
        dataset.splits["train"].labels,
        recipe.label_smoothing,
        recipe.class_weights,
    )
    share_out(recipe, len(dataset.splits["train"]), ranks, console)
    caches = decode_splits(folder.path, dataset, preprocess, config.workers, console, ranks)
    if ranks.leads and not state:
        quick_check(caches, console, config.data)
    if config.weights and not state and start is None:  # stopped before its first checkpoint
        start = open_model(config.weights, arch=spec.name)
    weights = None if state else start
    classes, photos = dataset.classes, caches["train"]
    net = _network(spec, recipe, config.seed, weights, classes, photos, console)
    if moved or not state:
        plan = Plan(len(dataset.splits["train"]), recipe.batch_size, config.seed)
        trial = Trial(unmeasured, net, task, recipe, plan, caches["train"], ranks, console.say)
        limited = config.budget > 0 and not config.settled and not state and epochs is None
        if limited:  # what pays, and may be spent on finding out, depends on the length of the run
            trial.recipe, _ = _affordable(recipe, config.budget, began, trial, unmeasured, caches)
        machine = choose_speed(speed, trial, console)
        machine.take()
        chosen = dataclasses.replace(machine, device=config.machine["device"])
        config = dataclasses.replace(config, machine=chosen.to_dict())
        if limited:
            recipe, text = _affordable(recipe, config.budget, began, trial, machine, caches)
            console.say(f"budget   {text}")
            config = dataclasses.replace(config, recipe=recipe.to_dict(), settled=True)
        if ranks.leads:
            folder.write_config(config)
    display = Display(console, recipe.epochs)
    with graceful(console.say) as interrupt, display:
        watch_parent(interrupt.ask)
        trainer = Trainer(
            net,
            task,
            recipe,
            caches["train"],
            caches.get("val"),
            machine,
            seed=config.seed,
            workers=config.workers,
            checkpoints=folder.checkpoints,
            keeper=_Keeper(folder, _template(config, recipe, spec, preprocess, dataset)),
            observer=display,
            interrupt=interrupt,
            every=Every.parse(config.checkpoint_every),
            ranks=ranks,
        )
        if state:
            trainer.restore(*state)
            console.say(f"resumed  {_where(trainer.progress, recipe)}")
            if ranks.leads:
                _check_best(folder, trainer, console)
        if epochs is not None:
            _extend(trainer, planned, console)
        if epochs is not None or not state:
            trainer.save()
        if ranks.leads and config.recipe != recipe.to_dict():
            folder.write_config(dataclasses.replace(config, recipe=recipe.to_dict()))
        try:
            with noticing_loss(f"; continue with: resnets resume {folder.path}"):
                history = trainer.run().history
        except (Interrupted, KeyboardInterrupt):
            way_on = f"stopped; continue with: resnets resume {folder.path}"
            raise Interrupted(way_on if ranks.leads else "") from None
        except torch.OutOfMemoryError:
            raise UserError(
                f"out of memory on {machine.device}: try --batch-size {recipe.batch_size // 2}, "
                "a smaller --size or --set accumulate=2"
            ) from None
    return _finish(folder, config, dataset, caches, machine, history, console, ranks)


def _affordable(
    recipe: Recipe,
    budget: float,
    began: float,
    trial: Trial,
    machine: Machine,
    caches: Mapping[str, ImageCache],
) -> tuple[Recipe, str]:
    """Return the recipe with as many epochs as the budget pays for, the same in every process, and
    what there is to say about it."""
    judged = caches[_judged(caches)]
    validated = len(caches["val"].samples) if "val" in caches else 0
    known = len(some(validated, len(np.unique(judged.samples.labels))))
    last = len(judged.samples) + validated + known  # looked at once, at the end
    epochs, text = epochs_within(budget, began, trial, machine, validated, last)
    shared = int(trial.ranks.text(str(epochs)))
    return dataclasses.replace(recipe, epochs=shared).reaching_the_rest(), text


def _judged(splits: Mapping[str, object]) -> str:
    """Return the split that the trained model is judged on."""
    return next(name for name in ("test", "val", "train") if name in splits)


def share_out(recipe: Recipe, photos: int, ranks: Ranks, console: Console) -> None:
    """Say how several processes share a batch.

    Raises:
      UserError: a share, or the part of it that is computed at a time, has less than the two photos
        that BatchNorm needs.
    """
    batch = photos // Plan(photos, recipe.batch_size, 0).steps
    share = batch if ranks.world == 1 else batch // 2 // ranks.world * 2
    if share < 2 * recipe.accumulate:
        whose = f" leave {share} for some of {ranks.world} processes" if ranks.world > 1 else ""
        raise UserError(
            f"batches of {batch} photos{whose}, and BatchNorm needs {2 * recipe.accumulate} (with "
            f"accumulate={recipe.accumulate}): more photos, or a larger --batch-size"
        )
    if ranks.world == 1:
        return
    norms = "of all its photos" if recipe.sync_bn else "of each share (--set sync_bn=true)"
    console.say(
        f"ranks    {ranks.world} processes, which share each batch of {recipe.batch_size} (about "
        f"{recipe.batch_size // ranks.world} photos each) at its rate of {recipe.lr:g}; norms take "
        f"the statistics {norms}"
    )


def _load(folder: RunFolder, console: Console, ranks: Ranks) -> State | None:
    """Return the newest checkpoint that verifies, in every process; None before the first.

    Raises:
      UserError: there has been one, and there is none any more.
    """
    loaded = None
    if ranks.leads:
        folder.sweep()
        loaded = checkpoint.load_newest(folder.checkpoints, console.warn)
        if loaded is None and folder.best.exists():
            raise UserError(
                f"{folder.path} has lost its checkpoints, and cannot be resumed; its best weights "
                f"so far are in {folder.best}"
            )
    return ranks.state(loaded)


def _lasting(recipe: Recipe, epochs: int) -> Recipe:
    return dataclasses.replace(recipe, epochs=max(recipe.epochs, epochs))


def _template(
    config: Config, recipe: Recipe, spec: ResNetSpec, preprocess: Preprocess, dataset: Dataset
) -> Model:
    """Return what every model file of the run says."""
    return Model(
        spec=spec,
        classes=dataset.classes,
        preprocess=preprocess,
        weights={},
        recipe=recipe.to_dict(),
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


def _where(progress: Progress, recipe: Recipe) -> str:
    if progress.epoch >= recipe.epochs:
        return "after the last epoch: judging again"
    return f"at epoch {progress.epoch + 1}, step {progress.step + 1}"


def _check_best(folder: RunFolder, trainer: Trainer, console: Console) -> None:
    """Write the best weights anew, from the checkpoint, if their file is damaged, gone or later.

    A kill, or a damaged checkpoint, can leave weights of an epoch that the run now comes to in
    another way, or never.
    """
    progress = trainer.progress
    if not progress.best_epoch:  # the first epoch that is done writes it in any case
        return
    try:
        if model_file.load(folder.best).metrics.get("epoch") == progress.best_epoch:
            return
    except UserError as error:
        console.warn(f"{error}; written again from the checkpoint")
    trainer.rewrite_best()


def _extended(recipe: Recipe, epochs: int) -> Recipe:
    """Return a recipe for more epochs. Raises UserError if they are not more."""
    if epochs <= recipe.epochs:
        raise UserError(f"--epochs {epochs}: the run is to have {recipe.epochs}; give more")
    return dataclasses.replace(recipe, epochs=epochs)


def _extend(trainer: Trainer, before: Recipe, console: Console) -> None:
    """Let a run go on to more epochs than it was to have, and say what becomes of its rate.

    The checkpoint says so, too: it is what a resume goes by.
    """
    progress, after = trainer.progress, trainer.recipe
    progress.epochs, progress.patience_from = after.epochs, progress.epoch
    steps = trainer.plan.steps
    done = progress.epoch * steps + progress.step
    last, following = (
        learning_rate(r, min(done, r.epochs * steps - 1), steps) for r in (before, after)
    )
    console.say(
        f"epochs   {before.epochs} to {after.epochs}: the {after.schedule} schedule is drawn anew "
        f"over all of them, so the rate goes on at {following:.3g} where it had come to "
        f"{last:.3g}; this is not the run that it would have been with as many from the start"
        + ("; so are the sides that its photos grow through" if len(after.grow) > 1 else "")
    )


def _network(
    spec: ResNetSpec,
    recipe: Recipe,
    seed: int,
    start: Model | None,
    classes: tuple[str, ...],
    photos: ImageCache,
    console: Console,
) -> ResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ResNet(spec)
    if recipe.zero_init:
        zero_init_residual(net)
    if recipe.passing:
        pass_through(net)
    if recipe.whiten and start is None:
        whiten_stem(net, _sample(photos))
    for norm in net.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.momentum = recipe.bn_momentum
    if start is not None:
        # A classifier fits only the very classes, in the very order, that it was trained for.
        same = start.classes == classes
        kept = {k: v for k, v in start.weights.items() if same or not k.startswith(HEAD)}
        net.load_state_dict(kept, strict=same)
        console.say(f"weights  of {start.spec.name}" + ("" if same else "; new classifier"))
    return net


def _sample(photos: ImageCache) -> Tensor:
    """Return some training photos, ``N C H W``, normalised: evenly dealt, the same in any run."""
    positions = np.linspace(0, len(photos.samples) - 1, SAMPLE).astype(np.int64)
    _, pixels = photos.get(np.unique(positions))
    preprocess = photos.preprocess
    return preprocess.normalize(preprocess.center(torch.from_numpy(pixels)))


def _finish(
    folder: RunFolder,
    config: Config,
    dataset: Dataset,
    caches: Mapping[str, ImageCache],
    machine: Machine,
    history: list[dict[str, float]],
    console: Console,
    ranks: Ranks,
) -> Run:
    """Judge the best weights on photos that training never used, and write it all down."""
    ranks.wait()  # until they are written
    predictor = Predictor.load(folder.best, machine.device, workers=config.workers)
    if "val" in caches:
        predictor = fitted(predictor, caches["val"], "val", console, ranks)
    split = _judged(caches)
    if split == "train":
        console.warn("no photos were held out: the figures are of the training photos themselves")
    result = score(predictor, caches[split], split, console, ranks, look=True)
    figures = result.evaluation
    if ranks.leads:
        metrics = {**predictor.model.metrics, "split": split, **headline(figures)}
        model_file.save(dataclasses.replace(predictor.model, metrics=metrics), folder.best)
        write_predictions(result, predictor.classes, folder.predictions)
        title = f"{config.spec['name']} on {dataset.name}"
        report_result(slice_result(result), predictor, folder.report, title, dataset, history)
    ranks.wait()
    console.say(f"{split:8} {figures.summary()}")
    console.say(f"model    {folder.best}")
    console.say(f"report   {folder.report}")
    return Run(folder.path, folder.best, folder.report, split, figures)


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
