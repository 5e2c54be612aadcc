"""The data plan: Philox against its published vectors, and what training may rely on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.data.plan import Plan, Stream, order, philox, uniforms

SEEDS = st.integers(-(2**63), 2**64 - 1)
EPOCHS = st.integers(0, 10_000)

# Random123, tests/kat_vectors: philox4x32 10, counter, key, result.
KNOWN_ANSWERS = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


# -- the generator --------------------------------------------------------------------------------


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(counter: str, key: str, result: str) -> None:
    a, b, c, d = (np.array([word], np.uint32) for word in words(counter))
    k0, k1 = words(key)
    found = philox((a, b, c, d), (k0, k1))
    assert found.dtype == np.uint32
    assert found.shape == (4, 1)
    assert found[:, 0].tolist() == words(result)


def test_philox_of_many_counters_is_philox_of_each() -> None:
    counters = np.array([words(counter) for counter, _, _ in KNOWN_ANSWERS], np.uint32).T
    together = philox(tuple(counters), (1, 2))  # type: ignore[arg-type]
    for i in range(3):
        alone = philox(tuple(counters[:, i : i + 1]), (1, 2))  # type: ignore[arg-type]
        assert together[:, i].tolist() == alone[:, 0].tolist()


@given(seed=SEEDS, epoch=EPOCHS, count=st.integers(0, 13), n=st.integers(0, 20))
def test_uniforms_are_in_the_half_open_unit_interval(
    seed: int, epoch: int, count: int, n: int
) -> None:
    u = uniforms(seed, Stream.AUGMENT, epoch, np.arange(n), count)
    assert u.shape == (n, count)
    assert u.dtype == np.float32
    assert (u >= 0).all()
    assert (u < 1).all()


def test_the_largest_uniform_is_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # A word of all ones would round to 1.0 if all its bits were kept.
    monkeypatch.setattr(
        "resnets.data.plan.philox",
        lambda counter, key: np.full((4, len(counter[0])), 0xFFFFFFFF, np.uint32),
    )
    u = uniforms(0, Stream.AUGMENT, 0, np.arange(3), 5)
    assert u.max() == np.float32(1 - 2**-24) < 1


def test_uniforms_are_uniform() -> None:
    u = uniforms(0, Stream.AUGMENT, 0, np.arange(20_000), 6)
    assert u.mean(0) == pytest.approx(np.full(6, 0.5), abs=0.01)
    assert u.var(0) == pytest.approx(np.full(6, 1 / 12), rel=0.03)
    for column in u.T:
        counts = np.bincount((column * 64).astype(int), minlength=64)
        expected = len(column) / 64
        chi_squared = ((counts - expected) ** 2 / expected).sum()
        assert 25 < chi_squared < 115  # 63 degrees of freedom: one in 10⁵ lies outside
    correlation = np.corrcoef(u.T)
    assert np.abs(correlation - np.eye(6)).max() < 0.03
    assert abs(np.corrcoef(u[1:, 0], u[:-1, 0])[0, 1]) < 0.03


def test_draws_do_not_repeat_across_blocks_samples_epochs_seeds_and_streams() -> None:
    drawn = [
        uniforms(seed, stream, epoch, np.arange(50), 8).ravel()
        for seed in (0, 1, 2**32, -1)
        for stream in Stream
        for epoch in (0, 1, 2)
    ]
    everything = np.concatenate(drawn)
    # 14,400 numbers of 24 bits: about six pairs coincide by chance.
    assert len(everything) - len(np.unique(everything)) < 25
    correlation = np.corrcoef(drawn)
    assert np.abs(correlation - np.eye(len(drawn))).max() < 0.25


@given(seed=SEEDS, epoch=EPOCHS, few=st.integers(0, 9), more=st.integers(0, 9))
def test_asking_for_more_numbers_keeps_the_first(
    seed: int, epoch: int, few: int, more: int
) -> None:
    ids = np.arange(5)
    short = uniforms(seed, Stream.AUGMENT, epoch, ids, few)
    long = uniforms(seed, Stream.AUGMENT, epoch, ids, few + more)
    np.testing.assert_array_equal(short, long[:, :few])


def test_ids_beyond_32_bits_are_told_apart() -> None:
    u = uniforms(0, Stream.AUGMENT, 0, np.array([5, 5 + 2**32]), 4)
    assert not (u[0] == u[1]).any()


# -- the order ------------------------------------------------------------------------------------


@given(n=st.integers(1, 300), seed=SEEDS, epoch=EPOCHS)
def test_an_order_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    assert sorted(order(n, seed, epoch).tolist()) == list(range(n))


def test_orders_differ_between_epochs_and_seeds() -> None:
    orders = {tuple(order(50, seed, epoch)) for seed in range(8) for epoch in range(8)}
    assert len(orders) == 64
    assert tuple(range(50)) not in orders


def test_every_place_is_equally_likely() -> None:
    n, epochs = 8, 4000
    places = np.array([order(n, 0, epoch) for epoch in range(epochs)])
    for place in places.T:
        share = np.bincount(place, minlength=n) / epochs
        assert share == pytest.approx(np.full(n, 1 / n), abs=0.025)


def test_an_order_is_the_same_for_ever() -> None:
    # What a checkpoint of today resumes must not change with a version.
    assert order(10, 0, 0).tolist() == [2, 8, 0, 5, 9, 7, 6, 3, 4, 1]
    drawn = uniforms(7, Stream.AUGMENT, 3, np.array([11]), 5)
    assert (drawn[0] * 2**24).astype(int).tolist() == [
        14704952,
        2397550,
        7611481,
        5984781,
        10534102,
    ]


# -- batches --------------------------------------------------------------------------------------


@given(n=st.integers(1, 300), batch_size=st.integers(1, 70), seed=SEEDS, epoch=EPOCHS)
def test_every_sample_comes_once_an_epoch(n: int, batch_size: int, seed: int, epoch: int) -> None:
    plan = Plan(n, batch_size, seed)
    batches = [plan.batch(epoch, step) for step in range(plan.steps)]
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= batch_size
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    assert all(batch.dtype == np.int64 for batch in batches)


def test_the_number_of_steps_is_the_least_that_will_do() -> None:
    assert [Plan(n, 4, 0).steps for n in (1, 4, 5, 8, 9)] == [1, 1, 2, 2, 3]


def test_a_batch_is_a_function_of_its_place_alone() -> None:
    forwards = [Plan(100, 7, 3).batch(e, s).tolist() for e in range(4) for s in range(15)]
    plan = Plan(100, 7, 3)
    backwards = [plan.batch(e, s).tolist() for e in (3, 2, 1, 0) for s in range(14, -1, -1)]
    assert forwards == backwards[::-1]


def test_what_a_caller_does_to_a_batch_stays_with_the_caller() -> None:
    plan = Plan(30, 8, 0)
    first = plan.batch(0, 0)
    kept = first.copy()
    first[:] = 99
    np.testing.assert_array_equal(plan.batch(0, 0), kept)
    with pytest.raises(ValueError, match="read-only"):
        order(30, 0, 0)[0] = 99


# -- augmentation ---------------------------------------------------------------------------------


@given(seed=SEEDS, epoch=EPOCHS, count=st.integers(1, 9), data=st.data())
@settings(max_examples=50)
def test_a_samples_numbers_do_not_depend_on_its_batch(
    seed: int, epoch: int, count: int, data: st.DataObject
) -> None:
    batch = np.array(data.draw(st.lists(st.integers(0, 2**40), min_size=1, max_size=12)))
    plan = Plan(20, 4, seed)
    together = plan.augmentation(epoch, batch, count)
    for sample, numbers in zip(batch, together, strict=True):
        np.testing.assert_array_equal(
            plan.augmentation(epoch, np.array([sample]), count)[0], numbers
        )
    other = Plan(n=999, batch_size=64, seed=seed).augmentation(epoch, batch[::-1], count)
    np.testing.assert_array_equal(other[::-1], together)


def test_a_samples_numbers_differ_between_epochs_and_seeds() -> None:
    sample = np.array([3])
    drawn = {
        tuple(Plan(9, 3, seed).augmentation(epoch, sample, 4)[0])
        for seed in range(5)
        for epoch in range(5)
    }
    assert len(drawn) == 25


def test_mixing_is_drawn_once_for_a_batch() -> None:
    plan = Plan(90, 9, 1)
    drawn = [tuple(plan.mixing(epoch, step, 3)) for epoch in range(3) for step in range(10)]
    assert all(len(numbers) == 3 for numbers in drawn)
    assert len(set(drawn)) == 30
    assert tuple(plan.mixing(1, 4, 3)) == drawn[14]
    assert drawn[0] != tuple(plan.augmentation(0, np.array([0]), 3)[0])


def test_what_alternates_comes_in_one_of_any_two_epochs() -> None:
    plan, samples = Plan(200, 10, 3), np.arange(200)
    below = [plan.augmentation(epoch, samples, 3, alternate=True)[:, 0] < 0.5 for epoch in range(4)]
    assert (below[0] != below[1]).all()
    assert (below[0] == below[2]).all()
    assert (below[1] == below[3]).all()
    assert 70 < below[0].sum() < 130


def test_only_the_first_number_alternates() -> None:
    plan, samples = Plan(50, 10, 3), np.arange(50)
    for epoch in (0, 1):
        usual, first = (plan.augmentation(epoch, samples, 5, alternate=a) for a in (False, True))
        assert (usual[:, 1:] == first[:, 1:]).all()
        assert ((first >= 0) & (first < 1)).all()
