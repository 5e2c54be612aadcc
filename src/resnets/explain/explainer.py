"""`Explainer`: for each photo what a model says, where it looks, and whether to believe that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnets.data.images import DecodeError
from resnets.errors import UserError, did_you_mean
from resnets.explain.faithful import Curve, curves
from resnets.explain.maps import Mapper, choose_layer, readied
from resnets.explain.methods import DEFAULT, METHODS
from resnets.explain.neighbours import Album, Neighbour
from resnets.explain.trial import EXTENTS, Rivals, Trial
from resnets.nn import ResNet
from resnets.predict import Predictor, Source
from resnets.training.features import Pooling
from resnets.training.inference import Eager, Outputs, probabilities
from resnets.training.machine import full_precision

BATCH = 16
Item = tuple[str, Source]


@dataclass(frozen=True, eq=False)
class Explanation:
    """What can be said of one photo; of one that does not decode, `status` says why and the rest
    is empty.

    Attributes:
      top: the most probable classes, best first.
      label, probability: the class that is explained, and what the model gives it.
      pixels: the photo as the network saw it, ``H W C`` (uint8).
      cells: the heat map ``h w`` in 0…1.
      curves: ``deletion`` and ``insertion``.
      trial: the test by random networks; None where it was not wanted.
      neighbours: the nearest photos among others, where some were given.
    """

    path: str
    status: str
    top: tuple[tuple[str, float], ...] = ()
    label: str = ""
    probability: float = 0.0
    pixels: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))
    cells: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    curves: dict[str, Curve] = field(default_factory=dict)
    trial: Trial | None = None
    neighbours: tuple[Neighbour, ...] = ()

    def to_json(self) -> dict[str, Any]:
        if self.status != "ok":
            return {"path": self.path, "status": self.status}
        return {
            "path": self.path,
            "status": self.status,
            "label": self.top[0][0],
            "probability": self.top[0][1],
            "top": [{"label": label, "probability": p} for label, p in self.top],
            "explained": {"label": self.label, "probability": self.probability},
            "map": np.round(self.cells.astype(float), 4).tolist(),
            **{name: curve.to_json() for name, curve in self.curves.items()},
            "randomisation": self.trial.to_json() if self.trial else None,
            "neighbours": [one.to_json() for one in self.neighbours],
        }


class Explainer:
    """Explains the answers of a predictor's model, with PyTorch in full float32."""

    def __init__(
        self,
        predictor: Predictor,
        method: str = DEFAULT,
        layer: str | None = None,
        test: str | None = None,
        album: Album | None = None,
    ) -> None:
        """Make ready.

        Args:
          predictor: of a model with weights in float32.
          method: one of `METHODS`.
          layer: the stage to look at, for methods that look at one; see `choose_layer`.
          test: ``full`` (random networks throughout, part by part in a cascade, and part by part
            alone), ``quick`` (throughout) or ``none``, which leaves out deletion and insertion,
            too; if not given, quick for methods that take hundreds of passes, and else full.
          album: photos among which the nearest are looked up.

        Raises:
          UserError: an unknown method, layer or test, a layer for a method that has none, or a
            model that is quantised.
        """
        if method not in METHODS:
            near = did_you_mean(method, METHODS) or f"; one of: {', '.join(METHODS)}"
            raise UserError(f"--method {method}: unknown{near}")
        if test not in (None, *EXTENTS):
            raise UserError(f"--test {test}: one of {', '.join(EXTENTS)}")
        if layer is not None and not METHODS[method].at_layer:
            able = ", ".join(name for name, one in METHODS.items() if one.at_layer)
            raise UserError(f"--layer {layer}: is for the methods {able}; {method} has no layer")
        self.predictor, self.name, self.method = predictor, method, METHODS[method]
        self.preprocess = predictor.model.preprocess
        self.net: ResNet = predictor.machine.place(readied(predictor.model.network()))
        self.layer = choose_layer(self.net, self.preprocess.size, layer)
        self.test = test or ("quick" if self.method.dear else "full")
        self.album = album
        self._mapper = Mapper(self.method, self.layer, self.preprocess.mirrored)
        self._rivals = Rivals(self.net, self.preprocess.size, self.test)

    @classmethod
    def load(cls, path: str | Path, device: str | None = None, **options: Any) -> Self:
        """Read a model file; `options` are those of the constructor. Raises UserError."""
        return cls(Predictor.load(path, device), **options)

    def explain(
        self,
        items: Iterable[Item],
        label: str | None = None,
        top: int = 5,
        done: Callable[[int], None] = lambda photos: None,
    ) -> Iterator[Explanation]:
        """Yield an explanation of every (name, image), in order, a few in memory at a time.

        Args:
          items: names, and what `Predictor.predict` takes.
          label: the class to explain; of each photo the most probable one if not given.
          top: classes to list.
          done: told of photos that are finished.

        Raises:
          UserError: there is no such class.
        """
        chosen = self.check_class(label)
        waiting: list[Item] = []
        for item in items:
            waiting.append(item)
            if len(waiting) == BATCH:
                yield from self._batch(waiting, chosen, top)
                done(len(waiting))
                waiting = []
        if waiting:
            yield from self._batch(waiting, chosen, top)
            done(len(waiting))

    def check_class(self, label: str | None) -> int | None:
        """Return the number of a class. Raises UserError if there is none of that name."""
        classes = self.predictor.classes
        if label is None:
            return None
        if label not in classes:
            near = did_you_mean(label, classes) or f"; there are: {', '.join(classes[:10])}"
            raise UserError(f"--class {label}: the model has no such class{near}")
        return classes.index(label)

    def to_json(self) -> dict[str, Any]:
        """Return how maps are made."""
        return {
            "method": self.name,
            "title": self.method.title,
            "source": self.method.source,
            "layer": self.layer if self.method.at_layer else None,
            "test": self.test,
            "architecture": self.predictor.model.spec.name,
            "size": self.preprocess.size,
        }

    def answer(self, images: Tensor) -> Tensor:
        """Return probabilities ``N classes`` of normalised photos ``N C H W``, as predict does."""
        with full_precision():
            outputs = torch.stack([self.net(view) for view in self.preprocess.views(images)])
            return self.predictor.task.probabilities(outputs.mean(0))

    def _batch(self, items: Sequence[Item], chosen: int | None, top: int) -> Iterator[Explanation]:
        reasons: dict[int, str] = {}
        photos = []
        for i, (_, source) in enumerate(items):
            try:
                source = Path(source) if isinstance(source, str) else source
                photos.append(self.preprocess.prepare(source))
            except DecodeError as error:
                reasons[i] = str(error)
        good = iter(self._explained(np.stack(photos), chosen, top) if photos else [])
        for i, (name, _) in enumerate(items):
            if i in reasons:
                yield Explanation(name, reasons[i])
            else:
                yield Explanation(name, "ok", **next(good))

    def _near(self, photos: NDArray[np.uint8]) -> Sequence[tuple[Neighbour, ...]]:
        if self.album is None:
            return [()] * len(photos)
        engine, batch = Eager.of(Pooling(self.net)), [((), photos)]
        [(_, values)] = probabilities(engine, Outputs(), self.preprocess, batch)
        return self.album.nearest(values)

    def _explained(
        self, photos: NDArray[np.uint8], chosen: int | None, top: int
    ) -> list[dict[str, Any]]:
        """Return the fields of an `Explanation` for each prepared photo."""
        pixels = self.preprocess.center(torch.from_numpy(photos))
        images = self.preprocess.normalize(pixels.to(self.predictor.machine.device)).contiguous()
        probabilities = self.answer(images).cpu().numpy()
        best = probabilities.argmax(1)
        labels = best if chosen is None else np.full(len(best), chosen)
        wanted = torch.from_numpy(labels).to(images.device)
        cells = self._mapper(self.net, images, wanted)
        shown: list[dict[str, Curve]] = [{} for _ in photos]
        trials: list[Trial | None] = [None] * len(photos)
        if self.test != "none":
            trials = [*self._rivals.test(self._mapper, images, wanted, cells)]
            shown = [
                curves(self.answer, image, int(label), one)
                for image, label, one in zip(images, labels, cells, strict=True)
            ]
        near = self._near(photos)
        names = self.predictor.classes
        return [
            {
                "top": tuple(
                    (names[k], float(row[k])) for k in np.argsort(-row, kind="stable")[:top]
                ),
                "label": names[labels[i]],
                "probability": float(row[labels[i]]),
                "pixels": pixels[i].numpy(),
                "cells": cells[i],
                "curves": shown[i],
                "trial": trials[i],
                "neighbours": near[i],
            }
            for i, row in enumerate(probabilities)
        ]
