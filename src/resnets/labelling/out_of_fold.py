"""What networks say of photos that they never saw, and the table that keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resnets.data.folds import NEVER
from resnets.data.samples import Samples
from resnets.files import atomic

ALONE = "not judged: all photos of a class are in one group, and it is learnt from"


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """The probabilities of ``N`` photos, each by a network that saw neither it nor its kin.

    Attributes:
        fold: ``N``, from 0; `NEVER` for a photo that is not judged.
        probabilities: ``N K``; zeros for a photo that is not judged.
        status: ``ok``, or why a photo is not judged.
    """

    fold: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    status: tuple[str, ...]

    @property
    def judged(self) -> NDArray[np.int64]:
        """The positions of the photos that are judged."""
        return np.flatnonzero(self.fold != NEVER)

    @classmethod
    def of(
        cls, fold: NDArray[np.int64], values: NDArray[np.float32], failed: Mapping[int, str]
    ) -> Self:
        """Put together what was computed; photos that `failed` to decode are in no fold."""
        fold = fold.copy()
        fold[list(failed)] = NEVER
        status = ("ok" if k != NEVER else failed.get(i, ALONE) for i, k in enumerate(fold.tolist()))
        return cls(fold, values, tuple(status))

    def write(self, path: Path, samples: Samples, classes: tuple[str, ...]) -> None:
        """Write a row a photo: path, label, fold, status and the probabilities of all classes."""
        lengths = np.zeros(len(self.fold) + 1, np.int64)
        lengths[self.judged + 1] = len(classes)
        values = self.probabilities[self.judged].ravel()
        judged = self.fold != NEVER
        table = pa.table(
            {
                "path": [samples.path(i) for i in range(len(samples))],
                "label": [classes[i] for i in samples.labels],
                "fold": pa.array(self.fold, mask=~judged),
                "status": list(self.status),
                "probabilities": pa.LargeListArray.from_arrays(lengths.cumsum(), values),
            }
        )
        with atomic(path) as temporary:
            pq.write_table(table, temporary)

    @classmethod
    def read(cls, path: Path, classes: int) -> Self:
        """Read what `write` has written."""
        table = pq.read_table(path)
        fold = np.array([NEVER if k is None else k for k in table["fold"].to_pylist()], np.int64)
        values = np.zeros((len(fold), classes), np.float32)
        known = table["probabilities"].combine_chunks().flatten().to_numpy()
        values[fold != NEVER] = known.reshape(-1, classes)
        return cls(fold, values, tuple(table["status"].to_pylist()))
