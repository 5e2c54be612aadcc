"""The search for the fastest way to compute a training step: an axis at a time, within a budget.

Nothing is timed here: `Search` decides what is worth a trial and which trial has won.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psutil
import torch

from resnets.training.machine import Machine
from resnets.training.processes import count_cores

Change = Mapping[str, Any]
Trials = dict[str, dict[str, Any]]
"""What came of a `Machine.manner`: ``step`` and ``first``, seconds; or ``dropped``, why."""

SHORTEST = 60.0
"""Seconds: a run that would take less is not measured."""
FEWEST = 150
"""Steps: of a run with fewer, two are more than a fiftieth already."""
SHARE, MOST = 0.02, 60.0
"""What a search may take: a part of the run's time, and seconds."""
PARTS = 14
"""A trial's timed steps take about this part of it, if there can be more than one."""
TRIAL = 3
"""Steps that a trial takes at least: the first, one that is timed, and the comparison of bf16."""
MARGIN = 0.97
"""A candidate has to take less than this part of the time, as neighbours make timings waver."""
PAYBACK = 2.0
"""Compilation counts so many times: it must pay clearly, and is done once more for training."""
HOPES = {"cpu": 0.15, "cuda": 0.4}
"""The part of a step that compiling may save, if it goes well: for less it is not tried."""

DEFAULT: Change = {
    "layout": "contiguous",
    "precision": "fp32",
    "compile": False,
    "graphs": False,
    "convolution": "direct",
}
"""How frameworks compute if nobody says anything."""
WINOGRAD: Change = {
    "convolution": "winograd",
    "precision": "fp32",
    "layout": "channels-last",
}
"""Winograd's convolutions, and what they need."""


def axes(machine: Machine) -> dict[str, Sequence[Change]]:
    """Return what can be tried on a machine, in order: what decides most, and costs least, first.

    Precision comes before layout, as tensor cores turn the answer; Winograd's convolutions, which
    know one of each, against the best of both; threads before compilation, whose code is made for a
    number of them.
    """
    kind = machine.device.partition(":")[0]
    compiled: dict[str, list[Change]] = {
        "cpu": [{"compile": True}],
        "cuda": [{"compile": True}, {"compile": True, "graphs": True}],
    }
    return {
        "precision": [{"precision": "bf16"}] if _has_bf16(kind) else [],
        "layout": [{"layout": "contiguous"}],
        "convolution": [WINOGRAD] if kind == "cpu" else [],
        "threads": [{"threads": n} for n in _thread_counts()] if kind == "cpu" else [],
        "compile": compiled.get(kind, []),
    }


@dataclass
class Search:
    """Finds the fastest machine for a run of `steps` steps.

    Attributes:
      measure: tries a machine, timing for about so many seconds; see `Trials`.
      trials: what is known already, and what is found.
      compilation: seconds that it is expected to take once; `graphs`: how often a run compiles.
      slowness: how many times longer it takes just now; asked once, if it may pay at all.
      clock: seconds.
    """

    steps: int
    measure: Callable[[Machine, float], dict[str, Any]]
    compilation: float
    graphs: int = 1
    slowness: Callable[[], float] = lambda: 1.0
    trials: Trials = field(default_factory=dict)
    clock: Callable[[], float] = time.perf_counter
    budget: float = 0.0

    def best(self, base: Machine, axes: Mapping[str, Sequence[Change]]) -> Machine | None:
        """Return the machine to train on; None where measuring does not pay or cannot be done.

        `base` is what training would run on otherwise. No axis is left out in favour of another:
        each starts from the best so far (a coordinate search).
        """
        self._began = self.clock()
        fresh = base.manner() not in self.trials
        if self.steps < FEWEST:
            return None
        whole = self.steps * self._try(base, 0.0)
        if not SHORTEST <= whole < math.inf:
            return None
        self.budget = min(MOST, SHARE * whole)
        allowance = self.budget / PARTS
        if fresh and allowance > 2 * self.step(base):  # there is time for more than the one step
            del self.trials[base.manner()]
            self._try(base, allowance)
        best, default = base, self.default(base)
        if self._fits(default, best):
            self._try(default, allowance)
        for changes in axes.values():
            for change in changes:
                candidate = replace(best, **change)
                if not self._fits(candidate, best):
                    continue
                self._try(candidate, allowance)
                if self._run_time(candidate) < MARGIN * self._run_time(best):
                    best = candidate
        return best

    def default(self, base: Machine) -> Machine:
        """Return what the gain is told over."""
        return replace(base, **DEFAULT)

    def step(self, machine: Machine) -> float:
        """Return the seconds of a step; infinitely many if it could not be timed."""
        return float(self.trials.get(machine.manner(), {}).get("step", math.inf))

    def _try(self, machine: Machine, allowance: float) -> float:
        """Time a machine, unless that has been done."""
        if machine.manner() not in self.trials:
            self.trials[machine.manner()] = self.measure(machine, allowance)
        return self.step(machine)

    def _fits(self, candidate: Machine, best: Machine) -> bool:
        """Tell whether a trial can be afforded, and could win."""
        if candidate.manner() in self.trials:
            return True
        if not candidate.compile:
            return self._affords(best, 0.0)
        if not self._affords(best, self.compilation) or not self._may_pay(candidate, best):
            return False
        self.compilation *= self.slowness()
        self.slowness = lambda: 1.0
        return self._affords(best, self.compilation) and self._may_pay(candidate, best)

    def _affords(self, best: Machine, more: float) -> bool:
        left = self.budget - (self.clock() - self._began)
        return TRIAL * self.step(best) + more <= left

    def _may_pay(self, candidate: Machine, best: Machine) -> bool:
        hope = HOPES.get(candidate.device.partition(":")[0], 0.0)
        hoped = self.steps * (1 - hope) * self.step(best)
        return hoped + PAYBACK * self.graphs * self.compilation < MARGIN * self._run_time(best)

    def _run_time(self, machine: Machine) -> float:
        first = self.trials.get(machine.manner(), {}).get("first", math.inf)
        compiling = PAYBACK * self.graphs * float(first) if machine.compile else 0.0
        return self.steps * self.step(machine) + compiling


def _has_bf16(kind: str) -> bool:
    """Tell whether there are bf16 kernels that need not be slow; whether they are, is measured."""
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return kind == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _thread_counts() -> list[int]:
    """Return the numbers of threads worth a trial: of the real cores and of all of them.

    None where the environment says how many: the user, or whoever has started several processes.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return []
    cores = count_cores()
    real = min(psutil.cpu_count(logical=False) or cores, cores)
    return sorted({real, cores})
