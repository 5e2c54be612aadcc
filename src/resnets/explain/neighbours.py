"""The photos of a data set that a network finds most like another, by its pooled features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from resnets.console import Console
from resnets.data.cache import ImageCache, Storage
from resnets.data.samples import Samples
from resnets.data.sources import open_dataset
from resnets.files import printable
from resnets.nn import ResNet
from resnets.pages import thumbnail
from resnets.training.features import features_of
from resnets.weights.model_file import Model

NEAREST = 5
SIDE = 96
"""Pixels of their thumbnails."""


@dataclass(frozen=True)
class Neighbour:
    """A photo near another: its cosine distance is 0 for the same direction, 1 for none alike."""

    path: str
    label: str
    distance: float
    thumbnail: bytes = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        return {"path": self.path, "label": self.label, "distance": self.distance}


class Album:
    """Labelled photos with their features, computed once."""

    def __init__(
        self,
        cache: ImageCache,
        classes: tuple[str, ...],
        net: ResNet,
        *,
        k: int = NEAREST,
        workers: int = 1,
        console: Console | None = None,
    ) -> None:
        """Compute the features of all photos of `cache`.

        Raises:
          UserError: not one of them decodes.
        """
        self._cache, self._classes = cache, classes
        every = np.arange(len(cache.samples))
        with (console or Console(quiet=True)).track("Features", len(every)) as advance:
            self._indices, values = features_of(net, cache, every, workers, advance)
        k = min(k, len(values))
        self._search = NearestNeighbors(n_neighbors=k, metric="cosine").fit(values)

    @classmethod
    def open(
        cls,
        data: str | Path,
        model: Model,
        net: ResNet,
        *,
        columns: Mapping[str, Any] | None = None,
        console: Console | None = None,
        **options: Any,
    ) -> Self:
        """Open the training photos of a data set: its ``train``, or, where its splits are drawn,
        those that training drew. Classes that the model does not have are warned of.

        Raises:
          UserError: the data cannot be opened.
        """
        drawn = {"val_fraction": 0.0, "test_fraction": 0.0}
        names = ("seed", *drawn)
        recorded = {name: model.data[name] for name in names if name in model.data}
        dataset = open_dataset(data, **(columns or {}), **(drawn | recorded))
        console = console or Console(quiet=True)
        foreign = [name for name in dataset.classes if name not in model.classes]
        if foreign:
            console.warn(
                f"--neighbours {data}: {len(foreign):,} of its {len(dataset.classes):,} classes "
                f"are not the model's ({printable(foreign[0])}); labels shown are the data's"
            )
        samples: Samples = dataset.splits.get("train", dataset.splits["all"])
        cache = ImageCache(samples, model.preprocess, Storage("none"))
        return cls(cache, dataset.classes, net, console=console, **options)

    def __len__(self) -> int:
        return len(self._indices)

    def nearest(self, values: NDArray[np.float32]) -> list[tuple[Neighbour, ...]]:
        """Return the nearest photos to each of the features ``N F``, the nearest first."""
        distances, rows = self._search.kneighbors(values)
        return [
            tuple(self._neighbour(int(i), float(d)) for i, d in zip(row, near, strict=True))
            for row, near in zip(self._indices[rows], distances, strict=True)
        ]

    def _neighbour(self, i: int, distance: float) -> Neighbour:
        samples = self._cache.samples
        _, photos = self._cache.get(np.array([i]))
        picture = thumbnail(photos[0], SIDE) if len(photos) else b""  # gone since
        label = self._classes[samples.labels[i]]
        return Neighbour(samples.path(i), label, max(0.0, distance), picture)
