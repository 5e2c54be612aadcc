"""`--speed`: how training computes, as the user has set it or as it is measured on this machine."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn

from resnets.console import Console
from resnets.errors import UserError, did_you_mean
from resnets.nn.winograd import library
from resnets.timings import recall, remember
from resnets.training.machine import FORMATS, Machine
from resnets.training.processes import count_cores
from resnets.training.search import WINOGRAD, Change, Search, axes
from resnets.training.trial import Trial

CHOICES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "layout": {name: {"layout": name} for name in FORMATS},
    "precision": {name: {"precision": name} for name in ("fp32", "bf16")},
    "convolution": {name: {"convolution": name} for name in ("direct", "winograd")},
    "compile": {
        "true": {"compile": True},
        "false": {"compile": False},
        "graphs": {"compile": True, "graphs": True},
    },
}
"""What each setting can be, and which fields of the machine it then sets; beside ``threads``."""
SETTINGS = (*CHOICES, "threads")
KEPT = ("layout", "precision", "convolution", "compile", "graphs", "threads")
"""Fields of the machine that are chosen."""
PER_CONVOLUTION = 1.5
"""Seconds of compiling forward and backward, until it has been measured here (docs/speed.md)."""
NEXT_TO_NOTHING = 5.0
"""Seconds of loading the compiler and compiling next to nothing, here when nobody else computes."""
FACTS = (
    "optimizer",
    "accumulate",
    "ema",
    "bn",
    "crop",
    "grow",
    "rotate",
    "jitter",
    "erase",
    "whiten",
)
"""Fields of a recipe that change what a step computes."""


@dataclass(frozen=True)
class Speed:
    """What ``--speed`` says: settings, and whether the rest is measured (``auto``) or not."""

    measured: bool
    settings: Mapping[str, str]

    @classmethod
    def parse(cls, speed: str | Mapping[str, Any]) -> Self:
        """Read ``auto``, ``exact``, ``key=value`` or several with commas; or settings by name.

        Raises:
          UserError: what is none of these.
        """
        if isinstance(speed, Mapping):
            speed = ",".join(f"{key}={value}" for key, value in speed.items()) or "exact"
        words = [word.strip().lower() for word in speed.split(",")]
        modes = {word for word in words if word in ("auto", "exact")}
        if len(modes) > 1:
            raise UserError("--speed: either auto or exact")
        settings = dict(_setting(word) for word in words if word not in modes)
        return cls("auto" in modes, settings)

    def __str__(self) -> str:
        mode = ["auto"] if self.measured else [] if self.settings else ["exact"]
        return ",".join([*mode, *(f"{key}={value}" for key, value in self.settings.items())])

    def on(self, machine: Machine) -> Machine:
        """Return the machine with what is set."""
        for key, value in self.settings.items():
            change = {"threads": int(value)} if key == "threads" else CHOICES[key][value]
            machine = dataclasses.replace(machine, **change)
        return machine


def choose_speed(speed: Speed, trial: Trial, console: Console) -> Machine:
    """Return the machine to train on, and say so; every process gets what the leading one has.

    `trial` has the machine with what is set.

    Raises:
      UserError: compilation is asked for, and there is no compiler; or what the leading process has
        chosen cannot be had on another's machine.
    """
    machine, text = trial.machine, ""
    if trial.recipe.linear:  # the network computes once, forwards
        console.say(f"speed    {machine.manner()}")
        return machine
    if trial.ranks.leads:
        if machine.compile:
            check_compiler(machine)
        if difference := trial.disagreement(machine):
            console.warn(f"{machine.manner()} differs from plain fp32: {difference}")
        found, remark = _measured(speed, trial) if speed.measured else (machine, "")
        console.say(f"speed    {found.manner()}{remark}")
        text = json.dumps({name: getattr(found, name) for name in KEPT})
    chosen = dataclasses.replace(machine, **json.loads(trial.ranks.text(text)))
    check_winograd(chosen)  # on every machine
    return chosen


def check_compiler(machine: Machine) -> None:
    """Raise UserError where torch cannot compile for a machine."""
    if reason := _cannot_compile(machine):
        raise UserError(f"--speed compile=true: {reason}; leave compile=true out")


def check_winograd(machine: Machine) -> None:
    """Raise UserError where Winograd's convolutions are asked for, and cannot be had."""
    if machine.convolution != "winograd":
        return
    needed = {"device": "cpu", **WINOGRAD}
    other = [f"{key}={value}" for key, value in needed.items() if getattr(machine, key) != value]
    try:
        library()
        reason = f"it needs {other[0]}" if other else ""
    except UserError as error:
        reason = str(error)
    if reason:
        raise UserError(
            f"--speed convolution=winograd: {reason}; leave it out, or resume where it can be had"
        )


def _cannot_compile(machine: Machine) -> str:
    """Compile next to nothing; return why that fails, or nothing."""

    def scaled(x: torch.Tensor) -> torch.Tensor:
        return 2 * x.sin()

    try:
        torch.compile(scaled)(torch.ones(8, device=machine.device))
    except Exception as error:  # of inductor, of the compiler's process, of the file system …
        needed = "Triton" if machine.device.startswith("cuda") else "a C++ compiler such as g++"
        reason = " ".join(str(error).split())[:120]
        return f"torch cannot compile here, where it needs {needed} ({reason})"
    finally:
        torch.compiler.reset()
    return ""


def _setting(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    key, value = key.strip(), value.strip().replace("_", "-")
    if key not in SETTINGS or not value:
        known = ("auto", "exact", *SETTINGS)
        hint = did_you_mean(key, known) or f": auto, exact, or KEY=VALUE of {', '.join(SETTINGS)}"
        raise UserError(f"--speed {word}{hint}")
    if key == "threads":
        if not (value.isdecimal() and 1 <= int(value) <= 1024):
            raise UserError(f"--speed {word}: a number of threads, from 1")
    elif value not in CHOICES[key]:
        raise UserError(f"--speed {word}: one of {', '.join(CHOICES[key])}")
    return key, value


# -- measuring ------------------------------------------------------------------------------------


def _measured(speed: Speed, trial: Trial) -> tuple[Machine, str]:
    """Return the fastest machine, and what there is to say about it.

    The choice for a run of as many steps is kept and used again, so that the same command comes to
    the same bits; a run of another length uses the same timings.
    """
    began, machine = time.perf_counter(), trial.machine
    steps, key = trial.recipe.epochs * trial.plan.steps, _key(trial)
    run = f"{speed}, {steps} steps"
    known = _known(key)
    if run in known["choices"]:
        fields, gain = known["choices"][run]
        chosen = dataclasses.replace(machine, **fields)
        with suppress(UserError):  # the compiler may be gone: then it is measured anew
            check_winograd(chosen)
            return chosen, f"{gain} (timed before)"
    each, once = _compiling(machine), sum(isinstance(m, nn.Conv2d) for m in trial.net.modules())
    search = Search(
        steps,
        trial.measure,
        compilation=each * once,
        graphs=trial.shapes,
        slowness=lambda: _slowness(trial),
        trials=known["trials"],
    )
    best = search.best(machine, _axes(speed, trial))
    found = {name: timing for name, timing in search.trials.items() if "step" in timing}
    gain = _gain(search, best, trial) if best else ""
    if found:  # also that a run is too short, which might be otherwise the next time
        kept = best or machine
        known["choices"][run] = {name: getattr(kept, name) for name in KEPT}, gain
        remember(key, {"trials": found, "choices": known["choices"]})
    if best is None:
        return machine, "; a short run, so that no other way was timed"
    firsts = [timing["first"] for name, timing in found.items() if "compiled" in name]
    if firsts:
        remember(_compiler(machine), {"seconds": max(firsts) / once})
    return best, f"{gain} (timed in {time.perf_counter() - began:.0f} s)"


def _known(key: str) -> dict[str, dict[str, Any]]:
    """Return the trials and choices that are remembered; none where they are of another form."""
    found = recall(key) or {}
    try:
        trials = {
            name: {"step": float(timing["step"]), "first": float(timing["first"])}
            for name, timing in found["trials"].items()
        }
        choices = {
            run: ({name: fields[name] for name in KEPT}, str(gain))
            for run, (fields, gain) in found["choices"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {"trials": {}, "choices": {}}
    return {"trials": trials, "choices": choices}


def _axes(speed: Speed, trial: Trial) -> dict[str, Sequence[Change]]:
    """Return what is to be tried: nothing that changes what the user has set."""
    fixed = set(speed.settings)
    fixed |= {*WINOGRAD} if trial.machine.convolution == "winograd" else set()
    # Each batch from which some photos are missing is compiled anew.
    fixed |= {"compile"} if len(trial.photos.broken()) else set()
    return {
        name: [change for change in changes if not _turns(change, fixed, trial.machine)]
        for name, changes in axes(trial.machine).items()
        if name not in fixed
    }


def _turns(change: Change, fixed: set[str], machine: Machine) -> bool:
    return any(key in fixed and getattr(machine, key) != value for key, value in change.items())


def _gain(search: Search, best: Machine, trial: Trial) -> str:
    default = search.step(search.default(trial.machine))
    rate = trial.images * trial.ranks.world / default
    return f": {default / search.step(best):.2f}× the default's {rate:.1f} images/s" if rate else ""


def _hardware(machine: Machine) -> str:
    return f"{machine.hardware()}, {count_cores()} cores, torch {torch.__version__}"


def _compiler(machine: Machine) -> str:
    """Return the key under which the seconds of compiling a convolution are kept."""
    return f"{_hardware(machine)}, compiling"


def _compiling(machine: Machine) -> float:
    seconds = (recall(_compiler(machine)) or {}).get("seconds")
    return seconds if isinstance(seconds, float) and seconds > 0 else PER_CONVOLUTION


def _slowness(trial: Trial) -> float:
    """Return how many times longer than usual it takes to compile; infinitely if it cannot be done.

    A compiler cannot be stopped in time, and beside other work it has taken ten times as long.
    """
    began = time.perf_counter()
    if reason := _cannot_compile(trial.machine):
        trial.say(f"speed    not compiled: {reason}")
        return math.inf
    return max(1.0, (time.perf_counter() - began) / NEXT_TO_NOTHING)


def _key(trial: Trial) -> str:
    """Return all that the seconds of a step depend on."""
    preprocess, machine = trial.photos.preprocess, trial.machine
    facts = {
        "hardware": _hardware(machine),
        "machine": machine.to_dict(),
        "network": trial.net.spec.to_dict(),
        "photos": [preprocess.resize, preprocess.size, preprocess.channels],
        "batch": [trial.plan.n // trial.plan.steps, trial.ranks.world],
        "recipe": {name: getattr(trial.recipe, name) for name in FACTS},
    }
    return json.dumps(facts, sort_keys=True)
