"""`Predictor`: a model file, ready to use on photos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnets.data.images import DecodeError
from resnets.data.loader import prefetch
from resnets.engines import Ready, check, device_for, open_engine
from resnets.errors import UserError
from resnets.novelty import UNKNOWN, Gate
from resnets.tasks.classify import Classify
from resnets.training.inference import BATCH, Answers, Engine, probabilities
from resnets.training.machine import Machine, default_workers
from resnets.weights import model_file
from resnets.weights.model_file import Model

T = TypeVar("T")
Say = Callable[[str], None]
Source = str | Path | bytes | Image.Image | NDArray[Any]


@dataclass(frozen=True)
class Prediction:
    """What a model says of one input: every input gets exactly one.

    `status` is ``ok`` or the reason why the input does not decode; then `label` and `probability`
    are None and `top` is empty. `top` holds the most probable classes, best first.

    With ``reject`` the `label` is ``unknown`` where the photo is further from the known ones than
    asked for, and `novelty` says how far; `probability` and `top` stay the network's.
    """

    path: str
    label: str | None
    probability: float | None
    status: str
    top: tuple[tuple[str, float], ...]
    novelty: float | None = None


@dataclass(frozen=True, eq=False)
class Predictor:
    """A trained model on a device. `classes` names the columns of `probabilities`."""

    model: Model
    ready: Ready
    machine: Machine
    task: Classify
    workers: int

    @classmethod
    def load(cls, path: str | Path, device: str | None = None, **options: Any) -> Self:
        """Read a model file; `options` are those of `of`.

        Raises:
          UserError: the file is no model file, or `of` says why it cannot be used.
        """
        return cls.of(model_file.load_any(path), device, **options)

    @classmethod
    def of(
        cls,
        model: Model,
        device: str | None = None,
        *,
        workers: int | None = None,
        engine: str | None = None,
        precision: str | None = None,
        photos: int | None = None,
        say: Say = lambda text: None,
    ) -> Self:
        """Make a model ready to use.

        Args:
          model: one that tells classes apart.
          device: ``cpu``, ``cuda`` …; the best there is if not given.
          workers: threads that decode photos; one a core if not given.
          engine: ``torch`` (if not given), ``openvino``, ``onnxruntime``, or ``auto`` for the
            fastest of those that are installed, which is measured once and remembered. A model
            that is quantised takes ``openvino`` by itself.
          precision: ``fp32`` (if not given) or ``bf16``; of a quantised model ``int8``.
          photos: how many there will be at least, if that is known: for few nothing is measured.
          say: told which engine was chosen, and why.

        Raises:
          UserError: it tells no classes apart, there is no such device, or the engine is not
            installed or cannot do this.
        """
        if model.task != Classify.name:
            name, size = model.spec.name, model.spec.num_classes or model.spec.num_features
            raise UserError(
                f"{name} puts out an embedding of {size} numbers, not classes; for them: "
                f"resnets.create_model({name!r}, weights=…)"
            )
        name, precision = check(model, engine, precision)
        machine = Machine.detect(device_for(name, device))
        ready = open_engine(model, machine, name, precision, photos, say)
        workers = default_workers() if workers is None else workers
        task = Classify(model.classes, temperature=model.temperature)
        return cls(model, ready, machine, task, workers)

    def calibrated(self, model: Model) -> Self:
        """Return the same with the temperature of `model`, which is else the same."""
        task = replace(self.task, temperature=model.temperature)
        return replace(self, model=model, task=task)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.model.classes

    def predict(
        self, images: Source | Sequence[Source], top: int = 5, reject: float | bool = False
    ) -> list[Prediction]:
        """Predict files, encoded bytes, Pillow's pictures or arrays, each with a row and a status.

        One array ``H W`` or ``H W C`` is one image, an array ``N H W C`` is many. With `reject`,
        see `stream`.
        """
        one = isinstance(images, str | Path | bytes | Image.Image)
        one = one or (isinstance(images, np.ndarray) and images.ndim < 4)
        many: list[Source] = [images] if one else list(images)  # type: ignore[list-item, arg-type]
        named = ((str(s) if isinstance(s, str | Path) else f"#{i}", s) for i, s in enumerate(many))
        return list(self.stream(named, top, reject))

    def probabilities(self, images: Sequence[Source]) -> NDArray[np.float32]:
        """Return ``N classes``. Raises UserError for an image that does not decode."""
        rows = []
        for prediction, values in self._rows((str(i), image) for i, image in enumerate(images)):
            if values is None:
                name = images[int(prediction[0])]
                shown = name if isinstance(name, str | Path) else f"image {prediction[0]}"
                raise UserError(f"{shown}: {prediction[1]}")
            rows.append(values)
        return np.array(rows, np.float32).reshape(-1, len(self.classes))

    def stream(
        self,
        inputs: Iterable[tuple[str, Source]],
        top: int = 5,
        reject: float | bool = False,
    ) -> Iterator[Prediction]:
        """Yield a prediction for every (name, image), in order, holding only a few batches.

        With `reject`, photos that are unlike the known ones are labelled ``unknown``, so that this
        share of known photos keeps its label; True is for 0.95.

        Raises:
          UserError: the model does not know its photos, has a class called ``unknown``, or does not
            run on PyTorch.
        """
        gate = None if reject is False else self.gate(reject)
        classes = len(self.classes)
        for (name, reason), values in self._rows(inputs, gate):
            if values is None:
                yield Prediction(name, None, None, reason, ())
                continue
            ranked = np.argsort(-values[:classes], kind="stable")[:top]
            best = tuple((self.classes[i], float(values[i])) for i in ranked)
            label, probability = best[0]
            novelty = float(values[classes]) if gate else None
            if gate and gate.rejects(values[classes]):
                label = UNKNOWN
            yield Prediction(name, label, probability, "ok", best, novelty)

    def gate(self, keep: float | bool = True) -> Gate:
        """Return what rejects photos, keeping this share of known ones; True is for 0.95.

        Raises:
          UserError: the model does not know its photos, has a class called ``unknown``, or does not
            run on PyTorch.
        """
        return Gate.of(self.model, self.ready, self.task, keep)

    def _rows(
        self, inputs: Iterable[tuple[str, Source]], gate: Gate | None = None
    ) -> Iterator[tuple[tuple[str, str], NDArray[np.float32] | None]]:
        """Yield ((name, reason), numbers or None) for every input, in order: the probabilities,
        and of a gate the novelty after them."""
        engine: Engine = gate.engine if gate else self.ready.engine
        answer: Answers = gate or self.task
        prepare = self.model.preprocess.prepare
        side, channels = self.model.preprocess.resize, self.model.preprocess.channels

        def decode(batch: list[tuple[str, Source]]) -> tuple[list[tuple[str, str]], NDArray[Any]]:
            tags, photos = [], []
            for name, source in batch:
                try:
                    photos.append(prepare(Path(source) if isinstance(source, str) else source))
                    tags.append((name, ""))
                except DecodeError as error:
                    tags.append((name, str(error)))
            return tags, np.array(photos, np.uint8).reshape(-1, side, side, channels)

        batches = prefetch(decode, _batched(inputs, BATCH), self.workers)
        for tags, values in probabilities(engine, answer, self.model.preprocess, batches):
            remaining = iter(values)
            for tag in tags:
                yield tag, None if tag[1] else next(remaining)


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def load(
    path: str | Path,
    device: str | None = None,
    *,
    engine: str | None = None,
    precision: str | None = None,
) -> Predictor:
    """Return a ready predictor from a model file.

    Args:
      path: the model file.
      device: ``cpu``, ``cuda`` …; the best there is if not given.
      engine: ``torch`` (if not given), ``openvino``, ``onnxruntime``, or ``auto`` for the fastest.
      precision: ``fp32`` or ``bf16``; a model that is quantised has its own.

    Raises:
      UserError: the file is missing, damaged, changed, or no model file; or the engine is not
        installed or cannot do this.
    """
    return Predictor.load(path, device, engine=engine, precision=precision)
