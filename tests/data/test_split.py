"""The seeded split: stratified, complete, and steady as photos are added."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnets.data.split import Fractions, draw
from resnets.errors import UserError

COUNTS = st.lists(st.integers(3, 60), min_size=1, max_size=5)
SEEDS = st.integers(0, 2**32)


@st.composite
def fractions(draw_from: st.DrawFn) -> Fractions:
    val = draw_from(st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.49]))
    test = draw_from(st.sampled_from([0.0, 0.01, 0.2, 0.25, 0.5]))
    return Fractions(draw_from(SEEDS), val, test)


def labels_of(counts: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def ids_of(labels: np.ndarray) -> list[str]:
    return [f"{label}/{i}.jpg" for i, label in enumerate(labels)]


@given(counts=COUNTS, fractions=fractions())
def test_every_class_is_in_every_split_in_proportion(
    counts: list[int], fractions: Fractions
) -> None:
    labels = labels_of(counts)
    splits = draw(ids_of(labels), labels, [str(i) for i in range(len(counts))], fractions)
    assert set(splits.tolist()) <= {"train", "val", "test"}
    for label, count in enumerate(counts):
        here = splits[labels == label]
        assert len(here) == count
        assert (here == "train").any()
        found = [int((here == "val").sum()), int((here == "test").sum())]
        wanted = [
            max(1, math.floor(fraction * count + 0.5)) if fraction else 0
            for fraction in (fractions.val, fractions.test)
        ]
        assert all((share > 0) == (want > 0) for share, want in zip(found, wanted, strict=True))
        if sum(wanted) < count:  # else something must give way for a training photo
            assert found == wanted


@given(counts=COUNTS, fractions=fractions(), rng=st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(
    counts: list[int], fractions: Fractions, rng: random.Random
) -> None:
    labels = labels_of(counts)
    ids = ids_of(labels)
    classes = [str(i) for i in range(len(counts))]
    order = list(range(len(ids)))
    rng.shuffle(order)
    straight = draw(ids, labels, classes, fractions)
    shuffled = draw([ids[i] for i in order], labels[order], classes, fractions)
    np.testing.assert_array_equal(straight[order], shuffled)


@given(count=st.integers(3, 80), added=st.integers(1, 10), fractions=fractions())
def test_added_photos_move_few_others(count: int, added: int, fractions: Fractions) -> None:
    ids = [f"{i}.jpg" for i in range(count + added)]
    labels = np.zeros(count + added, np.int64)
    before = draw(ids[:count], labels[:count], ["a"], fractions)
    after = draw(ids, labels, ["a"], fractions)[:count]
    assert (before != after).sum() <= 3 * added


def test_other_classes_do_not_move_at_all() -> None:
    labels = labels_of([20, 30])
    ids = ids_of(labels)
    before = draw(ids[:20], labels[:20], ["a"], Fractions())
    np.testing.assert_array_equal(draw(ids, labels, ["a", "b"], Fractions())[:20], before)


def test_the_split_of_a_seed_stays_the_same_for_ever() -> None:
    ids = [f"a/{i}.jpg" for i in range(12)]
    splits = draw(ids, np.zeros(12, np.int64), ["a"], Fractions(seed=0)).tolist()
    moved = {i: split for i, split in enumerate(splits) if split != "train"}
    assert moved == {0: "val", 4: "test", 5: "test"}


@given(st.integers(1, 2))
def test_a_class_needs_a_photo_for_each_split(count: int) -> None:
    ids = [str(i) for i in range(count)]
    with pytest.raises(UserError, match="class 'cat' has"):
        draw(ids, np.zeros(count, np.int64), ["cat"], Fractions())
