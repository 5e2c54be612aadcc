"""The search on tables of seconds, with a clock that the trials move on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from resnets.training import search
from resnets.training.machine import Machine
from resnets.training.search import Search, axes

BASE = Machine("cpu", threads=2)
AXES = {
    "precision": [{"precision": "bf16"}],
    "layout": [{"layout": "contiguous"}],
    "threads": [{"threads": 2}, {"threads": 4}],
    "compile": [{"compile": True}],
}


class Table:
    """Seconds of a step by what a machine is, and of compiling; a trial takes four steps."""

    def __init__(self, step: float, compiling: float = 20.0, **factors: float) -> None:
        self.step_seconds, self.compiling, self.factors = step, compiling, factors
        self.now = 0.0
        self.tried: list[str] = []

    def clock(self) -> float:
        return self.now

    def measure(self, machine: Machine, allowance: float) -> dict[str, Any]:
        self.tried.append(machine.manner())
        step = self.step_seconds
        for name, factor in self.factors.items():
            key, _, value = name.partition("_")
            step *= factor if str(getattr(machine, key)) == value else 1.0
        if step == float("inf"):
            return {"dropped": "there is no such thing"}
        first = self.compiling if machine.compile else 0.0
        self.now += first + 4 * step
        return {"step": step, "first": first}


def find(table: Table, steps: int, compilation: float = 20.0, **more: Any) -> Machine | None:
    found = Search(steps, table.measure, compilation, clock=table.clock, **more)
    return found.best(BASE, AXES)


def test_the_fastest_of_every_axis_is_found() -> None:
    table = Table(0.1, precision_bf16=0.8, threads_4=0.7, compile_True=0.9)
    best = find(table, 100_000)
    assert best == replace(BASE, precision="bf16", threads=4, compile=True)
    assert best.layout == "channels-last"


def test_what_is_slower_or_hardly_faster_is_not_taken() -> None:
    table = Table(0.1, precision_bf16=1.9, layout_contiguous=0.98, threads_4=0.99, compile_True=1.0)
    assert find(table, 100_000) == BASE
    assert len(table.tried) == len(set(table.tried)) + 1  # the base, for longer the second time


def test_each_axis_starts_from_the_best_so_far() -> None:
    table = Table(0.1, precision_bf16=0.5, layout_contiguous=0.5)
    assert find(table, 100_000) == replace(BASE, precision="bf16", layout="contiguous")
    assert "contiguous, bf16, 4 threads" in table.tried
    assert "channels-last, fp32, 4 threads" not in table.tried


@pytest.mark.parametrize(("steps", "step"), [(100, 10.0), (1000, 0.05)])
def test_a_short_run_is_not_measured(steps: int, step: float) -> None:
    table = Table(step, threads_4=0.1)
    assert find(table, steps) is None
    assert len(table.tried) == (steps >= search.FEWEST)


@pytest.mark.parametrize("step", [0.01, 0.1, 1.0, 5.0, 40.0])
@pytest.mark.parametrize("steps", [150, 1000, 10_000, 1_000_000])
def test_a_search_keeps_to_its_budget(steps: int, step: float) -> None:
    table = Table(step, precision_bf16=0.9, threads_4=0.9, compile_True=0.9)
    find(table, steps)
    # The first trial cannot know how long it takes, and the default is as slow as it is.
    assert table.now <= max(
        8 * step, 1.1 * min(search.MOST, search.SHARE * steps * step) + 4 * step
    )


def test_compiling_has_to_pay_within_the_run() -> None:
    for steps, pays in ((20_000, True), (3_000, False)):
        table = Table(0.1, compile_True=0.85)
        best = find(table, steps, compilation=1.0)  # it takes longer than was hoped
        assert any("compiled" in manner for manner in table.tried)
        assert best == replace(BASE, compile=pays)


def test_compiling_that_cannot_pay_is_not_tried() -> None:
    table = Table(0.1, compile_True=0.5)
    assert find(table, 2_000) == BASE
    assert not any("compiled" in manner for manner in table.tried)
    assert find(Table(0.1, compile_True=0.85), 20_000, graphs=10) == BASE


@pytest.mark.parametrize(("slowness", "tried"), [(1.0, True), (4.0, False), (float("inf"), False)])
def test_nothing_is_compiled_while_that_is_slow(slowness: float, tried: bool) -> None:
    table, asked = Table(0.1, compile_True=0.85), []

    def ask() -> float:
        asked.append(slowness)
        return slowness

    best = find(table, 100_000, slowness=ask)
    assert best == replace(BASE, compile=tried)
    assert any("compiled" in manner for manner in table.tried) == tried
    assert len(asked) == 1
    find(table, 2_000, slowness=lambda: pytest.fail("it cannot pay in any case"))


def test_what_cannot_be_had_is_left_out() -> None:
    table = Table(0.1, precision_bf16=float("inf"), threads_4=0.5, compile_True=float("inf"))
    assert find(table, 100_000) == replace(BASE, threads=4)
    assert find(Table(float("inf")), 100_000) is None


def test_what_is_known_is_not_timed_again() -> None:
    first = Table(0.1, threads_4=0.5)
    known = Search(100_000, first.measure, 20.0, clock=first.clock)
    best = known.best(BASE, AXES)
    again = Table(0.1)
    assert find(again, 99_000, trials=known.trials) == best
    assert not again.tried


def test_axes_name_fields_of_a_machine() -> None:
    for device in ("cpu", "cuda", "mps"):
        for changes in axes(Machine(device)).values():
            for change in changes:
                replace(Machine(device), **change)


def test_threads_that_somebody_has_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert axes(BASE)["threads"]
    assert not axes(Machine("cuda"))["threads"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert not axes(BASE)["threads"]
