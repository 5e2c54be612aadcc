"""The training loop: a pure function of the data, the recipe and the seed.

`Trainer` owns everything that evolves, and `Trainer.state` is all of it: the network, the averaged
weights, the optimiser and `Progress`. Nothing else is remembered from one step to the next, so a
run goes on from its checkpoint as if it had never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnets.data.cache import ImageCache
from resnets.data.loader import prefetch
from resnets.data.plan import Plan
from resnets.data.transforms import mix
from resnets.errors import UserError
from resnets.nn import ResNet
from resnets.training import checkpoint
from resnets.training.inference import score_split
from resnets.training.interrupt import Interrupt
from resnets.training.machine import Machine
from resnets.training.optim import Ema, build_optimizer, learning_rate, set_learning
from resnets.training.recipe import Recipe
from resnets.training.task import Task


class Interrupted(Exception):
    """The user stopped the run; a checkpoint of this very step has been written."""


class Diverged(UserError):
    """The loss, or a validation score, is no longer a finite number."""


class Observer(Protocol):
    """Who is told how training goes."""

    def step(self, epoch: int, step: int, steps: int, loss: float, rate: float) -> None: ...

    def epoch(self, row: Mapping[str, float], best: bool) -> None: ...


class Keeper(Protocol):
    """Who keeps the weights: writes ``best`` or ``last`` as a model file."""

    def keep(self, name: str, weights: Mapping[str, Tensor], row: Mapping[str, float]) -> None: ...

    def history(self, rows: list[dict[str, float]]) -> None: ...


@dataclass
class Progress:
    """Where a run stands: `step` of `epoch` is the next to do, both from 0."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    best: list[float] | None = None
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


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
        checkpoint_every: float = 0.0,
    ) -> None:
        self.net = machine.place(net)
        self.task, self.recipe, self.machine = task, recipe, machine
        self.train, self.val, self.workers = train, val, workers
        self.plan = Plan(len(train.samples), recipe.batch_size, seed)
        self.augment = recipe.augment(train.preprocess)
        self.optimizer = build_optimizer(self.net, recipe)
        self.ema = Ema(self.net, recipe.ema) if recipe.ema else None
        self.progress = Progress()
        self.checkpoints, self.checkpoint_every = checkpoints, checkpoint_every
        self.keeper, self.observer, self.interrupt = keeper, observer, interrupt
        # Batches come in two sizes at most: two static graphs are faster than one dynamic.
        self.forward = torch.compile(self.net, dynamic=False) if machine.compile else self.net
        self._saved_at = time.monotonic()

    @property
    def weights(self) -> nn.Module:
        """The network that is validated and kept: the average, if there is one."""
        return self.ema.net if self.ema else self.net

    @property
    def _steps_done(self) -> int:
        return self.progress.epoch * self.plan.steps + self.progress.step

    # -- the run --------------------------------------------------------------------------------

    def run(self) -> Progress:
        """Train to the end of the recipe, or until patience runs out.

        Raises:
          Interrupted: the user asked to stop; the run can be resumed.
          Diverged: the loss is no longer finite; the files hold the weights of the last epoch.
        """
        while self.progress.epoch < self.recipe.epochs and not self._out_of_patience():
            self._train_epoch()
            self._finish_epoch()
        return self.progress

    def _out_of_patience(self) -> bool:
        waited = self.progress.epoch - self.progress.best_epoch
        return 0 < self.recipe.patience <= waited

    def _train_epoch(self) -> None:
        progress, plan = self.progress, self.plan
        steps = range(progress.step, plan.steps)
        batches = prefetch(self._batch, steps, self.workers)
        set_learning(self.net, self.recipe, progress.epoch)
        clock = time.perf_counter()
        for step, (samples, photos) in zip(steps, batches, strict=True):
            if len(samples):
                progress.loss_sum += self._step(samples, photos) * len(samples)
            progress.seen += len(samples)
            progress.step = step + 1
            clock, before = time.perf_counter(), clock
            progress.seconds += clock - before
            mean = progress.loss_sum / max(progress.seen, 1)
            rate = progress.seen / max(progress.seconds, 1e-9)
            self.observer.step(progress.epoch, step + 1, plan.steps, mean, rate)
            self._maybe_save()

    def _batch(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        return self.train.get(self.plan.batch(self.progress.epoch, step))

    def _step(self, samples: NDArray[np.int64], photos: NDArray[np.uint8]) -> float:
        """Take one step of the optimiser and return the mean loss of its photos."""
        recipe, epoch, device = self.recipe, self.progress.epoch, self.machine.device
        u = self.plan.augmentation(epoch, samples, self.augment.draws)
        images = self.augment(torch.from_numpy(photos).to(device), torch.from_numpy(u).to(device))
        labels = torch.from_numpy(self.train.samples.labels[samples]).to(device)
        chances = torch.from_numpy(self.plan.mixing(epoch, self.progress.step, 3))
        images, targets = mix(
            images, self.task.targets(labels), chances, recipe.mixup, recipe.cutmix
        )
        total = torch.zeros((), device=device)
        parts = recipe.accumulate
        for part, wanted in zip(images.chunk(parts), targets.chunk(parts), strict=True):
            with self.machine.autocast():
                outputs = self.forward(part)
            loss = self.task.loss(outputs, wanted).sum() / len(images)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        value = float(total)
        self._check(value, "the loss")
        self._update()
        return value

    def _update(self) -> None:
        recipe, parameters = self.recipe, list(self.net.parameters())
        if recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
        rate = learning_rate(recipe, self._steps_done, self.plan.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update(self.net)

    def _finish_epoch(self) -> None:
        self._check_weights()
        progress = self.progress
        row = {
            "epoch": progress.epoch + 1,
            "train_loss": progress.loss_sum / max(progress.seen, 1),
            "lr": learning_rate(self.recipe, self._steps_done - 1, self.plan.steps),
            "images_per_second": progress.seen / max(progress.seconds, 1e-9),
            "seconds": progress.seconds,
            **self._validate(),
        }
        # Without validation photos the newest weights are the best that is known.
        rank = [float(progress.epoch)] if self.val is None else self.task.rank(row)
        best = progress.best is None or rank > progress.best
        progress.history.append(row)
        progress.epoch, progress.step = progress.epoch + 1, 0
        progress.loss_sum, progress.seen, progress.seconds = 0.0, 0, 0.0
        if best:
            progress.best, progress.best_epoch = rank, progress.epoch
            self.keeper.keep("best", self.weights.state_dict(), row)
        self.keeper.keep("last", self.weights.state_dict(), row)
        self.keeper.history(progress.history)
        self.save()
        self.observer.epoch(row, best)

    def _validate(self) -> Mapping[str, float]:
        if self.val is None:
            return {}
        net = self.weights.eval()
        samples, probabilities = score_split(net, self.task, self.machine, self.val, self.workers)
        self._check(float(probabilities.sum()), "a validation output")
        return self.task.score(probabilities, self.val.samples.labels[samples])

    def _check(self, value: float, what: str) -> None:
        if math.isfinite(value):
            return
        progress = self.progress
        kept = "best.safetensors and last.safetensors hold the weights of earlier epochs"
        raise Diverged(
            f"{what} is {value} in epoch {progress.epoch + 1}, step {progress.step + 1}; "
            f"{kept if progress.epoch else 'no epoch was finished'}; "
            f"try --set lr={self.recipe.lr / 10:g} or --set clip_norm=1"
        )

    def _check_weights(self) -> None:
        """A loss is seen before its update: the last one of an epoch could spoil the weights."""
        for name, value in self.weights.state_dict().items():
            if value.is_floating_point():
                self._check(float(value.sum()), f"the sum of {name}")

    # -- state ----------------------------------------------------------------------------------

    def _maybe_save(self) -> None:
        overdue = time.monotonic() - self._saved_at > self.checkpoint_every > 0
        if overdue or self.interrupt.requested:
            self.save()
        if self.interrupt.requested:
            raise Interrupted

    def save(self) -> None:
        """Write a checkpoint of this very moment; spoilt weights raise Diverged instead."""
        self._check_weights()
        checkpoint.save(self.checkpoints, self._steps_done, *self.state())
        self._saved_at = time.monotonic()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything that evolves, as tensors and as JSON values."""
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        optimizer = checkpoint.optimizer_tensors(self.optimizer)
        tensors |= {f"optimizer.{k}": v for k, v in optimizer.items()}
        values: dict[str, Any] = {"progress": asdict(self.progress)}
        if self.ema:
            tensors |= {f"ema.{k}": v for k, v in self.ema.net.state_dict().items()}
            values["ema_updates"] = self.ema.updates
        return tensors, values

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go to the moment that `state` described."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.net.load_state_dict(part("net."))
        checkpoint.restore_optimizer(self.optimizer, part("optimizer."))
        if self.ema:
            self.ema.net.load_state_dict(part("ema."))
            self.ema.updates = values["ema_updates"]
        self.progress = Progress(**values["progress"])
