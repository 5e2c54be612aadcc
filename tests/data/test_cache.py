"""`ImageCache`: the same photos wherever they are kept, each decoded once, failures remembered."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.data import cache as module
from resnets.data.cache import ImageCache, Storage, choose_storage
from resnets.data.preprocess import Preprocess
from resnets.data.samples import Samples

N, BROKEN = 23, (4, 11)
PREPROCESS = Preprocess(6, 7)
KINDS = ("memory", "disk", "none")


class CountingReader:
    """Photos in memory; some are not photos. Counts how often each is read."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.photos = rng.integers(0, 256, (N, 9, 11, 3), np.uint8)
        self.reads: Counter[int] = Counter()
        self._lock = threading.Lock()

    def read(self, i: int) -> bytes | np.ndarray:
        with self._lock:
            self.reads[i] += 1
        return b"not a photo" if i in BROKEN else self.photos[i]

    def path(self, i: int) -> str:
        return f"memory#{i}"


def make(kind: str, directory: Path) -> tuple[ImageCache, CountingReader]:
    reader = CountingReader()
    samples = Samples(tuple(map(str, range(N))), np.zeros(N, np.int64), reader)
    return ImageCache(samples, PREPROCESS, Storage(kind, directory)), reader


def good_of(indices: list[int]) -> list[int]:
    return [i for i in indices if i not in BROKEN]


EVERY = pytest.mark.parametrize("kind", KINDS)


@EVERY
@given(batches=st.lists(st.lists(st.integers(0, N - 1), max_size=9), max_size=5))
@settings(max_examples=20)
def test_photos_are_the_prepared_ones_in_the_order_asked_for(
    kind: str, batches: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache, reader = make(kind, tmp_path_factory.getbasetemp())
    for batch in batches:  # also with photos that come twice
        good, photos = cache.get(np.array(batch, dtype=np.int64))
        assert good.tolist() == good_of(batch)
        assert good.dtype == np.int64
        assert photos.shape == (len(good), 7, 7, 3)
        assert photos.dtype == np.uint8
        for i, photo in zip(good, photos, strict=True):
            np.testing.assert_array_equal(photo, PREPROCESS.prepare(reader.photos[i]))


@EVERY
def test_nothing_is_decoded_before_it_is_asked_for(kind: str, tmp_path: Path) -> None:
    cache, reader = make(kind, tmp_path)
    assert not reader.reads
    cache.get(np.array([2, 5]))
    assert set(reader.reads) == {2, 5}


@pytest.mark.parametrize(("kind", "reads"), [("memory", 1), ("disk", 1), ("none", 3)])
def test_a_photo_is_decoded_once_if_it_is_kept(kind: str, reads: int, tmp_path: Path) -> None:
    cache, reader = make(kind, tmp_path)
    for _ in range(3):
        cache.get(np.arange(N))
    assert {reader.reads[i] for i in good_of(list(range(N)))} == {reads}


@EVERY
def test_a_photo_that_does_not_decode_is_remembered_with_its_reason(
    kind: str, tmp_path: Path
) -> None:
    cache, reader = make(kind, tmp_path)
    for _ in range(3):
        good, _photos = cache.get(np.array([4, 3, 11]))
        assert good.tolist() == [3]
    assert sorted(cache.failed) == list(BROKEN)
    assert all(reason and "\n" not in reason for reason in cache.failed.values())
    assert all(reader.reads[i] == 1 for i in BROKEN)


@EVERY
def test_a_batch_without_any_photo_that_decodes_is_empty(kind: str, tmp_path: Path) -> None:
    cache, _ = make(kind, tmp_path)
    for batch in (list(BROKEN), []):
        good, photos = cache.get(np.array(batch, dtype=np.int64))
        assert good.shape == (0,)
        assert photos.shape == (0, 7, 7, 3)


@EVERY
def test_what_a_caller_does_to_a_batch_stays_with_the_caller(kind: str, tmp_path: Path) -> None:
    cache, _ = make(kind, tmp_path)
    _, photos = cache.get(np.array([1, 2]))
    kept = photos.copy()
    assert type(photos) is np.ndarray
    photos[:] = 0
    np.testing.assert_array_equal(cache.get(np.array([1, 2]))[1], kept)


@EVERY
@pytest.mark.parametrize("workers", [0, 3])
def test_fill_decodes_everything_that_will_be_kept(kind: str, workers: int, tmp_path: Path) -> None:
    cache, reader = make(kind, tmp_path)
    done = list(cache.fill(workers, chunk=5))
    assert done == ([] if kind == "none" else [5, 5, 5, 5, 3])
    assert set(reader.reads.values()) == (set() if kind == "none" else {1})
    if kind != "none":
        assert sorted(cache.failed) == list(BROKEN)
        reader.reads.clear()
        good, _photos = cache.get(np.arange(N))
        assert good.tolist() == good_of(list(range(N)))
        assert not reader.reads


@EVERY
def test_many_threads_may_read_at_once(kind: str, tmp_path: Path) -> None:
    cache, reader = make(kind, tmp_path)
    expected = make("memory", tmp_path)[0].get(np.arange(N))[1]
    batches = [np.random.default_rng(seed).permutation(N) for seed in range(24)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(cache.get, batches))
    position = {i: k for k, i in enumerate(good_of(list(range(N))))}
    for batch, (good, photos) in zip(batches, results, strict=True):
        assert good.tolist() == good_of(batch.tolist())
        np.testing.assert_array_equal(photos, expected[[position[int(i)] for i in good]])
    assert sorted(cache.failed) == list(BROKEN)
    assert set(reader.reads) == set(range(N))


def test_grey_photos_have_one_channel(tmp_path: Path) -> None:
    reader = CountingReader()
    samples = Samples(tuple(map(str, range(N))), np.zeros(N, np.int64), reader)
    for kind in KINDS:
        cache = ImageCache(samples, Preprocess.for_photos(6, 7, 1), Storage(kind, tmp_path))
        assert cache.get(np.array([0, 4]))[1].shape == (1, 7, 7, 1)


def test_processes_share_what_they_decode_and_what_they_cannot(tmp_path: Path) -> None:
    """Two caches on the same files, as two processes have them."""
    caches, readers = [], []
    for owner in (True, False):
        reader = CountingReader()
        samples = Samples(tuple(map(str, range(N))), np.zeros(N, np.int64), reader)
        store = Storage("shared", path=tmp_path / "photos", owner=owner)
        caches.append(ImageCache(samples, PREPROCESS, store))
        readers.append(reader)
    first, second = np.arange(8), np.arange(4, N)
    caches[0].get(first)
    good, photos = caches[1].get(second)
    assert good.tolist() == good_of(second.tolist())
    assert caches[0].broken().tolist() == caches[1].broken().tolist() == list(BROKEN)
    np.testing.assert_array_equal(caches[0].get(second)[1], photos)
    reads = readers[0].reads + readers[1].reads
    assert reads == Counter(range(N))
    assert list(caches[0].failed) == [4]
    assert list(caches[1].failed) == [11]


def test_each_photo_that_does_not_decode_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    samples = Samples(tuple(map(str, range(N))), np.zeros(N, np.int64), CountingReader())
    store = Storage("none", tmp_path)
    cache = ImageCache(samples, PREPROCESS, store, lambda path, why: told.append(path))
    for _ in range(2):
        cache.get(np.arange(N))
    assert told == [f"memory#{i}" for i in BROKEN]


def test_a_disk_cache_leaves_no_file(tmp_path: Path) -> None:
    cache, _ = make("disk", tmp_path)
    list(cache.fill(0))
    if os.name == "posix":
        assert os.listdir(tmp_path) == []  # it has no name while it is open
    del cache
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reserves space")
def test_a_disk_cache_has_its_space_from_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = make("disk", tmp_path)[0]._images
    assert images is not None

    def fail(descriptor: int, offset: int, length: int) -> None:
        assert (offset, length) == (0, images.nbytes)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(OSError, match="No space left on device"):
        make("disk", tmp_path)
    assert os.listdir(tmp_path) == []


# -- where --------------------------------------------------------------------------------------


def machine(monkeypatch: pytest.MonkeyPatch, memory: int, disk: int) -> list[Path]:
    """Pretend to have so many bytes, and return the folders whose disk is looked at."""
    folders: list[Path] = []

    def usage(folder: Path) -> SimpleNamespace:
        folders.append(folder)
        return SimpleNamespace(free=disk)

    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: SimpleNamespace(available=memory))
    monkeypatch.setattr(module.shutil, "disk_usage", usage)
    return folders


@pytest.mark.parametrize(
    ("nbytes", "kind"),
    [(0, "memory"), (400, "memory"), (401, "disk"), (5000, "disk"), (5001, "none")],
)
def test_storage_is_chosen_by_size(
    nbytes: int, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders = machine(monkeypatch, memory=1000, disk=10_000)
    storage = choose_storage(nbytes, tmp_path)
    assert storage.kind == kind
    assert storage.directory == (tmp_path if kind == "disk" else None)
    assert folders == ([] if kind == "memory" else [tmp_path])


def test_what_would_fill_a_process_is_on_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine(monkeypatch, memory=100 * 2**30, disk=100 * 2**30)
    assert choose_storage(2**29, tmp_path).kind == "memory"
    assert choose_storage(2**29 + 1, tmp_path).kind == "disk"


V2 = {"memory.max": "700", "memory.current": "500", "memory.stat": "file 400\ninactive_file 50"}
V1 = {
    "memory.limit_in_bytes": "700",
    "memory.usage_in_bytes": "500",
    "memory.stat": "inactive_file 0\ntotal_inactive_file 50",
}


@pytest.mark.parametrize(
    ("lines", "folder", "files", "left"),
    [
        ("0::/", "", V2, 250),
        ("0::/user.slice/run.scope", "user.slice/run.scope", V2, 250),
        ("0::/user.slice/run.scope", "user.slice", V2, 250),
        ("0::/elsewhere", "user.slice", V2, 1000),
        ("0::/", "", V2 | {"memory.max": "max"}, 1000),
        ("0::/", "", V2 | {"memory.max": "400"}, 0),
        ("0::/", "", {"memory.max": "400"}, 1000),
        ("9:pids:/\n4:memory:/docker/a\n0::/", "memory/docker/a", V1, 250),
        ("4:memory:/docker/a", "memory", V1, 250),
        ("4:memory:/", "memory", V1 | {"memory.limit_in_bytes": str(2**63 - 4096)}, 1000),
        (None, "", V2, 1000),
    ],
)
def test_a_container_has_what_its_limit_leaves(
    lines: str | None,
    folder: str,
    files: dict[str, str],
    left: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    machine(monkeypatch, memory=1000, disk=10_000)
    monkeypatch.setattr(module, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(module, "OWN_CGROUPS", tmp_path / "own")
    if lines is not None:
        (tmp_path / "own").write_text(lines + "\n")
    (tmp_path / "cgroup" / folder).mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / "cgroup" / folder / name).write_text(text + "\n")
    assert module.available_memory() == left
    assert choose_storage(int(0.4 * left), tmp_path).kind == "memory"
    assert choose_storage(int(0.4 * left) + 1, tmp_path).kind == "disk"
