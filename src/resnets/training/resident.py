"""Batches for the accelerator: gathered in its own memory, or copied from pinned memory."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnets.data.cache import ImageCache
from resnets.training.machine import Machine

SHARE = 0.25
"""Of the accelerator's free memory, before training: the rest is for activations."""


class Photos(Protocol):
    """Where the photos of a batch come from."""

    def get(
        self, indices: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[Any] | Tensor]: ...


class Resident:
    """Decoded photos ``N H W C`` (uint8) in the device's memory; those of `good` decode."""

    def __init__(self, images: NDArray[np.uint8], good: NDArray[np.bool_], device: str) -> None:
        self._images, self._good = torch.from_numpy(images).to(device), good

    def get(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], Tensor]:
        """Return those of the samples that decode, and their photos, as `ImageCache` would."""
        good = indices[self._good[indices]]
        return good, self._images[torch.from_numpy(good).to(self._images.device)]


class Pinned:
    """Photos of a cache, where CUDA copies them from without another copy on the way."""

    def __init__(self, cache: ImageCache) -> None:
        self._cache = cache

    def get(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], Tensor]:
        """Return those of the samples that decode, and their photos ``N H W C``."""
        good, photos = self._cache.get(indices)
        return good, torch.from_numpy(photos).pin_memory()


def photos_for(cache: ImageCache, machine: Machine) -> Photos:
    """Return the photos of a cache as a machine's steps take them fastest: all of them on a GPU,
    where each has been decoded and there is room."""
    if not machine.device.startswith("cuda"):
        return cache
    decoded = cache.decoded()
    free, _ = torch.cuda.mem_get_info(machine.device)
    if decoded is None or decoded[0].nbytes > SHARE * free:
        return Pinned(cache)
    return Resident(*decoded, machine.device)
