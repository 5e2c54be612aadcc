"""Accuracy against coverage, with ties treated as a threshold must."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from resnets.evaluate.coverage import coverage


def brute(confidence: list[float], right: list[int]) -> float:
    """Mean AURC over every order that falling confidence allows."""
    areas = []
    for order in permutations(range(len(right))):
        if [confidence[i] for i in order] != sorted(confidence, reverse=True):
            continue
        wrong = np.cumsum([1 - right[i] for i in order])
        areas.append(float((wrong / np.arange(1, len(right) + 1)).mean()))
    return float(np.mean(areas))


@pytest.mark.parametrize(
    ("confidence", "right"),
    [
        ([0.9, 0.8, 0.8, 0.5], [1, 1, 0, 0]),
        ([0.5] * 6, [1, 0, 1, 0, 0, 1]),
        ([0.9, 0.9, 0.3, 0.2, 0.2, 0.2], [0, 1, 1, 0, 1, 1]),
        ([0.4], [1]),
        ([0.6, 0.5], [0, 0]),
    ],
)
def test_area_is_the_mean_over_the_orders_of_ties(
    confidence: list[float], right: list[int]
) -> None:
    found = coverage(np.array(confidence), np.array(right, bool))
    assert found.aurc == pytest.approx(brute(confidence, right), abs=1e-12)
    best = brute([float(r) for r in right], right)
    assert found.aurc_best == pytest.approx(best, abs=1e-12)


def test_a_threshold_cannot_part_a_tie() -> None:
    found = coverage(np.array([0.9, 0.8, 0.8, 0.5]), np.array([1, 1, 0, 0], bool))
    assert found.curve == ((0.25, 1.0), (0.75, 2 / 3), (1.0, 0.5))
    assert [at.coverage for at in found.at_coverage] == [1.0, 0.75, 0.25]
    at = found.at_accuracy["0.99"]
    assert at is not None
    assert (at.threshold, at.coverage, at.accuracy) == (0.9, 0.25, 1.0)
    assert at.low < 1.0 == at.high


def test_an_accuracy_that_is_never_reached() -> None:
    found = coverage(np.array([0.9, 0.8]), np.array([False, False]))
    assert set(found.at_accuracy.values()) == {None}


def test_as_many_photos_as_asked_for() -> None:
    n = 10_000
    right = np.arange(n) % 10 > 0
    found = coverage(np.linspace(1, 0.1, n), right)
    assert [at.coverage for at in found.at_coverage] == [1.0, 0.95, 0.9, 0.8, 0.5]
    assert all(at.low < at.accuracy < at.high for at in found.at_coverage)
    assert len(found.curve) == 200
    assert found.aurc == pytest.approx(0.1, abs=1e-3)  # a confidence that says nothing
