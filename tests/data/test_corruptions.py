"""Corruptions: of the same photo always the same, of the size they should be, and worse by step."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from resnets.data.corruptions import CORRUPTIONS, LARGE, SEVERITIES, SMALL, Corruption, corrupt
from resnets.data.corruptions.weather import plasma

NAMES = st.sampled_from(sorted(CORRUPTIONS))
UNEVEN = {"glass-blur", "elastic", "snow", "fog"}
"""Whose published parameters trade one thing for another from step to step."""


def photos(side: int, channels: int = 3) -> list[NDArray[np.uint8]]:
    """Smooth shapes with an edge and some grain, in colour or grey."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:side, 0:side] / side
    found = []
    for i in range(4):
        base = 0.5 + 0.3 * np.sin(5 * rows + i) * np.cos(4 * columns * (i + 1))
        base = np.where((rows - 0.5) ** 2 + (columns - 0.4) ** 2 < 0.08, 1 - base, base)
        colours = base[..., None] * rng.uniform(0.5, 1, channels)
        grain = rng.normal(0, 0.02, (side, side, channels))
        found.append(np.clip(255 * (colours + grain), 0, 255).astype(np.uint8))
    return found


def distances(name: str, side: int) -> list[float]:
    many = photos(side)
    return [
        float(np.mean([_distance(corrupt(x, name, s, i), x) for i, x in enumerate(many)]))
        for s in (0, *CORRUPTIONS[name].severities)
    ]


def _distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(float) - other).mean())


@pytest.mark.parametrize("side", [SMALL, 64, LARGE])
@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_a_severity_more_is_further_from_the_photo(name: str, side: int) -> None:
    found = distances(name, side)
    assert found[0] == 0
    assert min(found[1:]) > 0.1
    if name not in UNEVEN:
        assert all(b > 0.999 * a for a, b in pairwise(found)), found
        assert len(found) == 2 or found[-1] > found[1]


@settings(max_examples=60)
@given(
    name=NAMES,
    side=st.integers(16, 70),
    channels=st.sampled_from([1, 3]),
    key=st.integers(0, 2**64 - 1),
)
def test_any_photo_gives_one_of_its_kind(name: str, side: int, channels: int, key: int) -> None:
    photo = photos(side, channels)[0]
    before = photo.copy()
    for severity in (1, len(CORRUPTIONS[name].severities)):
        changed = corrupt(photo, name, severity, key)
        assert changed.dtype == np.uint8
        assert changed.shape == photo.shape
    np.testing.assert_array_equal(photo, before)


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_black_and_white_photos_are_no_trouble(name: str) -> None:
    for value in (0, 255):
        photo = np.full((20, 20, 3), value, np.uint8)
        assert corrupt(photo, name, 1, 0).shape == photo.shape


@given(name=NAMES)
def test_the_same_key_gives_the_same_and_another_another(name: str) -> None:
    photo = photos(24)[1]
    first = corrupt(photo, name, 1, 5)
    corrupt(photos(24)[2], "gaussian-noise", 1, 7)  # nothing is drawn in sequence
    np.testing.assert_array_equal(first, corrupt(photo, name, 1, 5))
    drawn = {"gaussian-noise", "shot-noise", "impulse-noise", "speckle-noise", "glass-blur", "fog"}
    if name in drawn:
        assert (first != corrupt(photo, name, 1, 6)).any()
        assert (first != corrupt(photo, name, 1, 5, seed=1)).any()


@pytest.mark.parametrize("kind", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_parameters_are_the_published_ones_at_their_sides(kind: Corruption) -> None:
    assert len(kind.small) == len(kind.large)
    assert len(kind.small) == SEVERITIES or kind.group == "moves"
    for severity in kind.severities:
        assert kind.parameters(severity, SMALL) == kind.small[severity - 1]
        assert kind.parameters(severity, LARGE) == pytest.approx(kind.large[severity - 1])
        between = kind.parameters(severity, 96)
        ends = kind.small[severity - 1], kind.large[severity - 1]
        for low, value, high in zip(ends[0], between, ends[1], strict=True):
            assert min(low, high) <= value <= max(low, high)
        double = kind.parameters(severity, 2 * LARGE)
        for i, (one, two) in enumerate(zip(kind.large[severity - 1], double, strict=True)):
            assert two == pytest.approx(2 * one if i in kind.lengths else one)


def test_noise_is_as_strong_as_it_says() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    for severity, deviation in enumerate((0.08, 0.12, 0.18), 1):
        noisy = corrupt(np.tile(grey, (2, 2, 1)), "gaussian-noise", severity, 0)
        assert noisy.std() / 255 == pytest.approx(deviation, rel=0.03)


def test_brightness_raises_the_value_alone() -> None:
    photo = np.full((40, 40, 3), (100, 50, 0), np.uint8)
    changed = corrupt(photo, "brightness", 5, 0)
    more = CORRUPTIONS["brightness"].parameters(5, 40)[0]
    expected = np.array([100 + 255 * more, (100 + 255 * more) / 2, 0])
    np.testing.assert_allclose(changed[0, 0], expected, atol=1)


def test_moves_move() -> None:
    photo = photos(32)[0]
    np.testing.assert_array_equal(corrupt(photo, "mirror", 1, 0), photo[:, ::-1])
    shifted = corrupt(photo, "shift", 3, 4)
    offsets = [
        (y, x)
        for y in range(-3, 4)
        for x in range(-3, 4)
        if (shifted[4:-4, 4:-4] == photo[4 + y : 28 + y, 4 + x : 28 + x]).all()
    ]
    assert len(offsets) == 1
    assert 2 <= np.hypot(*offsets[0]) <= 4


def test_clouds_are_all_shades_and_differ() -> None:
    one, two = (plasma(33, 2, np.random.default_rng(seed)) for seed in (0, 1))
    assert one.shape == (64, 64)
    assert one.min() == 0
    assert one.max() == 1
    assert np.abs(one - two).mean() > 0.05
    near, far = (np.abs(np.diff(one, axis=1)).mean(), np.abs(one - np.roll(one, 32, 1)).mean())
    assert near < far / 4
