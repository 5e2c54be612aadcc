"""Batches from a device's memory: the same photos as from the cache. The device here is the CPU."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from resnets.data.cache import ImageCache, Storage
from resnets.data.images import DecodeError
from resnets.data.preprocess import Preprocess
from resnets.data.samples import Samples
from resnets.training import resident
from resnets.training.machine import Machine
from resnets.training.resident import Pinned, Resident, photos_for

BROKEN = 3


class Reader:
    """Photos of noise, of which one does not decode."""

    def read(self, i: int) -> NDArray[np.uint8]:
        if i == BROKEN:
            raise DecodeError("broken")
        return np.random.default_rng(i).integers(0, 255, (9, 9, 3)).astype(np.uint8)

    def path(self, i: int) -> str:
        return str(i)


def make(kind: str = "memory", filled: bool = True) -> ImageCache:
    samples = Samples(tuple(map(str, range(10))), np.arange(10) % 2, Reader())  # type: ignore[arg-type]
    cache = ImageCache(samples, Preprocess.for_photos(9, 9), Storage(kind))
    if filled:
        sum(cache.fill(0))
    return cache


def test_a_batch_is_the_caches() -> None:
    cache, wanted = make(), np.array([7, 2, BROKEN, 2, 9])
    good, photos = cache.get(wanted)
    decoded = cache.decoded()
    assert decoded is not None
    own, images = Resident(*decoded, "cpu").get(wanted)
    assert own.tolist() == good.tolist() == [7, 2, 2, 9]
    assert torch.equal(images, torch.from_numpy(photos))
    assert images.dtype == torch.uint8


def test_what_is_not_decoded_is_not_all_there_is() -> None:
    assert make(filled=False).decoded() is None
    assert make("none").decoded() is None
    images, good = make().decoded() or pytest.fail("all was tried")
    assert images.shape == (10, 9, 9, 3)
    assert good.tolist() == [i != BROKEN for i in range(10)]


@pytest.mark.parametrize(
    ("device", "free", "filled", "kind"),
    [
        ("cpu", 1 << 40, True, "cache"),
        ("cuda", 1 << 40, True, "resident"),
        ("cuda:1", 1 << 40, True, "resident"),
        ("cuda", 4 * 10 * 9 * 9 * 3, True, "resident"),
        ("cuda", 4 * 10 * 9 * 9 * 3 - 4, True, "pinned"),
        ("cuda", 1 << 40, False, "pinned"),
    ],
)
def test_photos_that_fit_are_on_the_device(
    monkeypatch: pytest.MonkeyPatch, device: str, free: int, filled: bool, kind: str
) -> None:
    class Told(Resident):
        def __init__(self, images: object, good: object, device: str) -> None:
            self.device = device

    monkeypatch.setattr(resident, "Resident", Told)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 1 << 41))
    found = photos_for(make(filled=filled), Machine(device))
    assert type(found) is {"resident": Told, "pinned": Pinned, "cache": ImageCache}[kind]
    if isinstance(found, Told):
        assert found.device == device


def test_pinned_photos_are_copied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told = SimpleNamespace(count=0)

    def pin(images: torch.Tensor) -> torch.Tensor:
        told.count += 1
        return images

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    cache = make()
    good, images = Pinned(cache).get(np.array([1, BROKEN, 2]))
    assert told.count == 1
    assert good.tolist() == [1, 2]
    assert np.array_equal(images, cache.get(good)[1])
