"""When a run is written, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from resnets.errors import UserError
from resnets.training import checkpoint, saver
from resnets.training.saver import Every, Saver

WEIGHTS = {"w": torch.ones(3)}


class Keeper:
    def __init__(self) -> None:
        self.kept: list[tuple[str, float]] = []

    def keep(self, name: str, weights: Mapping[str, Tensor], row: Mapping[str, float]) -> None:
        self.kept.append((name, float(weights["w"][0])))

    def history(self, rows: list[dict[str, float]]) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list whose only number is the time."""
    now = [100.0]
    monkeypatch.setattr(saver.time, "monotonic", lambda: now[0])
    return now


def make(folder: Path, every: Every) -> tuple[Saver, Keeper]:
    keeper = Keeper()
    return Saver(folder, keeper, every), keeper


def test_by_time_and_by_step(tmp_path: Path, clock: list[float]) -> None:
    timed, _ = make(tmp_path, Every(seconds=60))
    assert not timed.due(1)
    clock[0] += 61
    assert timed.due(2)
    stepped, _ = make(tmp_path, Every(steps=3))
    assert [step for step in range(1, 10) if stepped.due(step)] == [3, 6, 9]
    never, _ = make(tmp_path, Every())
    clock[0] += 1e6
    assert not never.due(3)


def test_the_end_of_an_epoch_is_written_if_that_is_a_fiftieth(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = make(tmp_path, Every())
    write = checkpoint.save

    def slowly(*arguments: object) -> Path:
        clock[0] += 2.0
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save", slowly)
    assert one.save(lambda: (WEIGHTS, {})) == 2.0
    clock[0] += 99.0
    assert not one.epoch_due()
    clock[0] += 1.0
    assert one.epoch_due()


def test_the_best_is_written_before_the_checkpoint_and_once(tmp_path: Path) -> None:
    one, keeper = make(tmp_path, Every())
    weights = {"w": torch.ones(3)}
    one.hold_best(weights, {"epoch": 1})
    weights["w"].fill_(7.0)  # training goes on
    assert not keeper.kept
    one.save(lambda: (one.best, {}))
    one.save(lambda: (one.best, {}), (weights, {"epoch": 2}))
    assert keeper.kept == [("best", 1.0), ("last", 7.0)]
    loaded = checkpoint.load_newest(tmp_path, print)
    assert loaded is not None
    assert torch.equal(loaded[0]["w"], torch.ones(3))


def test_a_best_that_cannot_be_written_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, keeper = make(tmp_path, Every())
    one.hold_best(WEIGHTS, {})
    with monkeypatch.context() as patch:

        def full(*arguments: object) -> None:
            raise UserError("cannot write")

        patch.setattr(keeper, "keep", full)
        with pytest.raises(UserError):
            one.save(lambda: (WEIGHTS, {}))
    assert not checkpoint.generations(tmp_path)
    one.save(lambda: (WEIGHTS, {}))
    assert keeper.kept == [("best", 1.0)]
