"""Photos that are nearly the same: in blocks as by hand, mirrored, moved, and not too many."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnets.audit import near
from resnets.audit.near import SAME, SHIFT, SIDE, near_pairs, resemblance


def pictures(count: int, seed: int = 0, side: int = SIDE) -> np.ndarray:
    """Return noise with the spectrum of photos, ``N side side``."""
    rng = np.random.default_rng(seed)
    found = np.zeros((count, side, side), np.float32)
    for cells in (2, 4, 8, 16):
        for i in range(count):
            coarse = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
            found[i] += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)) / cells
    found -= found.min((1, 2), keepdims=True)
    return (found / found.max((1, 2), keepdims=True) * 200 + 20).astype(np.uint8)


def search(found: np.ndarray) -> set[tuple[int, int]]:
    pairs, scores = near_pairs(found, np.arange(len(found)), np.zeros(len(found), bool))
    assert (scores >= SAME).all()
    assert (pairs[:, 0] < pairs[:, 1]).all()
    return {(int(i), int(j)) for i, j in pairs}


def test_different_pictures_are_not_alike() -> None:
    assert search(pictures(300)) == set()


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p[:, ::-1],
        lambda p: (p * 0.6).astype(np.uint8),
        lambda p: np.clip(p * 1.2, 0, 255).astype(np.uint8),
        lambda p: (p + np.random.default_rng(1).normal(0, 4, p.shape)).clip(0, 255),
        lambda p: np.roll(p, 1, axis=1),
    ],
    ids=["mirrored", "darker", "brighter", "noise", "moved"],
)
def test_a_changed_copy_is_found(change: object) -> None:
    found = pictures(60)
    found[40] = change(found[7])  # type: ignore[operator]
    assert search(found) == {(7, 40)}


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    base = pictures(20)
    rng = np.random.default_rng(2)
    found = base[rng.integers(0, 20, 90)]
    whole = search(found)
    by_hand = {(i, j) for i, j in combinations(range(90), 2) if (found[i] == found[j]).all()}
    assert whole == by_hand
    for name, value in (("ROWS", 7), ("COLUMNS", 11), ("PAIRS", 5)):
        monkeypatch.setattr(near, name, value)
    assert search(found) == whole


def test_where_all_are_alike_pairs_stay_bounded_and_connect_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(near, "NEIGHBOURS", 3)
    found = search(np.repeat(pictures(1), 100, axis=0))
    assert len(found) <= 300
    assert {i for i, _ in found} == set(range(99))  # each but the last is tied to a later one


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), top=st.integers(-SHIFT, SHIFT), left=st.integers(-SHIFT, SHIFT))
def test_shifts_up_to_three_pixels_are_seen(seed: int, top: int, left: int) -> None:
    large = pictures(1, seed, side=SIDE + 2 * SHIFT)[0]
    here = large[SHIFT:-SHIFT, SHIFT:-SHIFT]
    moved = large[SHIFT + top :, SHIFT + left :][:SIDE, :SIDE]
    score = resemblance(here[None], moved[None], np.zeros(1, bool), 12)
    assert score[0] > 0.8


def test_only_those_asked_for_are_compared() -> None:
    found = np.repeat(pictures(2), 3, axis=0)
    pairs, _ = near_pairs(found, np.asarray([0, 2, 4]), np.zeros(6, bool))
    assert pairs.tolist() == [[0, 2]]
