"""`prefetch`: the order, how far ahead it works, errors, and batches that do not depend on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from resnets.data.cache import ImageCache, Storage
from resnets.data.loader import prefetch
from resnets.data.plan import Plan
from resnets.data.preprocess import Preprocess
from resnets.data.samples import ArrayReader, Samples
from resnets.data.transforms import (
    Augment,
    ColorJitter,
    PadCrop,
    RandomErase,
    RandomFlip,
    ResizedCrop,
)

WORKERS = pytest.mark.parametrize("workers", [0, 1, 4])
THREADS = "resnets-loader"


def loader_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(THREADS)]


class Counted:
    """Numbers, and how many were taken."""

    def __init__(self, n: int) -> None:
        self.n, self.taken = n, 0

    def __iter__(self) -> Iterator[int]:
        for i in range(self.n):
            self.taken += 1
            yield i


@WORKERS
@pytest.mark.parametrize("n", [0, 1, 3, 50])
def test_results_come_in_order_and_once(workers: int, n: int) -> None:
    def make(i: int) -> int:
        time.sleep(0.002 * ((i * 7) % 3))  # later items are often done first
        return i * i

    assert list(prefetch(make, range(n), workers)) == [i * i for i in range(n)]
    assert not loader_threads()


def test_without_workers_the_calling_thread_does_it() -> None:
    assert set(prefetch(lambda _: threading.get_ident(), range(3), 0)) == {threading.get_ident()}


def test_workers_are_threads_of_their_own_and_run_together() -> None:
    # Three items meet at a barrier: this only ends if three threads work at the same time.
    barrier = threading.Barrier(3, timeout=30)

    def name(_: int) -> str:
        barrier.wait()
        return threading.current_thread().name

    names = set(prefetch(name, range(3), 3))
    assert len(names) == 3
    assert all(name.startswith(THREADS) for name in names)


@WORKERS
def test_it_looks_ahead_by_a_bounded_number(workers: int) -> None:
    items = Counted(100)
    ahead = workers + 1 if workers else 0
    for used, _ in enumerate(prefetch(lambda i: i, items, workers), 1):
        assert items.taken <= used + ahead
        if workers and used < 50:
            assert items.taken == used + ahead


def test_nothing_happens_before_the_first_result_is_wanted() -> None:
    items = Counted(10)
    results = prefetch(lambda i: i, items, 2)
    assert items.taken == 0
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]


@WORKERS
def test_endless_items_are_fine(workers: int) -> None:
    def endless() -> Iterator[int]:
        i = 0
        while True:
            yield i
            i += 1

    results = prefetch(lambda i: -i, endless(), workers)
    assert [next(results) for _ in range(20)] == [-i for i in range(20)]
    results.close()  # type: ignore[attr-defined]
    assert not loader_threads()


@WORKERS
def test_an_error_is_raised_where_its_result_is_due(workers: int) -> None:
    def make(i: int) -> int:
        if i == 5:
            raise RuntimeError("photo 5 is on fire")
        return i

    results = prefetch(make, range(100), workers)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="photo 5 is on fire"):
        next(results)
    assert not loader_threads()


@WORKERS
def test_an_error_of_the_items_is_raised(workers: int) -> None:
    def items() -> Iterator[int]:
        yield 0
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(prefetch(lambda i: i, items(), workers))
    assert not loader_threads()


@WORKERS
def test_stopping_early_does_not_make_the_rest(workers: int) -> None:
    made = []
    results = prefetch(made.append, range(1000), workers)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(made) <= workers + 2
    assert not loader_threads()


# -- through cache, plan and augmentation ---------------------------------------------------------

PREPROCESS = Preprocess(8, 12)
AUGMENT = Augment(
    (
        ResizedCrop(10, (0.4, 1.0), 15.0),
        PadCrop(8, 2, (1, 2, 3)),
        RandomFlip(),
        ColorJitter(0.4),
        RandomErase(0.5, (1, 2, 3)),
    ),
    PREPROCESS,
    PREPROCESS.size,
)


def epochs(workers: int, storage: Storage) -> list[tuple[np.ndarray, torch.Tensor]]:
    """Return two epochs of augmented batches, of 41 photos two of which do not decode."""
    pixels = np.random.default_rng(0).integers(0, 256, (41, 17, 13, 3)).astype(np.float32) / 255
    pixels[[3, 30]] = np.nan  # the decoder refuses such an array
    samples = Samples(
        tuple(f"row {i}" for i in range(41)),
        np.arange(41) % 3,
        ArrayReader((pixels,), ("x.npy",)),
    )
    cache = ImageCache(samples, PREPROCESS, storage)
    plan = Plan(len(samples), 8, seed=5)
    batches = []
    for epoch in range(2):

        def load(step: int, epoch: int = epoch) -> tuple[np.ndarray, np.ndarray]:
            return cache.get(plan.batch(epoch, step))

        for good, photos in prefetch(load, range(plan.steps), workers):
            u = torch.from_numpy(plan.augmentation(epoch, good, AUGMENT.draws))
            batches.append((good, AUGMENT(torch.from_numpy(photos), u)))
    assert sorted(cache.failed) == [3, 30]
    return batches


@pytest.mark.parametrize("kind", ["memory", "disk", "none"])
def test_batches_are_the_same_to_the_bit_for_any_number_of_workers(
    kind: str, tmp_path: object
) -> None:
    expected = epochs(0, Storage("memory"))
    assert sum(len(good) for good, _ in expected) == 2 * 39
    for workers in (0, 1, 4):
        found = epochs(workers, Storage(kind, tmp_path))  # type: ignore[arg-type]
        for (good, images), (other, wanted) in zip(found, expected, strict=True):
            np.testing.assert_array_equal(good, other)
            assert torch.equal(images, wanted)


def test_a_photo_is_another_picture_in_every_epoch() -> None:
    seen: dict[int, list[torch.Tensor]] = {}
    for good, images in epochs(0, Storage("memory")):
        for sample, image in zip(good, images, strict=True):
            seen.setdefault(int(sample), []).append(image)
    assert all(len(pictures) == 2 for pictures in seen.values())
    assert not any(torch.equal(first, second) for first, second in seen.values())
