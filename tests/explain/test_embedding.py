"""The map of features: what it measures, and that nothing on it hides the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.errors import UserError
from resnets.explain.atlas import Atlas, check, picture, write
from resnets.explain.embedding import FEWEST, Plane, call_out, lay_out, neighbours_right
from resnets.explain.marks import SHAPES, mark
from resnets.pages import thumbnail
from resnets.predict import Predictor


def test_groups_stay_groups() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 30)
    values = (4 * np.eye(3, 60)[labels] + 0.1 * rng.normal(size=(90, 60))).astype(np.float32)
    plane = lay_out(values, labels)
    assert plane.points.shape == (90, 2)
    assert plane.points.min() >= 0
    assert plane.points.max() <= 1
    assert plane.trustworthiness > 0.9
    assert plane.neighbours_right == 1
    assert neighbours_right(plane.points.astype(np.float32), labels) == 1
    np.testing.assert_array_equal(plane.points, lay_out(values, labels).points)


def test_noise_is_not_trusted() -> None:
    rng = np.random.default_rng(0)
    plane = lay_out(rng.normal(size=(100, 60)).astype(np.float32), rng.integers(0, 10, 100))
    assert plane.trustworthiness < 0.9
    assert plane.neighbours_right < 0.3


def test_a_photo_does_not_vote_for_itself_and_equal_votes_go_to_the_nearest() -> None:
    line = np.array([[0.0], [1.0], [2.1], [3.3], [4.6]], np.float32)
    # All others vote: of the first, 1 1 0 0, so the nearest decides; of the last, 0 1 1 0.
    assert neighbours_right(line, np.array([1, 1, 1, 0, 0])) == pytest.approx(3 / 5)


def test_too_few_photos() -> None:
    with pytest.raises(ValueError, match="10 or more"):
        lay_out(np.eye(9, dtype=np.float32), np.arange(9))


@settings(max_examples=25)
@given(seed=st.integers(0, 99), count=st.integers(1, 80))
def test_pictures_do_not_overlap(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.random((count, 2)) ** rng.integers(1, 4)
    side = 0.1
    placed = call_out(points, rng.permutation(count), side, 30)
    centres = np.array(list(placed.values())).reshape(-1, 2)
    gaps = np.abs(centres[:, None] - centres).max(2) + 9 * np.eye(len(centres))
    assert len(centres) <= 30
    assert gaps.min(initial=9) >= side
    assert np.abs(centres - 0.5).max(initial=0) <= 0.5 - side / 2
    if len(centres) > 10:  # the first ten may hide points where there is no other place
        hidden = (np.abs(centres[:, None] - points).max(2) < side / 2).any(1)
        assert not hidden.any()


def test_a_hundred_classes_have_marks_of_their_own() -> None:
    assert len({mark(k) for k in range(100)}) == 100
    for shape in SHAPES:
        x, y = np.array(shape).T
        area = abs((x * np.roll(y, 1) - y * np.roll(x, 1)).sum()) / 2
        assert 1.4 < area < 3.6


@pytest.mark.parametrize("classes", [10, 100])
def test_a_map_with_many_classes(
    classes: int, browser: Callable[[Path], None], tmp_path: Path
) -> None:
    rng = np.random.default_rng(classes)
    n, labels = 600, rng.integers(0, classes, 600)
    points = np.clip(rng.random((classes, 2))[labels] + 0.03 * rng.normal(size=(n, 2)), 0, 1)
    photo = thumbnail(rng.integers(0, 255, (32, 32, 3)).astype(np.uint8))
    places = call_out(points, rng.permutation(n), 0.06, 20)
    atlas = Atlas(
        plane=Plane(points, 0.9, 0.8),
        labels=labels,
        said=np.where(rng.random(n) < 0.1, rng.integers(0, classes, n), labels),
        names=tuple(f"a/{'<i>' * 9}{i}.png" for i in range(n)),
        pictures={i: (photo, (1000 * x, 1000 * y)) for i, (x, y) in places.items()},
        classes=tuple(f"class {'w' * (k % 30)} {k}" for k in range(classes)),
        of=2 * n,
    )
    write(atlas, "a network", "test", tmp_path / "map.html")
    text = (tmp_path / "map.html").read_text()
    assert "<i>" not in text
    assert text.count('class="wrong"') == atlas.wrong.sum()
    assert text.count("<li>") == classes
    browser(tmp_path / "map.html")
    assert picture(atlas).height > 1000


def test_a_model_in_int8_is_refused_a_map_before_any_work(make: Callable[..., Path]) -> None:
    predictor = Predictor.load(make(), "cpu")
    check(predictor, range(FEWEST))
    small = dataclasses.replace(predictor.model, quantization={"engine": "openvino"})
    with pytest.raises(UserError, match="--map: a model in int8 gives no features"):
        check(dataclasses.replace(predictor, model=small), range(FEWEST))
    with pytest.raises(UserError, match="--map: 9 photos, and a map needs 10 or more"):
        check(predictor, range(FEWEST - 1))
