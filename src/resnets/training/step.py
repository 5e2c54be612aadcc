"""One step of training: from the photos of a batch to updated weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnets.data.plan import Plan
from resnets.data.preprocess import Preprocess
from resnets.data.transforms import mix
from resnets.nn import ResNet
from resnets.nn.synced import SyncedBatchNorm, sync_batchnorm
from resnets.training.distributed import Ranks
from resnets.training.features import classifier
from resnets.training.machine import Machine
from resnets.training.optim import Ema, build_optimizer, learning_rate, set_learning
from resnets.training.pooled import choose_view
from resnets.training.progress import mark_samples
from resnets.training.recipe import Recipe
from resnets.training.task import Task


@dataclass(frozen=True)
class Outcome:
    """What came of a step, the same in every process.

    Attributes:
      loss: its mean over the `count` photos of the whole batch; `mark`: see `mark_samples`.
      stop: whether any process has been asked to stop.
      problem: why the weights were not updated, or nothing.
    """

    loss: float
    count: int
    mark: int
    stop: bool
    problem: str = ""


class Stepper:
    """A network with what a step needs and changes: the optimiser and the averaged weights."""

    def __init__(
        self,
        net: ResNet,
        task: Task,
        recipe: Recipe,
        preprocess: Preprocess,
        plan: Plan,
        machine: Machine,
        ranks: Ranks,
    ) -> None:
        if recipe.sync_bn and ranks.world > 1:
            sync_batchnorm(net)
        self.net = machine.place(net)
        self.task, self.recipe, self.plan = task, recipe, plan
        self.machine, self.ranks = machine, ranks
        self.augments = [recipe.augment(preprocess, part) for part in recipe.grow]
        self.optimizer = build_optimizer(self.net, recipe)
        self.ema = Ema(self.net, recipe.ema) if recipe.ema else None
        self._whole = self.forward = ranks.parallel(machine.compiled(self.net))
        self._head = ranks.parallel(classifier(self.net)) if recipe.head_epochs else self._whole
        self._norms: list[_BatchNorm] = []
        self._guarded: list[_BatchNorm] = []

    def begin(self, epoch: int) -> None:
        """Set what learns in an epoch."""
        set_learning(self.net, self.recipe, epoch)
        self.forward = self._head if epoch < self.recipe.head_epochs else self._whole
        norms = (module for module in self.net.modules() if isinstance(module, _BatchNorm))
        self._norms = [norm for norm in norms if norm.training]
        self._guarded = self._norms if self.recipe.on_nan == "skip" else []

    def __call__(
        self,
        samples: NDArray[np.int64],
        photos: NDArray[Any] | Tensor,
        labels: NDArray[np.int64],
        epoch: int,
        step: int,
        stop: Callable[[], bool],
    ) -> Outcome:
        """Take step `step` of an epoch with this process' part of the batch.

        `photos` are prepared ones, or their `Pooled` features while only the classifier learns.
        Where the loss or the gradient is not finite, the weights stay as they are; and so do BN's
        statistics if such steps are to be skipped.
        """
        few = len(samples) < 2 * self.recipe.accumulate
        own = [len(samples), mark_samples(samples), int(few)]
        count, mark, short = self.ranks.sum(torch.tensor(own)).tolist()
        if short:  # so many do not decode that BatchNorm has less than two in a part
            return Outcome(0.0, 0, 0, stop=bool(self.ranks.sum(torch.tensor([int(stop())]))))
        images, targets = self._inputs(samples, photos, labels, epoch, step)
        before = self._statistics()
        local = self._backward(images, targets, count)
        told = torch.tensor([local, float(stop())], dtype=torch.float64)
        loss, stopping = self.ranks.sum(told).tolist()
        norm = self._gradient_norm()
        problem = _unfinished(loss, float(norm))
        if problem:
            self._undo(before)
        else:
            self._update(norm, epoch * self.plan.steps + step)
        self.optimizer.zero_grad(set_to_none=True)
        return Outcome(loss, count, mark, bool(stopping), problem)

    def probe(
        self,
        samples: NDArray[np.int64],
        photos: NDArray[np.uint8],
        labels: NDArray[np.int64],
        epoch: int,
        step: int,
    ) -> float:
        """Add up the gradients of a batch without a step; return its mean loss."""
        images, targets = self._inputs(samples, photos, labels, epoch, step)
        return self._backward(images, targets, len(samples))

    def _inputs(
        self,
        samples: NDArray[np.int64],
        photos: NDArray[Any] | Tensor,
        labels: NDArray[np.int64],
        epoch: int,
        step: int,
    ) -> tuple[Tensor, Tensor]:
        """Return augmented images ``N C H W``, or features ``N F``, and their targets."""
        recipe, device = self.recipe, self.machine.device
        if self.forward is not self._whole:
            u = self.plan.augmentation(epoch, samples, 1, recipe.alternate)[:, 0]
            features = choose_view(torch.as_tensor(photos), torch.from_numpy(u)).to(device)
            return features, self.task.targets(torch.from_numpy(labels).to(device))
        done = (epoch * self.plan.steps + step) / (recipe.epochs * self.plan.steps)
        augment = self.augments[recipe.phase(done)]
        u = self.plan.augmentation(epoch, samples, augment.draws, recipe.alternate and recipe.flip)
        pixels = torch.as_tensor(photos)
        pixels = pixels.to(device, non_blocking=pixels.is_pinned())
        images = augment(pixels, torch.from_numpy(u).to(device))
        targets = self.task.targets(torch.from_numpy(labels).to(device))
        chances = torch.from_numpy(self.plan.mixing(epoch, step, 3))
        images, targets = mix(images, targets, chances, recipe.mixup, recipe.cutmix)
        return self.machine.arrange(images), targets

    def _backward(self, images: Tensor, targets: Tensor, count: int) -> float:
        """Add up the gradients; return this process' part of the mean loss over `count` photos."""
        total = torch.zeros((), device=self.machine.device)
        parts = self.recipe.accumulate
        # Not `chunk`, whose number of pieces depends on the size, and may differ between processes.
        pieces = [*zip(images.tensor_split(parts), targets.tensor_split(parts), strict=True)]
        with self.machine.convolving():
            for piece in pieces[:-1]:
                with self.ranks.apart(self.forward):
                    total += self._backward_part(*piece, count)
            total += self._backward_part(*pieces[-1], count)
        return float(total)

    def _backward_part(self, images: Tensor, targets: Tensor, count: int) -> Tensor:
        with self.machine.autocast():
            outputs = self.forward(images)
        loss = self.task.loss(outputs, targets).sum() / count
        # Gradients are averaged over the processes, and are to be the sum.
        (loss * self.ranks.world).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _gradient_norm(self) -> Tensor:
        gradients = [p.grad for p in self.net.parameters() if p.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)

    def _update(self, norm: Tensor, steps_done: int) -> None:
        recipe = self.recipe
        if recipe.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self.net.parameters(), recipe.clip_norm, norm)
        rate = learning_rate(recipe, steps_done, self.plan.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        self.optimizer.step()
        # Every process has statistics of its own photos: the network's are their mean.
        own = [norm for norm in self._norms if not isinstance(norm, SyncedBatchNorm)]
        self.ranks.average([value for norm in own for value in _moving(norm)])
        if self.ema:
            self.ema.update(self.net)

    def _statistics(self) -> list[Tensor]:
        """Return a copy of what a forward pass changes."""
        return [value.clone() for norm in self._guarded for value in norm.buffers()]

    def _undo(self, before: list[Tensor]) -> None:
        values = (value for norm in self._guarded for value in norm.buffers())
        for value, earlier in zip(values, before, strict=True):
            value.copy_(earlier)

    @property
    def weights(self) -> nn.Module:
        """The network that is validated and kept: the average, if there is one."""
        return self.ema.net if self.ema else self.net


def _moving(norm: _BatchNorm) -> list[Tensor]:
    """Return the running mean and variance."""
    return [value for value in norm.buffers() if value.is_floating_point()]


def _unfinished(loss: float, norm: float) -> str:
    """Return what of a step is not a finite number, or nothing."""
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    return "" if math.isfinite(norm) else f"the norm of the gradient is {norm}"
