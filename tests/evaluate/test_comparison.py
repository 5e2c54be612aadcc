"""Two models on the same photos."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from resnets.evaluate import words
from resnets.evaluate.comparison import Compared, compare, difference_interval, mcnemar

SIMULATIONS = 2000


@pytest.mark.parametrize(
    ("this", "other", "exact", "mid"),
    [  # tails of a coin, by hand
        (0, 0, 1.0, 1.0),
        (1, 0, 1.0, 0.5),
        (5, 0, 2 / 32, 1 / 32),
        (3, 3, 1.0, 1 - 20 / 128),
        (12, 2, 2 * (1 + 14 + 91) / 2**14, (2 * (1 + 14) + 91) / 2**14),
    ],
)
def test_mcnemar_by_hand(this: int, other: int, exact: float, mid: float) -> None:
    assert mcnemar(this, other) == pytest.approx((exact, mid), rel=1e-12)
    assert mcnemar(other, this) == pytest.approx((exact, mid), rel=1e-12)


@given(st.integers(1, 300), st.data())
def test_interval_holds_the_difference_and_mirrors(n: int, data: st.DataObject) -> None:
    b = data.draw(st.integers(0, n))
    c = data.draw(st.integers(0, n - b))
    low, high = difference_interval(b, c, n)
    assert -1 <= low <= (b - c) / n <= high <= 1
    assert low < high
    assert difference_interval(c, b, n) == pytest.approx((-high, -low), abs=1e-7)


def test_interval_without_any_difference() -> None:
    z2 = 1.959963984540054**2
    low, high = difference_interval(0, 0, 50)
    assert (low, high) == pytest.approx((-z2 / (50 + z2), z2 / (50 + z2)), abs=1e-8)


@pytest.mark.parametrize(
    ("only_this", "only_other", "n"),
    [(0.06, 0.04, 500), (0.02, 0.01, 5_000), (0.10, 0.05, 400), (0.03, 0.03, 2_000)],
)
def test_interval_covers_in_2000_simulations(only_this: float, only_other: float, n: int) -> None:
    """95 % of the intervals hold the true difference: 94 to 96 %, as closely as 2,000 tell."""
    shares = [only_this, only_other, 1 - only_this - only_other]
    drawn = np.random.default_rng(7).multinomial(n, shares, SIMULATIONS)[:, :2]
    pairs, counts = np.unique(drawn, axis=0, return_counts=True)
    held = 0
    for (b, c), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        low, high = difference_interval(b, c, n)
        held += count * (low <= only_this - only_other <= high)
    assert 0.94 <= held / SIMULATIONS <= 0.96


@pytest.mark.parametrize(("n", "discordant"), [(100, 0.2), (1_000, 0.05), (10_000, 0.02)])
def test_mcnemar_is_wrong_in_5_percent_at_most(n: int, discordant: float) -> None:
    """Of models that are equally good: in simulations, and exactly over all that can come."""
    generator = np.random.default_rng(11)
    total = generator.binomial(n, discordant, SIMULATIONS)
    drawn = np.stack([generator.binomial(total, 0.5), total], 1)
    pairs, counts = np.unique(drawn, axis=0, return_counts=True)
    found = [mcnemar(b, t - b)[0] <= 0.05 for b, t in pairs.tolist()]
    assert counts[found].sum() / SIMULATIONS <= 0.05
    likely = int(n * discordant)
    of_all = sum(
        binom.pmf(b, likely, 0.5) for b in range(likely + 1) if mcnemar(b, likely - b)[0] <= 0.05
    )
    assert of_all <= 0.05


def test_who_is_right_where() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    this = np.array([0, 0, 0, 1, 1, 1, 0, 2])
    other = np.array([0, 1, 2, 1, 0, 1, 0, 0])
    found = compare(this, other, labels, ["a", "b", "c"])
    counts = (found.both_right, found.only_this, found.only_other, found.both_wrong)
    assert counts == (3, 4, 0, 1)
    assert found.same_answer == 4
    assert found.difference == pytest.approx(4 / 8)
    assert (found.top1, found.other_top1) == (7 / 8, 3 / 8)
    assert [row.name for row in found.per_class] == ["a", "b", "c"]
    assert found.p_value == 2 / 16
    assert found.verdict == "undecided"
    text = words.comparison(Compared("other.safetensors", found))
    assert "87.5 % right against 37.5 %" in text
    assert "do not tell" in text


@pytest.mark.parametrize(("this", "other", "verdict"), [(20, 5, "better"), (5, 20, "worse")])
def test_verdict(this: int, other: int, verdict: str) -> None:
    labels = np.zeros(100, int)
    one, two = np.zeros(100, int), np.zeros(100, int)
    two[:this], one[this : this + other] = 1, 1
    assert compare(one, two, labels, ["a", "b"]).verdict == verdict
