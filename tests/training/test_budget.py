"""How many epochs a budget pays for."""

from __future__ import annotations

import pytest

from resnets.durations import seconds, spoken
from resnets.errors import UserError
from resnets.training.budget import MOST_EPOCHS, Costs, parse_budget


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), (30, 30)]
)
def test_a_budget_is_a_time(text: str | float, expected: float) -> None:
    assert parse_budget(text) == expected


def test_no_budget_is_none() -> None:
    assert parse_budget(None) == 0


@pytest.mark.parametrize("text", ["ten", "10x", "-5", "0", "", "1d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="write 90s, 10m or"):
        parse_budget(text)
    assert text == "0" or seconds(text) is None


@pytest.mark.parametrize(
    ("length", "text"), [(45.4, "45 s"), (120, "2 min"), (3600, "60 min"), (9000, "2.5 h")]
)
def test_a_time_is_spoken(length: float, text: str) -> None:
    assert spoken(length) == text


def test_as_many_epochs_as_fit_with_their_validation_and_the_judgement() -> None:
    costs = Costs(epoch=10.0, validation=2.0, judgement=5.0)
    assert [costs.epochs(left) for left in (17, 28.9, 29, 125)] == [1, 1, 2, 10]
    for left in (17, 29, 125):
        assert costs.total(costs.epochs(left)) <= left < costs.total(costs.epochs(left) + 1)


def test_at_least_one_epoch_and_not_beyond_all_measure() -> None:
    costs = Costs(10.0, 2.0, 5.0)
    assert costs.epochs(-3.0) == costs.epochs(0.0) == 1
    assert costs.epochs(1e9) == MOST_EPOCHS
