"""Folds: everybody is judged once, kin together, classes evenly, with others left to learn from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from resnets.data.arrays import read_memory
from resnets.data.folds import NEVER, deal, kin
from resnets.data.samples import Samples
from resnets.errors import UserError


def ids(n: int) -> list[str]:
    return [f"photos/{i}.png" for i in range(n)]


@given(
    n=st.integers(8, 120),
    classes=st.integers(1, 6),
    folds=st.integers(2, 6),
    seed=st.integers(0, 9),
)
def test_kin_share_a_fold_and_no_class_is_missing_where_it_is_judged(
    n: int, classes: int, folds: int, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    labels, groups = draw.integers(0, classes, n), draw.integers(0, n, n)
    labels[:2] = 0  # and so not every class is in one group
    groups[:2] = (n, n + 1)
    try:
        fold = deal(ids(n), labels, groups, folds, seed)
    except UserError as error:  # more than can be filled: it says how many can
        assume("--folds" in str(error))
        folds = int(str(error).split("together; ")[1].split()[0])
        fold = deal(ids(n), labels, groups, folds, seed)
    assert fold.min() >= NEVER
    assert set(fold.tolist()) - {NEVER} == set(range(folds))
    for group in np.unique(groups):
        assert len(np.unique(fold[groups == group])) == 1
    for k in range(folds):
        assert set(labels[fold == k]) <= set(labels[fold != k])


@given(counts=st.lists(st.integers(2, 40), min_size=1, max_size=5), folds=st.integers(2, 5))
def test_without_kin_folds_differ_by_one_photo_of_a_class(counts: list[int], folds: int) -> None:
    assume(sum(counts) >= folds)
    labels = np.repeat(np.arange(len(counts)), counts)
    fold = deal(ids(len(labels)), labels, np.arange(len(labels)), folds, 0)
    assert (fold != NEVER).all()
    for k in range(len(counts)):
        shares = np.bincount(fold[labels == k], minlength=folds)
        assert shares.max() - shares.min() <= 1


def test_a_photo_without_fellows_is_learnt_from() -> None:
    labels = np.array([0, 0, 0, 0, 1, 2, 2])
    fold = deal(ids(7), labels, np.array([0, 1, 2, 3, 4, 5, 5]), 2, 0)
    assert (fold[:4] != NEVER).all()
    assert fold[4:].tolist() == [NEVER] * 3  # one photo, and two copies of one


def test_the_seed_decides_and_the_order_does_not() -> None:
    labels, names = np.arange(60) % 3, np.array(ids(60))
    alone = np.arange(60)
    fold = deal(names.tolist(), labels, alone, 5, 0)
    assert (deal(names.tolist(), labels, alone, 5, 1) != fold).any()
    turned = deal(names[::-1].tolist(), labels[::-1], alone, 5, 0)
    assert (turned[::-1] == fold).all()


def test_what_cannot_be_dealt_is_refused() -> None:
    with pytest.raises(UserError, match="--folds 1: 2 at least"):
        deal(ids(4), np.zeros(4, np.int64), np.arange(4), 1, 0)
    with pytest.raises(UserError, match="every class has a single photo"):
        deal(ids(3), np.arange(3), np.arange(3), 2, 0)
    with pytest.raises(UserError, match=r"--folds 100: .* together; 80 is the most"):
        deal(ids(80), np.arange(80) % 4, np.arange(80), 100, 0)
    with pytest.raises(UserError, match=r"--folds 1000000000: .* 80 is"):  # and at once
        deal(ids(80), np.arange(80) % 4, np.arange(80), 10**9, 0)
    with pytest.raises(UserError, match=r"--folds 5: .* together; 4 is the most"):
        deal(ids(9), np.array([0, 0, 0, 0, 1, 1, 0, 0, 0]), np.arange(9) % 4, 5, 0)


def test_kin_are_named_or_have_the_same_content() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
    photos[2] = photos[0]
    listing = read_memory(photos, ["a", "b", "a", "b"])
    samples = Samples(listing.ids, np.array([0, 1, 0, 1]), listing.reader)
    assert kin(samples).tolist() == [0, 1, 0, 2]
    assert kin(samples, {samples.ids[1]: 7, samples.ids[3]: 7}).tolist() == [0, 1, 2, 1]
