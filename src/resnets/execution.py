"""Carrying out a run: from wherever it stands to judged weights and a report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from resnets.audit.quick import quick_check
from resnets.console import Console
from resnets.continuing import (
    check_best,
    describe_position,
    extend_training,
    lasting_at_least,
    newest,
    with_more_epochs,
)
from resnets.data.cache import ImageCache
from resnets.data.plan import Plan
from resnets.data.preprocess import Preprocess
from resnets.data.sources import Dataset
from resnets.decoding import decode_splits
from resnets.display import Display
from resnets.errors import Interrupted, UserError
from resnets.nn import ResNet
from resnets.nn.surgery import pass_through, whiten_stem, zero_init_residual
from resnets.novelty import some
from resnets.results import Run, RunKeeper, finish, judged_split, template
from resnets.spec import ResNetSpec
from resnets.tasks.classify import Classify
from resnets.training.budget import epochs_within
from resnets.training.distributed import Ranks, noticing_loss
from resnets.training.interrupt import graceful
from resnets.training.launch import watch_parent
from resnets.training.loop import Trainer
from resnets.training.machine import Machine
from resnets.training.recipe import Recipe
from resnets.training.run_folder import Config, RunFolder
from resnets.training.saver import Every
from resnets.training.speed import Speed, check_winograd, choose_speed
from resnets.training.trial import Trial
from resnets.weights.adapt import HEAD
from resnets.weights.convert import open_model
from resnets.weights.model_file import Model

SAMPLE = 2000
"""Training photos that whitening looks at."""


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
    check_winograd(machine)  # before photos are decoded
    machine.take()
    state = newest(folder, console, ranks)
    planned = Recipe.from_dict(config.recipe)
    if state:  # it may have been extended
        planned = lasting_at_least(planned, state[1]["progress"]["epochs"])
    recipe = planned if epochs is None else with_more_epochs(planned, epochs)
    task = Classify.for_labels(
        dataset.classes,
        dataset.splits["train"].labels,
        recipe.label_smoothing,
        recipe.class_weights,
    )
    share_out(recipe, len(dataset.splits["train"]), ranks, console)
    caches = decode_splits(folder.path, dataset, preprocess, config.workers, console, ranks)
    if ranks.leads and not state:
        quick_check(caches, dataset.classes, console, config.data)
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
            keeper=RunKeeper(folder, template(config, recipe, spec, preprocess, dataset)),
            observer=display,
            interrupt=interrupt,
            every=Every.parse(config.checkpoint_every),
            ranks=ranks,
        )
        if state:
            trainer.restore(*state)
            console.say(f"resumed  {describe_position(trainer.progress, recipe)}")
            if ranks.leads:
                check_best(folder, trainer, console)
        if epochs is not None:
            extend_training(trainer, planned, console)
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
    return finish(folder, config, dataset, caches, machine, history, console, ranks)


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
    judged = caches[judged_split(caches)]
    validated = len(caches["val"].samples) if "val" in caches else 0
    known = len(some(validated, len(np.unique(judged.samples.labels))))
    last = len(judged.samples) + validated + known  # looked at once, at the end
    epochs, text = epochs_within(budget, began, trial, machine, validated, last)
    shared = int(trial.ranks.text(str(epochs)))
    return dataclasses.replace(recipe, epochs=shared).reaching_the_rest(), text
