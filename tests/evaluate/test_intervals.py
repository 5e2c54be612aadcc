from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnets.evaluate import wilson


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    n = draw(st.integers(1, 10**9))
    return draw(st.integers(0, n)), n


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # worked with the formula of the paper, z = 1.959964
        (403, 412, 0.9590, 0.9885),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (1, 1, 0.2065, 1.0),
    ],
)
def test_known_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_nothing_observed_is_nothing_known() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@given(counts())
def test_contains_the_estimate_within_the_unit_interval(case: tuple[int, int]) -> None:
    successes, n = case
    low, high = wilson(successes, n)
    assert 0.0 <= low <= successes / n <= high <= 1.0
    assert low < high
    assert (low == 0.0) == (successes == 0)
    assert (high == 1.0) == (successes == n)


@given(counts())
def test_successes_and_failures_mirror_each_other(case: tuple[int, int]) -> None:
    successes, n = case
    low, high = wilson(successes, n)
    assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@given(st.integers(2, 500))
def test_rises_with_every_success(n: int) -> None:
    intervals = [wilson(k, n) for k in range(n + 1)]
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(intervals))


@given(counts(), st.floats(0.5, 0.98))
def test_more_confidence_is_a_wider_interval(case: tuple[int, int], confidence: float) -> None:
    narrow, wide = wilson(*case, confidence), wilson(*case, confidence + 0.01)
    assert wide[0] <= narrow[0]
    assert narrow[1] <= wide[1]


@given(st.integers(1, 1000))
def test_ten_times_the_photos_is_a_narrower_interval(n: int) -> None:
    few, many = wilson(n // 2, n), wilson(10 * (n // 2), 10 * n)
    assert many[1] - many[0] < few[1] - few[0]


@pytest.mark.parametrize("p", [0.5, 0.9, 0.98])
@pytest.mark.parametrize("n", [40, 400])
def test_covers_the_truth_as_often_as_it_says(p: float, n: int) -> None:
    drawn = np.random.default_rng(0).binomial(n, p, size=20_000)
    intervals = np.array([wilson(k, n) for k in range(n + 1)])[drawn]
    covered = ((intervals[:, 0] <= p) & (p <= intervals[:, 1])).mean()
    assert 0.925 < covered < 0.985  # the count is discrete: no interval is exact at every p


@pytest.mark.parametrize("bad", [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 0.0), (1, 5, 1.0)])
def test_impossible_input(bad: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        wilson(*bad)
