"""2,000 simulations each: how many of the 95 % intervals hold what they should."""

from __future__ import annotations

import numpy as np
import pytest

from resnets.evaluate.intervals import balanced, wilson

SIMULATIONS = 2000


@pytest.mark.parametrize(("p", "n"), [(0.5, 400), (0.9, 411), (0.76, 10_000), (0.98, 2_000)])
def test_top1(p: float, n: int) -> None:
    drawn, counts = np.unique(
        np.random.default_rng(3).binomial(n, p, SIMULATIONS), return_counts=True
    )
    held = [low <= p <= high for low, high in (wilson(int(k), n) for k in drawn)]
    assert 0.94 <= counts[held].sum() / SIMULATIONS <= 0.96


@pytest.mark.parametrize(
    ("recalls", "photos"),
    [
        (np.linspace(0.6, 0.99, 10), [100] * 10),
        (np.linspace(0.6, 0.99, 10), [500, 300, 200, 100, 80, 50, 40, 30, 20, 10]),
        (np.linspace(0.99, 0.6, 10), [500, 300, 200, 100, 80, 50, 40, 30, 20, 10]),
        (np.full(10, 0.98), [1000] * 10),
        (np.full(100, 0.95), [10] * 100),
        (np.linspace(0.5, 1.0, 100), [5] * 100),
        (np.linspace(0.4, 1.0, 1000), [50] * 1000),
    ],
)
def test_balanced_accuracy(recalls: np.ndarray, photos: list[int]) -> None:
    generator, held = np.random.default_rng(6), 0
    for _ in range(SIMULATIONS):
        low, high = balanced(generator.binomial(photos, recalls).tolist(), photos)
        held += low <= recalls.mean() <= high
    assert 0.94 <= held / SIMULATIONS <= 0.96


@pytest.mark.parametrize(
    ("recalls", "photos"),
    [([0.9, 0.9], [50, 50]), ([0.95, 0.7], [200, 20]), ([0.99] * 10, [40] * 10)],
)
def test_balanced_accuracy_of_few_photos(recalls: list[float], photos: list[int]) -> None:
    """So few values can come that no interval is right by 95 %."""
    generator, held = np.random.default_rng(5), 0
    for _ in range(SIMULATIONS):
        low, high = balanced(generator.binomial(photos, recalls).tolist(), photos)
        held += low <= float(np.mean(recalls)) <= high
    assert 0.93 <= held / SIMULATIONS <= 0.96


def test_balanced_where_nothing_varies() -> None:
    assert balanced([0, 0], [0, 0]) == (0.0, 1.0)
    assert balanced([10, 10, 0], [10, 10, 0]) == wilson(20, 20)  # classes without photos are none
    assert balanced([30], [40]) == pytest.approx(wilson(30 * 39 / 40, 39), abs=1e-12)
    low, high = balanced([1, 0, 1, 1], [1, 1, 1, 1])
    assert low < 0.75 < high
