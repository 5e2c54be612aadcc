"""Trials: real training steps on copies of a network, timed, and compared in their results."""

from __future__ import annotations

import copy
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resnets.data.cache import ImageCache
from resnets.data.plan import Plan
from resnets.nn import ResNet
from resnets.nn.winograd import forget
from resnets.training.distributed import Alone, Ranks
from resnets.training.machine import Machine
from resnets.training.memory import give_back
from resnets.training.recipe import Recipe
from resnets.training.step import Stepper
from resnets.training.task import Task

BATCHES = 4
"""As many different batches are read before the clock runs."""
TIMED = 20
"""Steps that are timed at most."""
CHECKED, PHOTOS = 2, 16
"""Batches on which another arithmetic is compared with fp32's, and photos of each."""
EXACT = ("fp32", "direct")
"""The arithmetic that others are compared with: `Machine.precision` and `convolution`."""
LOSS, GRADIENT = {"bf16": 0.05, "fp32": 0.005}, {"bf16": 2.0, "fp32": 1.1}
"""How far its mean loss may be from fp32's, in parts of it, and how many times longer or shorter
its gradient, by precision. Rows of the zoo came to 1.4 % and 1.3 in bf16 at a random start
(docs/speed.md); there the directions of their gradients tell nothing, as rounding alone turns them.
"""

Batch = tuple[int, NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]
"""Its step, samples, photos and labels."""


@dataclass
class Trial:
    """What a trial needs; `net` and all that training will use stay as they are.

    `machine` is what training runs on if nothing is faster.
    """

    machine: Machine
    net: ResNet
    task: Task
    recipe: Recipe
    plan: Plan
    photos: ImageCache
    ranks: Ranks
    say: Callable[[str], None]
    clock: Callable[[], float] = time.perf_counter
    _found: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)

    def measure(self, machine: Machine, allowance: float) -> dict[str, Any]:
        """Time steps for about `allowance` seconds, at least one after the first.

        Returns:
          ``step``, the median of their seconds, and ``first``, what the first has taken beyond it
          (compilation, mostly); or ``dropped``: why the machine is out of the question.
        """
        try:
            candidate = _arithmetic(machine) != _arithmetic(self.machine)  # not the user's choice
            dropped = self.disagreement(machine) if candidate else ""
            if not dropped:
                return self._time(machine, allowance)
        # Whatever keeps a candidate from running (no compiler, no memory), training needs not it.
        except Exception as error:
            dropped = (str(error).strip() or type(error).__name__).splitlines()[0]
        finally:
            _release(machine)
        self.say(f"speed    not {machine.manner()}: {dropped}")
        return {"dropped": dropped}

    def steps(self, machine: Machine, done: float, count: int) -> list[float]:
        """Return the seconds of some steps as they are when `done`, a part of the run, is behind;
        the first one, which is slower, is not among them. None where too few photos decode."""
        if not self._batches:  # so many photos do not decode
            return []
        stepper, whole = self._stepper(machine), self.plan.steps
        moment = divmod(int(done * self.recipe.epochs * whole), whole)
        stepper.begin(moment[0])
        batches = [self._batches[number % len(self._batches)] for number in range(count + 1)]
        return [self._seconds(stepper, batch, moment) for batch in batches][1:]

    def disagreement(self, machine: Machine) -> str:
        """Return in which way a machine's arithmetic differs too much from fp32's, or nothing.

        Both compute the loss and its gradient with the same weights on the same photos.
        """
        ways = _arithmetic(machine)
        if ways == EXACT or not self._batches:  # so many photos do not decode
            return ""
        (loss, norm), (expected, full) = self._results(ways), self._results(EXACT)
        within, times = LOSS[machine.precision], GRADIENT[machine.precision]
        if not abs(loss - expected) <= within * abs(expected):  # NaN is no agreement
            return f"the loss is {loss:.4g}, in fp32 {expected:.4g}"
        if not full / times <= norm <= full * times:
            return f"the gradient's norm is {norm:.4g}, in fp32 {full:.4g}"
        return ""

    def _results(self, ways: tuple[str, str]) -> tuple[float, float]:
        """Return the mean loss of some photos, and the norm of their gradient."""
        if ways not in self._found:
            self._found[ways] = self._compute(ways)
        return self._found[ways]

    def _compute(self, ways: tuple[str, str]) -> tuple[float, float]:
        precision, convolution = ways
        machine = replace(self.machine, precision=precision, convolution=convolution, compile=False)
        stepper = self._stepper(machine)
        few = PHOTOS * self.recipe.accumulate
        losses = [
            stepper.probe(samples[:few], photos[:few], labels[:few], self._epoch, step)
            for step, samples, photos, labels in self._batches[:CHECKED]
        ]
        gradients = [p.grad for p in stepper.net.parameters() if p.grad is not None]
        return statistics.fmean(losses), float(torch.nn.utils.get_total_norm(gradients))

    def _time(self, machine: Machine, allowance: float) -> dict[str, Any]:
        stepper = self._stepper(machine)

        def seconds(number: int) -> float:
            batch = self._batches[number % len(self._batches)]
            return self._seconds(stepper, batch, (self._epoch, batch[0]))

        first, spent = seconds(0), [seconds(1)]
        while len(spent) < TIMED and sum(spent) + spent[-1] <= allowance:
            spent.append(seconds(1 + len(spent)))
        step = statistics.median(spent)
        return {"step": step, "first": max(0.0, first - step)}

    def _seconds(self, stepper: Stepper, batch: Batch, moment: tuple[int, int]) -> float:
        """Return the seconds of a step at a moment of the run: an epoch, and a step of it."""
        _, samples, photos, labels = batch
        began = self.clock()
        stepper(samples, photos, labels, *moment, lambda: False)
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        return self.clock() - began

    def _stepper(self, machine: Machine) -> Stepper:
        machine.take()
        stepper = Stepper(
            copy.deepcopy(self.net),
            self.task,
            self.recipe,
            self.photos.preprocess,
            self.plan,
            machine,
            Alone(),
        )
        stepper.begin(self._epoch)
        return stepper

    @property
    def _epoch(self) -> int:
        """An epoch in the middle of the run, in which all of the network learns, as in most."""
        last = self.recipe.epochs - 1
        return max(min(self.recipe.head_epochs, last), self.recipe.epochs // 2)

    @cached_property
    def _batches(self) -> list[Batch]:
        """This process' part of the first batches; those with too few photos for a norm are out."""
        found = []
        for step in range(min(BATCHES, self.plan.steps)):
            samples, photos = self.photos.get(self.ranks.share(self.plan.batch(self._epoch, step)))
            if len(samples) >= 2 * self.recipe.accumulate:
                found.append((step, samples, photos, self.photos.samples.labels[samples]))
        return found

    @property
    def images(self) -> float:
        """Photos of a batch, on average over those that are timed."""
        return float(np.mean([len(samples) for _, samples, _, _ in self._batches]))

    @property
    def shapes(self) -> int:
        """How many networks a compiler has to make: one for each size of what is computed at a
        time, of each side that the photos have."""
        n, steps, parts = self.plan.n, self.plan.steps, self.recipe.accumulate
        batches = {n // steps, -(-n // steps)}
        shares = {len(self.ranks.share(np.arange(size))) for size in batches}
        pieces = {size for share in shares for size in (share // parts, -(-share // parts))}
        states = len(set(self.recipe.grow)) + self.recipe.whiten  # whose shifts stop learning
        return len(pieces) * states


def _arithmetic(machine: Machine) -> tuple[str, str]:
    return machine.precision, machine.convolution


def _release(machine: Machine) -> None:
    """Give back what a trial has held: training's own peak is to be the run's."""
    if machine.compile:
        torch.compiler.reset()
    forget()
    gc.collect()  # steppers and compiled networks refer to themselves
    give_back()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
