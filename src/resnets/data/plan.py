"""The data plan: which samples, in which order, with which randomness.

Everything is a pure function of (seed, epoch) and (seed, epoch, sample): a counter-based generator
answers for a whole batch at once, and nothing is drawn in sequence. So the number of workers, a
kill or a resume cannot change what training sees, and skipping ahead costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

UInt32 = NDArray[np.uint32]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW, _SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)


class Stream(IntEnum):
    """Independent uses of one seed."""

    ORDER = 0
    AUGMENT = 1
    MIX = 2
    STEADY = 3


def philox(counter: tuple[UInt32, UInt32, UInt32, UInt32], key: tuple[int, int]) -> UInt32:
    """Return the Philox 4×32-10 block of each counter, shape ``4 N`` (uint32).

    Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3", section 4.3.
    """
    a, b, c, d = (np.asarray(word, dtype=np.uint64) for word in counter)
    k0, k1 = key
    for _ in range(10):
        p, q = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b, c, d = (
            (q >> _SHIFT) ^ b ^ np.uint64(k0),
            q & _LOW,
            (p >> _SHIFT) ^ d ^ np.uint64(k1),
            p & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack(np.broadcast_arrays(a, b, c, d)).astype(np.uint32)


def _blocks(seed: int, stream: Stream, epoch: int, ids: NDArray[np.int64], block: int) -> UInt32:
    """Return ``4 N`` random words for the samples; `block` numbers successive draws of four."""
    ids = np.asarray(ids, dtype=np.uint64)
    low, high = (ids & _LOW).astype(np.uint32), (ids >> _SHIFT).astype(np.uint32)
    tail = (np.full_like(low, epoch), np.full_like(low, int(stream) << 24 | block))
    return philox((low, high, *tail), (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF))


def uniforms(
    seed: int, stream: Stream, epoch: int, ids: NDArray[np.int64], count: int
) -> NDArray[np.float32]:
    """Return `count` uniform numbers in [0, 1) for each id, shape ``N count`` (float32)."""
    blocks = [_blocks(seed, stream, epoch, ids, block) for block in range(-(-count // 4))]
    words = np.concatenate(blocks)[:count] if blocks else np.empty((0, len(ids)), np.uint32)
    # 24 bits are all that a float32 in [0, 1) holds; more could round up to 1.0.
    return ((words >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)).T


@lru_cache(maxsize=2)
def order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the permutation of ``range(n)`` that an epoch follows; read-only."""
    words = _blocks(seed, Stream.ORDER, epoch, np.arange(n), 0).astype(np.uint64)
    permutation = np.argsort(words[0] << _SHIFT | words[1], kind="stable")
    permutation.setflags(write=False)  # every caller gets this same array
    return permutation


def share(batch: NDArray[np.int64], rank: int, world: int) -> NDArray[np.int64]:
    """Return the part of a batch that process `rank` of `world` computes.

    Mirror positions stay together, as `mix` blends them: so several processes see the very images
    that one would. The parts differ in size by two at most, one pair, and a middle without a pair.
    """
    half = len(batch) // 2
    first, last = rank * half // world, (rank + 1) * half // world
    middle = batch[half : len(batch) - half] if rank == world - 1 else batch[:0]
    return np.concatenate(
        [batch[first:last], middle, batch[len(batch) - last : len(batch) - first]]
    )


@dataclass(frozen=True)
class Plan:
    """How `n` samples are dealt into batches in every epoch.

    Every sample comes once an epoch. The batches differ in size by at most one, so there is no
    small last batch, whose few photos would weigh more and give BatchNorm poor statistics.
    """

    n: int
    batch_size: int
    seed: int

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return -(-self.n // self.batch_size)

    def batch(self, epoch: int, step: int) -> NDArray[np.int64]:
        """Return the samples of a batch, as positions in the split."""
        first, last = step * self.n // self.steps, (step + 1) * self.n // self.steps
        return order(self.n, self.seed, epoch)[first:last].copy()

    def augmentation(
        self, epoch: int, samples: NDArray[np.int64], count: int, alternate: bool = False
    ) -> NDArray[np.float32]:
        """Return `count` uniform numbers for each sample, shape ``N count``.

        With `alternate` the first number of a sample is one for good, moved on by a half in every
        second epoch: what happens where it is below a half, does so in one of any two epochs.
        """
        u = uniforms(self.seed, Stream.AUGMENT, epoch, samples, count)
        if alternate:
            steady = uniforms(self.seed, Stream.STEADY, 0, samples, 1)[:, 0]
            u[:, 0] = (steady + np.float32(epoch % 2 / 2)) % 1
        return u

    def mixing(self, epoch: int, step: int, count: int) -> NDArray[np.float32]:
        """Return `count` uniform numbers for the batch as a whole."""
        return uniforms(self.seed, Stream.MIX, epoch, np.array([step]), count).reshape(count)
