"""`--budget`: as many epochs as fit into a wall-clock time, from steps that are timed here."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from resnets.durations import seconds, spoken
from resnets.errors import UserError
from resnets.training.machine import Machine
from resnets.training.trial import Trial

SPARE = 0.05
"""Part of the budget that is kept back: for checkpoints, the report, and steps that take longer."""
STEPS = 2
"""Steps that are timed for each side that the photos have in the run."""
FORWARD = 0.4
"""Seconds of evaluating a photo, in those of training on it: its forward pass, with room."""
MOST_EPOCHS = 300
"""More would only learn the photos by heart."""


def parse_budget(text: str | float | None) -> float:
    """Return the seconds of a budget, 0 for none.

    Raises:
      UserError: it is no time.
    """
    if text is None:
        return 0.0
    found = seconds(str(text))
    if not found:
        raise UserError(f"--budget {text}: write 90s, 10m or 1.5h")
    return found


@dataclass(frozen=True)
class Costs:
    """Seconds: of an epoch of training, of its validation, and of the judgement at the end."""

    epoch: float
    validation: float
    judgement: float

    @classmethod
    def measure(cls, trial: Trial, machine: Machine, validated: int, judged: int) -> Costs | None:
        """Time a few steps of every phase of the run, on copies, for so many photos to evaluate.

        None where too few photos decode to time a step.
        """
        recipe, plan, phases = trial.recipe, trial.plan, len(trial.recipe.grow)
        timed = [trial.steps(machine, (phase + 0.5) / phases, STEPS) for phase in range(phases)]
        if not all(timed):
            return None
        each = list(map(statistics.median, timed))
        photo = FORWARD * each[-1] * plan.steps / plan.n * (2 if recipe.mirrored else 1)
        return cls(statistics.fmean(each) * plan.steps, photo * validated, photo * judged)

    def epochs(self, left: float) -> int:
        """Return how many epochs fit into the seconds that are left; one at least."""
        room = left - self.judgement
        return max(1, min(int(room / (self.epoch + self.validation)), MOST_EPOCHS))

    def total(self, epochs: int) -> float:
        return epochs * (self.epoch + self.validation) + self.judgement


def epochs_within(
    budget: float, began: float, trial: Trial, machine: Machine, validated: int, judged: int
) -> tuple[int, str]:
    """Return the epochs that fit into `budget` seconds since `began` (`time.monotonic`), and what
    there is to say about it."""
    costs, planned = Costs.measure(trial, machine, validated, judged), trial.recipe.epochs
    if costs is None:
        return planned, f"no step could be timed: {planned} epochs, as the recipe has"
    left = (1 - SPARE) * budget - (time.monotonic() - began)
    epochs = costs.epochs(left)
    text = (
        f"{epochs} epoch{'s' * (epochs > 1)} of {spoken(costs.epoch + costs.validation)} each fit "
        f"into what is left of {spoken(budget)}"
    )
    if costs.total(epochs) > left:
        need = time.monotonic() - began + costs.total(1)
        text = f"even one epoch takes {spoken(need)} in all, longer than {spoken(budget)}"
    return epochs, text
