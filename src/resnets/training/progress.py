"""`Progress`: where a run stands, and what it has seen."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass
class Progress:
    """Where a run stands: `step` of `epoch` is the next to do, both from 0.

    Attributes:
      loss_sum, seen, seconds: of the epoch in hand; `skipped`: steps in a row that were not taken.
      best, best_epoch: the best score so far, and after how many epochs.
      epochs, patience_from: to how many epochs a run was extended, 0 for the recipe's; and the
        epoch from which patience counts then.
      samples: a digest of which samples each step has trained on.
      history: a row for each epoch that is done.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    saving: float = 0.0
    skipped: int = 0
    best: list[float] | None = None
    best_epoch: int = 0
    epochs: int = 0
    patience_from: int = 0
    samples: str = ""
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def waited(self) -> int:
        """Epochs without a better score."""
        return self.epoch - max(self.best_epoch, self.patience_from)

    def took(self, loss: float, count: int, mark: int) -> None:
        """Note a step: its mean loss, its samples' number, and their `mark`."""
        self.loss_sum += loss * count
        self.seen += count
        text = f"{self.samples} {self.epoch} {self.step} {count} {mark}"
        self.samples = hashlib.sha256(text.encode()).hexdigest()[:32]

    def next_epoch(self, row: dict[str, float]) -> None:
        """Note that an epoch is done."""
        self.history.append(row)
        self.epoch, self.step = self.epoch + 1, 0
        self.loss_sum, self.seen, self.seconds, self.saving = 0.0, 0, 0.0, 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        return cls(**values)


def mark_samples(samples: NDArray[np.int64]) -> int:
    """Return a number for a set of samples; those of its parts add up to it (modulo 2⁶⁴).

    So processes that each know a part of a batch agree on its mark by a sum. The function is the
    finaliser of SplitMix64 (Steele et al. 2014, "Fast Splittable Pseudorandom Number Generators").
    """
    x = samples.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return int((x ^ (x >> np.uint64(31))).sum(dtype=np.uint64).astype(np.int64))
