"""One ``resnets`` command in a process that dies at a chosen moment, forgets, or computes nonsense.

``python benchmarks/sabotage.py die:MOMENT:N -- train …`` kills its process group with SIGKILL when
MOMENT comes for the Nth time; ``forget:PIECE`` drops a piece of what a resume restores;
``spoil:WHAT:N`` puts a NaN into step N. The product is as it is: what is patched here is patched in
this process only.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def die() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)


class Countdown:
    """Calls `die` at its Nth call."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0


# -- moments --------------------------------------------------------------------------------------


def _before(owner: Any, name: str, due: Countdown) -> None:
    original = getattr(owner, name)

    def dying(*arguments: Any, **options: Any) -> Any:
        if due():
            die()
        return original(*arguments, **options)

    setattr(owner, name, dying)


def _after(owner: Any, name: str, due: Countdown) -> None:
    original = getattr(owner, name)

    def dying(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        if due():
            die()
        return result

    setattr(owner, name, dying)


def within_a_checkpoint_write(due: Countdown) -> None:
    """Half of the tensors are on the disk."""
    from resnets.training import checkpoint

    original = checkpoint.save_file

    def dying(tensors: Any, path: Path, *rest: Any) -> None:
        original(tensors, path, *rest)
        if due():
            content = Path(path).read_bytes()
            Path(path).write_bytes(content[: len(content) // 2])
            die()

    checkpoint.save_file = dying  # type: ignore[assignment]


def between_write_and_rename(due: Countdown) -> None:
    original = Path.rename

    def dying(self: Path, target: Any) -> Path:
        if self.name.startswith(".writing-") and due():
            die()
        return original(self, target)

    Path.rename = dying  # type: ignore[method-assign]


def between_best_and_checkpoint(due: Countdown) -> None:
    from resnets.training import saver

    class Late:
        def __getattr__(self, name: str) -> Any:
            from resnets.training import checkpoint

            return getattr(checkpoint, name)

        def save(self, *arguments: Any) -> Any:
            from resnets.training import checkpoint

            if due():
                die()
            return checkpoint.save(*arguments)

    saver.checkpoint = Late()  # type: ignore[assignment]


def in_validation(due: Countdown) -> None:
    from resnets.training import inference

    original = inference.probabilities

    def dying(*arguments: Any) -> Any:
        for answer in original(*arguments):
            if due():
                die()
            yield answer

    inference.probabilities = dying


def at_an_epochs_edge(due: Countdown) -> None:
    from resnets.training.progress import Progress

    _after(Progress, "next_epoch", due)


def inside_an_accumulation(due: Countdown) -> None:
    from resnets.training.step import Stepper

    _after(Stepper, "_backward_part", due)


def between_optimizer_and_average(due: Countdown) -> None:
    from resnets.training.optim import Ema

    _before(Ema, "update", due)


def before_the_first_step(due: Countdown) -> None:
    from resnets.training.loop import Trainer

    _before(Trainer, "run", due)


def after_the_last_epoch(due: Countdown) -> None:
    from resnets.training.loop import Trainer

    _after(Trainer, "run", due)


MOMENTS: dict[str, tuple[Callable[[Countdown], None], int]] = {
    # each with the largest number that a short run reaches for certain
    "checkpoint-write": (within_a_checkpoint_write, 4),
    "write-rename": (between_write_and_rename, 4),
    "best-checkpoint": (between_best_and_checkpoint, 4),
    "validation": (in_validation, 4),
    "epoch-edge": (at_an_epochs_edge, 3),
    "accumulation": (inside_an_accumulation, 40),
    "optimizer-average": (between_optimizer_and_average, 20),
    "first-step": (before_the_first_step, 1),
    "last-epoch": (after_the_last_epoch, 1),
}


# -- pieces ---------------------------------------------------------------------------------------


def _restored(change: Callable[[Any, dict[str, Any], dict[str, Any]], None]) -> None:
    """Let `change` spoil what is about to be restored: trainer, tensors and values."""
    from resnets.training.loop import Trainer

    original = Trainer.restore

    def spoiled(self: Any, tensors: Any, values: Any) -> None:
        tensors, values = dict(tensors), {**values, "progress": dict(values["progress"])}
        change(self, tensors, values)
        original(self, tensors, values)

    Trainer.restore = spoiled  # type: ignore[method-assign]


def _shifted_plan(name: str) -> None:
    """Answer for another epoch, in one of the plan's streams."""
    from resnets.data.plan import Plan

    original = getattr(Plan, name)
    setattr(Plan, name, lambda self, epoch, *rest: original(self, epoch + 1000, *rest))


def _no_optimizer(trainer: Any, tensors: dict[str, Any], values: dict[str, Any]) -> None:
    for name in [name for name in tensors if name.startswith("optimizer.")]:
        del tensors[name]


def _no_statistics(trainer: Any, tensors: dict[str, Any], values: dict[str, Any]) -> None:
    for name in tensors:
        if name.startswith("net.") and name.endswith(("running_mean", "running_var")):
            tensors[name] = torch.full_like(tensors[name], float(name.endswith("var")))


def _no_average(trainer: Any, tensors: dict[str, Any], values: dict[str, Any]) -> None:
    for name in tensors:
        if name.startswith("ema."):
            tensors[name] = tensors[name.replace("ema.", "net.", 1)]


def _no_best_weights(trainer: Any, tensors: dict[str, Any], values: dict[str, Any]) -> None:
    for name in [name for name in tensors if name.startswith("best.")]:
        del tensors[name]


def _progress(**changes: Any) -> Callable[..., None]:
    def change(trainer: Any, tensors: dict[str, Any], values: dict[str, Any]) -> None:
        values["progress"] |= changes

    return change


def _no_counter(trainer: Any, tensors: dict[str, Any], values: dict[str, Any]) -> None:
    values["ema_updates"] = 0


def _no_schedule() -> None:
    """Begin the schedule anew where a run is resumed."""
    from resnets.training import step

    original, first = step.learning_rate, []

    def anew(recipe: Any, done: int, steps: int) -> float:
        first.append(done)
        return original(recipe, done - first[0], steps)

    step.learning_rate = anew


def _no_accumulation() -> None:
    from resnets.training.step import Stepper

    original = Stepper._backward
    import dataclasses

    def whole(self: Any, *arguments: Any) -> float:
        self.recipe = dataclasses.replace(self.recipe, accumulate=1)
        return original(self, *arguments)

    Stepper._backward = whole  # type: ignore[method-assign]


def _other_precision() -> None:
    import dataclasses

    from resnets.training.step import Stepper

    original = Stepper.begin

    def begin(self: Any, epoch: int) -> None:
        other = {"fp32": "bf16", "bf16": "fp32"}[self.machine.precision]
        self.machine = dataclasses.replace(self.machine, precision=other)
        original(self, epoch)

    Stepper.begin = begin  # type: ignore[method-assign]


PIECES: dict[str, Callable[[], None]] = {
    "order": lambda: _shifted_plan("batch"),
    "augmentation": lambda: _shifted_plan("augmentation"),
    "mixing": lambda: _shifted_plan("mixing"),
    "schedule": _no_schedule,
    "optimizer": lambda: _restored(_no_optimizer),
    "bn": lambda: _restored(_no_statistics),
    "ema": lambda: _restored(_no_average),
    "ema-counter": lambda: _restored(_no_counter),
    "best": lambda: _restored(_progress(best=None, best_epoch=0)),
    "best-weights": lambda: _restored(_no_best_weights),
    "step": lambda: _restored(_progress(step=0)),
    "history": lambda: _restored(_progress(history=[])),
    "loss": lambda: _restored(_progress(loss_sum=0.0, seen=0)),
    "samples": lambda: _restored(_progress(samples="")),
    "accumulation": _no_accumulation,
    "precision": _other_precision,
}


# -- nonsense -------------------------------------------------------------------------------------


def _spoil_loss(due: Countdown) -> None:
    from resnets.tasks.classify import Classify

    original = Classify.loss

    def loss(self: Any, outputs: Any, targets: Any) -> Any:
        return original(self, outputs, targets) * (float("nan") if due() else 1.0)

    Classify.loss = loss  # type: ignore[method-assign]


def _spoil_gradient(due: Countdown) -> None:
    from resnets.training.step import Stepper

    original = Stepper._gradient_norm

    def norm(self: Any) -> Any:
        if due():
            next(self.net.parameters()).grad[0] = float("inf")
        return original(self)

    Stepper._gradient_norm = norm  # type: ignore[method-assign]


def _spoil_weights(net: Callable[[Any], Any]) -> Callable[[Countdown], None]:
    def spoil(due: Countdown) -> None:
        from resnets.training.step import Stepper

        original = Stepper._update

        def update(self: Any, *arguments: Any) -> None:
            original(self, *arguments)
            if due():
                with torch.no_grad():
                    next(net(self).parameters())[0] = float("nan")

        Stepper._update = update  # type: ignore[method-assign]

    return spoil


NONSENSE: dict[str, Callable[[Countdown], None]] = {
    "loss": _spoil_loss,
    "gradient": _spoil_gradient,
    "weights": _spoil_weights(lambda stepper: stepper.net),
    "ema": _spoil_weights(lambda stepper: stepper.ema.net),
}


def main() -> None:
    plan, separator, *arguments = sys.argv[1:]
    assert separator == "--", "sabotage.py PLAN -- resnets' arguments"
    kind, name, *number = plan.split(":")
    if kind == "die":
        MOMENTS[name][0](Countdown(int(number[0])))
    elif kind == "spoil":
        NONSENSE[name](Countdown(int(number[0])))
    else:
        PIECES[name]()
    from resnets.cli import main as resnets

    sys.argv = ["resnets", *arguments]
    resnets()


if __name__ == "__main__":
    main()
