"""A run that goes on: from where, and with more epochs, if it is to have them."""

from __future__ import annotations

import dataclasses

from resnets.console import Console
from resnets.errors import UserError
from resnets.training import checkpoint
from resnets.training.distributed import Ranks, State
from resnets.training.loop import Trainer
from resnets.training.optim import learning_rate
from resnets.training.progress import Progress
from resnets.training.recipe import Recipe
from resnets.training.run_folder import RunFolder
from resnets.weights import model_file


def newest(folder: RunFolder, console: Console, ranks: Ranks) -> State | None:
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


def describe_position(progress: Progress, recipe: Recipe) -> str:
    """Return where it goes on, for people."""
    if progress.epoch >= recipe.epochs:
        return "after the last epoch: judging again"
    return f"at epoch {progress.epoch + 1}, step {progress.step + 1}"


def check_best(folder: RunFolder, trainer: Trainer, console: Console) -> None:
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


def lasting_at_least(recipe: Recipe, epochs: int) -> Recipe:
    """Return the recipe of a run that may have been extended to so many epochs."""
    return dataclasses.replace(recipe, epochs=max(recipe.epochs, epochs))


def with_more_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """Return a recipe for more epochs. Raises UserError if they are not more."""
    if epochs <= recipe.epochs:
        raise UserError(f"--epochs {epochs}: the run is to have {recipe.epochs}; give more")
    return dataclasses.replace(recipe, epochs=epochs)


def extend_training(trainer: Trainer, before: Recipe, console: Console) -> None:
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
