"""A model on a split: its answers, and the figures that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resnets.console import Console
from resnets.data.cache import ImageCache
from resnets.data.looks import LOOKS, looks
from resnets.data.sources import Samples
from resnets.evaluate import Evaluation, evaluate
from resnets.evaluate.calibration import Calibration, at_temperature, calibration
from resnets.evaluate.comparison import Compared
from resnets.evaluate.coverage import Coverage, coverage
from resnets.evaluate.robustness import Robustness
from resnets.evaluate.slices import Slice
from resnets.predict import Predictor
from resnets.training.distributed import Alone, Ranks
from resnets.training.inference import score_split


@dataclass(frozen=True, eq=False)
class SplitResult:
    """A model on a split.

    Attributes:
      split: its name.
      cache: the photos of the whole split, with those that do not decode.
      scored: which of them do, as positions.
      probabilities: ``scored classes``, at the model's `temperature`.
      evaluation: the figures over those that decode.
      looks, sizes: of the whole split, if the photos were looked at: ``N 3`` as `LOOKS` names them,
        and their width and height, ``N 2``, 0 for those that do not decode.
      slices: how good it is on parts of them, if that was asked for.
      compared: how it compares with another model, if that was asked for.
      robustness: how good it is on corrupted photos, if that was asked for.
    """

    split: str
    cache: ImageCache
    scored: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    evaluation: Evaluation
    temperature: float
    looks: NDArray[np.float32]
    sizes: NDArray[np.int32]
    slices: tuple[Slice, ...] = ()
    compared: Compared | None = None
    robustness: Robustness | None = None

    @property
    def samples(self) -> Samples:
        return self.cache.samples

    @property
    def failed(self) -> Mapping[int, str]:
        """The photos that do not decode, with the reason where this process has tried."""
        lost = np.setdiff1d(np.arange(len(self.samples)), self.scored)
        return {int(i): self.cache.failed.get(int(i), "does not decode") for i in lost}

    @property
    def labels(self) -> NDArray[np.int64]:
        """The truth of the photos that decode."""
        return self.samples.labels[self.scored]

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The classes that the model named: of equal probabilities the first."""
        best: NDArray[np.int64] = self.probabilities.argmax(1)
        return best

    @cached_property
    def calibration(self) -> Calibration:
        return calibration(self.probabilities, self.labels)

    @cached_property
    def uncalibrated(self) -> Calibration | None:
        """The same without the model's temperature; None where it has none."""
        if self.temperature == 1:
            return None
        return calibration(at_temperature(self.probabilities, 1 / self.temperature), self.labels)

    @cached_property
    def coverage(self) -> Coverage:
        return coverage(self.probabilities.max(1), self.predictions == self.labels)

    def to_json(self) -> dict[str, Any]:
        failed = {self.samples.ids[i]: reason for i, reason in sorted(self.failed.items())}
        before = self.uncalibrated
        return {
            "split": self.split,
            **self.evaluation.to_json(),
            "ece": self.calibration.ece,
            "nll": self.calibration.nll,
            "brier": self.calibration.brier,
            "aurc": self.coverage.aurc,
            "temperature": self.temperature,
            "calibration": asdict(self.calibration),
            "uncalibrated": None if before is None else asdict(before),
            "coverage": asdict(self.coverage),
            "slices": [asdict(part) for part in self.slices],
            "comparison": self.compared and self.compared.to_json(),
            "robustness": self.robustness and self.robustness.to_json(),
            "failed": failed,
        }


def score(
    predictor: Predictor,
    cache: ImageCache,
    split: str,
    console: Console,
    ranks: Ranks | None = None,
    *,
    look: bool = False,
) -> SplitResult:
    """Evaluate a model on labelled photos, with the other processes of a run if there are any.

    With `look` the photos are also looked at, as they pass.

    Raises:
      UserError: not one of the photos decodes.
    """
    samples = cache.samples
    seen = np.full((len(samples), len(LOOKS)), np.nan, np.float32)

    def see(positions: NDArray[np.int64], photos: NDArray[np.uint8]) -> None:
        seen[positions] = np.array([looks(photo) for photo in photos]).reshape(-1, len(LOOKS))

    with console.track(f"Evaluating on {split}", len(samples)) as advance:
        scored, values = score_split(
            predictor.ready.engine,
            predictor.task,
            cache,
            predictor.workers,
            ranks,
            seen=advance,
            look=see if look else None,
        )
    sizes = cache.sizes
    if look:  # each process has seen its own
        together = ranks or Alone()
        seen = together.sum(torch.from_numpy(np.nan_to_num(seen))).numpy()
        # Several may have decoded a photo, for training, say: the mean over those that have.
        known = torch.from_numpy(sizes)
        count = together.sum((known > 0).int()).clamp(min=1)
        sizes = (together.sum(known) // count).numpy()
    figures = evaluate(values, samples.labels[scored], predictor.classes)
    return SplitResult(
        split, cache, scored, values, figures, predictor.model.temperature, seen, sizes
    )


def headline(figures: Evaluation) -> dict[str, Any]:
    """Return what a model file notes of a result."""
    names = ("n", "top1", "top1_low", "top1_high", "top5", "balanced_accuracy")
    return {name: getattr(figures, name) for name in names}
