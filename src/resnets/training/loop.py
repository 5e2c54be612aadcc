"""The training loop: a pure function of the data, the recipe and the seed.

`Trainer` and its `Stepper` own everything that evolves, and `Trainer.state` is all of it: the
network, the averaged weights, the optimiser and `Progress`. Nothing else is remembered from one
step to the next, so a run goes on from its checkpoint as if it had never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from resnets.data.cache import ImageCache
from resnets.data.loader import prefetch
from resnets.data.plan import Plan
from resnets.errors import Interrupted, UserError
from resnets.nn import ResNet
from resnets.training import checkpoint
from resnets.training.distributed import Alone, Ranks
from resnets.training.features import classifier
from resnets.training.inference import Eager, Stopped, score_split
from resnets.training.interrupt import Interrupt
from resnets.training.machine import Machine
from resnets.training.optim import learning_rate
from resnets.training.pooled import Pooled, compute
from resnets.training.progress import Progress
from resnets.training.recipe import Recipe
from resnets.training.resident import Photos, photos_for
from resnets.training.saver import NEVER, Every, Keeper, Saver, Silent
from resnets.training.step import Outcome, Stepper
from resnets.training.task import Task

MOST_SKIPPED = 10
"""Steps in a row that may be skipped until there is no hope."""


class Diverged(UserError):
    """The loss, a gradient, a weight or a validation score is no longer a finite number."""


class Observer(Protocol):
    """Who is told how training goes."""

    def step(self, epoch: int, step: int, steps: int, loss: float, rate: float) -> None: ...

    def features(self, photos: int) -> None: ...

    def skipped(self, epoch: int, step: int, why: str) -> None: ...

    def epoch(self, row: Mapping[str, float], best: bool) -> None: ...


class Trainer:
    """Trains `net` on the `train` photos by a recipe, validating on `val` where there is one."""

    def __init__(
        self,
        net: ResNet,
        task: Task,
        recipe: Recipe,
        train: ImageCache,
        val: ImageCache | None,
        machine: Machine,
        *,
        seed: int,
        workers: int,
        checkpoints: Path,
        keeper: Keeper,
        observer: Observer,
        interrupt: Interrupt,
        every: Every = NEVER,
        ranks: Ranks | None = None,
    ) -> None:
        self.task, self.recipe, self.machine = task, recipe, machine
        self.train, self.val, self.workers = train, val, workers
        self.ranks = ranks or Alone()
        self.plan = Plan(len(train.samples), recipe.batch_size, seed)
        self.stepper = Stepper(net, task, recipe, train.preprocess, self.plan, machine, self.ranks)
        self.progress = Progress()
        self.folder = checkpoints.parent
        self.saver: Saver | Silent = (
            Saver(checkpoints, keeper, every) if self.ranks.leads else Silent()
        )
        self.observer, self.interrupt = observer, interrupt
        self.pooled: dict[str, Pooled] = {}  # by split, while only the classifier learns

    @property
    def weights(self) -> nn.Module:
        """The network that is validated and kept: the average, if there is one."""
        return self.stepper.weights

    @cached_property
    def _photos(self) -> Photos:
        return photos_for(self.train, self.machine)

    @property
    def _steps_done(self) -> int:
        return self.progress.epoch * self.plan.steps + self.progress.step

    # -- the run --------------------------------------------------------------------------------

    def run(self) -> Progress:
        """Train to the end of the recipe, or until patience runs out.

        Raises:
          Interrupted: the user asked to stop; the run can be resumed.
          Diverged: something is no longer finite; the files hold weights of before.
        """
        while not self._ended():
            self._train_epoch()
            self._finish_epoch()
        return self.progress

    def _ended(self) -> bool:
        progress, recipe = self.progress, self.recipe
        return progress.epoch >= recipe.epochs or 0 < recipe.patience <= progress.waited

    def _train_epoch(self) -> None:
        progress, plan = self.progress, self.plan
        clock = time.perf_counter()
        self._pool()
        steps = range(progress.step, plan.steps)
        # Chosen here, as loader threads would each bring all photos to the device.
        source = self.pooled["train"] if self.pooled else self._photos
        batches = prefetch(partial(self._batch, source), steps, self.workers)
        self.stepper.begin(progress.epoch)
        for step, (samples, photos) in zip(steps, batches, strict=True):
            labels = self.train.samples.labels[samples]
            outcome = self.stepper(samples, photos, labels, progress.epoch, step, self._stop)
            self._note(outcome)
            progress.step = step + 1
            clock, before = time.perf_counter(), clock
            progress.seconds += clock - before
            mean = progress.loss_sum / max(progress.seen, 1)
            rate = progress.seen / max(progress.seconds, 1e-9)
            self.observer.step(progress.epoch, step + 1, plan.steps, mean, rate)
            if outcome.stop:
                self._leave()
            if self.saver.due(self._steps_done):
                self.save()
                clock = time.perf_counter()

    def _pool(self) -> None:
        """Have features for epochs in which only the classifier learns, and for others none."""
        if self.progress.epoch >= self.recipe.head_epochs:
            self.pooled = {}
            return
        splits = {"train": self.train} | ({} if self.val is None else {"val": self.val})
        try:
            for name, cache in splits.items():
                self.pooled[name] = self.pooled.get(name) or compute(
                    self.stepper.net,
                    cache,
                    self.workers,
                    self.ranks,
                    mirror=self.recipe.flip if name == "train" else cache.preprocess.mirrored,
                    folder=self.folder,
                    done=self.observer.features,
                    stop=self._stop,
                )
        except Stopped:
            self._leave()

    def _batch(self, source: Photos, step: int) -> tuple[NDArray[np.int64], NDArray[Any] | Tensor]:
        return source.get(self.ranks.share(self.plan.batch(self.progress.epoch, step)))

    def _note(self, outcome: Outcome) -> None:
        progress = self.progress
        if not outcome.count:  # too few of its photos decode
            return
        if not outcome.problem:
            progress.took(outcome.loss, outcome.count, outcome.mark)
            progress.skipped = 0
            return
        progress.skipped += 1
        if self.recipe.on_nan == "stop" or progress.skipped > MOST_SKIPPED:
            raise self._diverged(outcome.problem)
        self.observer.skipped(progress.epoch, progress.step, outcome.problem)

    def _finish_epoch(self) -> None:
        self._check_weights()
        progress = self.progress
        row = {
            "epoch": progress.epoch + 1,
            "train_loss": progress.loss_sum / max(progress.seen, 1),
            "lr": learning_rate(self.recipe, self._steps_done - 1, self.plan.steps),
            "images_per_second": progress.seen / max(progress.seconds, 1e-9),
            "seconds": progress.seconds,
            "checkpoint_seconds": progress.saving,
            **self._validate(),
        }
        # Without validation photos the newest weights are the best that is known.
        rank = [float(progress.epoch)] if self.val is None else self.task.rank(row)
        best = progress.best is None or rank > progress.best
        progress.next_epoch(row)
        if best:
            progress.best, progress.best_epoch = rank, progress.epoch
            self.saver.hold_best(self.weights.state_dict(), row)
        self.saver.history(progress.history)
        if self._ended() or self.saver.epoch_due():
            self.save(row)
        self.observer.epoch(row, best)

    def _validate(self) -> Mapping[str, float]:
        if self.val is None:
            return {}
        net = self.weights.eval()
        try:
            if "val" in self.pooled:
                samples, probabilities = self.pooled["val"].score(
                    classifier(net), self.task, self.machine, self.ranks, stop=self._stop
                )
            else:
                samples, probabilities = score_split(
                    Eager(net, self.machine.device),
                    self.task,
                    self.val,
                    self.workers,
                    self.ranks,
                    stop=self._stop,
                )
        except Stopped:
            self._leave()
        if not math.isfinite(float(probabilities.sum())):
            raise self._diverged("a validation output is not a finite number")
        return self.task.score(probabilities, self.val.samples.labels[samples])

    def _stop(self) -> bool:
        return self.interrupt.requested

    def _leave(self) -> NoReturn:
        self.save()
        self.ranks.wait()  # who has started us may end all when one ends
        raise Interrupted

    def _diverged(self, problem: str) -> Diverged:
        """Return the error; the best weights of before are written first, as no resume would come
        to them again."""
        progress = self.progress
        self.saver.write_best()
        kept = f"best.safetensors holds the weights of epoch {progress.best_epoch}"
        return Diverged(
            f"{problem} in epoch {progress.epoch + 1}, step {progress.step + 1}; "
            f"{kept if progress.best_epoch else 'no epoch was finished'}; "
            f"train anew with --set lr={self.recipe.lr / 10:g} or --set clip_norm=1"
        )

    def _check_weights(self) -> None:
        """A gradient is seen before its update, which could spoil the weights all the same."""
        for net in (self.stepper.net, self.weights):
            for name, value in net.state_dict().items():
                if value.is_floating_point() and not math.isfinite(total := float(value.sum())):
                    raise self._diverged(f"the sum of {name} is {total}")

    # -- state ----------------------------------------------------------------------------------

    def save(self, row: Mapping[str, float] | None = None) -> None:
        """Write a checkpoint of this very moment; spoilt weights raise Diverged instead.

        With the `row` of an epoch that is done, its weights are kept as ``last``.
        """
        last = None if row is None else (self.weights.state_dict(), row)
        self.progress.saving += self.saver.save(self._checked_state, last)

    def _checked_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        self._check_weights()
        return self.state()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything that evolves, as tensors and as JSON values."""
        stepper = self.stepper
        tensors = {f"net.{k}": v for k, v in stepper.net.state_dict().items()}
        optimizer = checkpoint.optimizer_tensors(stepper.optimizer)
        tensors |= {f"optimizer.{k}": v for k, v in optimizer.items()}
        tensors |= {f"best.{k}": v for k, v in self.saver.best.items()}
        values: dict[str, Any] = {"progress": self.progress.to_dict()}
        if stepper.ema:
            tensors |= {f"ema.{k}": v for k, v in stepper.ema.net.state_dict().items()}
            values["ema_updates"] = stepper.ema.updates
        return tensors, values

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go to the moment that `state` described."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        stepper = self.stepper
        stepper.net.load_state_dict(part("net."))
        checkpoint.restore_optimizer(stepper.optimizer, part("optimizer."))
        if stepper.ema:
            stepper.ema.net.load_state_dict(part("ema."))
            stepper.ema.updates = values["ema_updates"]
        self.progress = Progress.from_dict(values["progress"])
        self.saver.best = part("best.")

    def rewrite_best(self) -> None:
        """Write the best weights again, as they are in the checkpoint."""
        self.saver.hold_best(self.saver.best, self.progress.history[self.progress.best_epoch - 1])
        self.saver.write_best()
