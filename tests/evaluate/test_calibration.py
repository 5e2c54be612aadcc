"""Calibration on cases whose figures are known exactly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from resnets.evaluate import calibration as c
from resnets.evaluate.metrics import PROBABILITY_FLOOR, nll

SIXTEENTHS = st.lists(st.tuples(st.integers(0, 16), st.booleans()), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [
        (0.0, 0),  # exactly 0 is in the first bin, and exactly 1 in the last
        (1.0, 9),
        (np.float32(1 + 1e-6), 9),  # a softmax may round to a little more
        (5e-324, 0),
        (0.1, 0),  # on an edge: below it
        (np.nextafter(0.1, 1), 1),
        (0.3, 2),
        (np.nextafter(1, 0), 9),
    ],
)
def test_which_bin(confidence: float, expected: int) -> None:
    assert c.bin_of(np.array([confidence]), 10).tolist() == [expected]


@pytest.mark.parametrize(
    ("confidence", "right", "expected"),
    [
        ([1.0, 1.0], [True, True], 0.0),
        ([0.0], [False], 0.0),
        ([0.0, 1.0], [True, False], 1.0),  # sure and wrong, and the other way round
        ([1.0, 1.0, 1.0, 1.0], [True, True, True, False], 0.25),
        ([0.75] * 4, [True, True, True, False], 0.0),
        ([0.5, 0.5, 1.0, 0.25], [True, True, False, False], (1 + 1 + 0.25) / 4),
    ],
)
def test_exact_cases(confidence: list[float], right: list[bool], expected: float) -> None:
    assert c.ece(np.array(confidence), np.array(right), 4) == expected


@given(SIXTEENTHS, st.sampled_from([1, 2, 4, 8]))
def test_as_in_rational_arithmetic(cases: list[tuple[int, bool]], bins: int) -> None:
    gaps = [Fraction(0)] * bins
    for sixteenths, right in cases:
        edge = Fraction(sixteenths, 16) * bins
        index = max(0, -(-edge.numerator // edge.denominator) - 1)
        gaps[index] += int(right) - Fraction(sixteenths, 16)
    confidence = np.array([value for value, _ in cases]) / 16
    found = c.ece(confidence, np.array([right for _, right in cases]), bins)
    assert found == float(sum(map(abs, gaps))) / len(cases)


def test_the_diagram_loses_no_photo() -> None:
    confidence = np.array([0.0, 0.05, 0.5, 1.0, 1.0])
    bins = c.reliability(confidence, np.array([False, True, True, True, False]), 10)
    assert [part.n for part in bins] == [2, 0, 0, 0, 1, 0, 0, 0, 0, 2]
    assert (bins[0].confidence, bins[0].accuracy) == (0.025, 0.5)
    assert (bins[9].confidence, bins[9].accuracy) == (1.0, 0.5)
    assert bins[1].accuracy is None


def test_bins_of_equal_size_do_not_depend_on_the_order_of_ties() -> None:
    confidence = np.full(8, 0.5)
    by_class = np.arange(8) < 4
    assert c.adaptive_ece(confidence, by_class, 2) == 0.0
    assert c.adaptive_ece(confidence, ~by_class, 2) == 0.0
    assert c.adaptive_ece(np.array([0.25, 0.25, 1.0, 1.0]), np.array([0, 0, 1, 0], bool), 2) == (
        (0.5 + 1) / 4
    )


def test_brier_and_likelihood_of_known_rows() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.75, 0.25]])
    labels = np.array([0, 0, 1, 0])
    assert c.brier(rows, labels) == (0 + 2 + 0.5 + 0.125) / 4
    expected = -np.log([1, PROBABILITY_FLOOR, 0.5, 0.75]).mean()
    assert nll(rows, labels) == pytest.approx(expected, rel=1e-12)


def drawn(n: int = 10_000, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return logits that are right exactly as often as they say, and labels."""
    generator = np.random.default_rng(0)
    logits = 2 * generator.normal(size=(n, k))
    below = generator.random((n, 1)) < softmax(logits, 1).cumsum(1)
    return logits, below.argmax(1)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_the_temperature_is_found_again(temperature: float) -> None:
    logits, labels = drawn()
    found = c.fit_temperature(logits * temperature, labels)
    assert found is not None
    assert found == pytest.approx(temperature, rel=0.04)

    def at(t: float) -> float:
        return nll(softmax(logits * temperature / t, 1), labels)

    assert at(found) <= min(at(found * 0.999), at(found * 1.001))
    shifted = logits * temperature + np.linspace(-50, 50, len(logits))[:, None]
    assert c.fit_temperature(shifted, labels) == pytest.approx(found, rel=1e-6)


def test_no_temperature_where_none_fits() -> None:
    logits, labels = drawn(200)
    assert c.fit_temperature(logits[: c.LEAST - 1], labels[: c.LEAST - 1]) is None
    assert c.fit_temperature(logits, logits.argmax(1)) is None  # all right: the colder the better
    assert c.fit_temperature(logits, logits.argmin(1)) is None
    assert c.fit_temperature(np.zeros((100, 3)), labels[:100] % 3) is None  # says nothing
    assert c.record(logits, logits.argmax(1), "val") == {}


def test_a_record_shows_what_it_gains() -> None:
    logits, labels = drawn()
    found = c.record((3 * logits).astype(np.float32), labels, "val")
    assert found["n"] == 10_000
    assert found["split"] == "val"
    assert found["nll_after"] < found["nll_before"]
    assert found["ece_after"] < 0.02 < 0.1 < found["ece_before"]


def test_one_temperature_from_another() -> None:
    logits = drawn(50)[0]
    hot, cold = softmax(logits / 2, 1), softmax(logits / 0.5, 1)
    np.testing.assert_allclose(c.at_temperature(hot, 0.25), cold, atol=1e-12)
    assert (hot.argmax(1) == cold.argmax(1)).all()


def test_perfect_probabilities_look_like_chance() -> None:
    logits, labels = drawn()
    rows = softmax(logits, 1)
    parts = np.array_split(np.arange(len(rows)), 40)
    found = [c.ece(rows[part].max(1), rows[part].argmax(1) == labels[part]) for part in parts]
    expected = c.chance(rows[parts[0]].max(1))
    assert np.mean(found) == pytest.approx(expected.mean(), rel=0.1)
    assert np.mean(np.array(found) <= np.quantile(expected, 0.95)) > 0.85
    bad = c.calibration(softmax(3 * logits, 1), labels)
    assert bad.ece > 5 * bad.ece_chance_high > 0
