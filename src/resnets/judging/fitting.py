"""What a model learns of photos that did not train it: a temperature, and what it knows."""

from __future__ import annotations

import dataclasses

from resnets.console import Console
from resnets.data.cache import ImageCache
from resnets.errors import UserError
from resnets.evaluate.calibration import COLDEST, HOTTEST, LEAST, record
from resnets.novelty import fit_unknown, some
from resnets.predict import Predictor
from resnets.training.distributed import Alone, Ranks
from resnets.training.inference import Outputs, score_split
from resnets.weights.model_file import Model


def fitted(
    predictor: Predictor,
    cache: ImageCache,
    split: str,
    console: Console,
    ranks: Ranks | None = None,
) -> Predictor:
    """Return the predictor with what these photos tell, whatever it had; and say what that is.

    Where they do not tell, because they are too few, say, it has no temperature, or knows no
    photos. Of several processes the leading one alone comes to know photos.
    """
    model = fit_calibration(predictor, cache, split, console, ranks)
    if found := model.calibration:
        console.say(
            f"calibr.  temperature {found['temperature']:.3f}, fitted on {found['n']:,} photos of "
            f"{split}: loss {found['nll_before']:.4g} to {found['nll_after']:.4g}, "
            f"ECE {100 * found['ece_before']:.1f} to {100 * found['ece_after']:.1f} %"
        )
    else:
        console.say(
            f"calibr.  no temperature: {split} has fewer than {LEAST} photos, or none of them is "
            f"wrong, or none from {COLDEST:g} to {HOTTEST:g} fits"
        )
    if (ranks or Alone()).leads:
        model = _knowing(model, predictor, cache, split, console)
    return predictor.calibrated(model)


def fit_calibration(
    predictor: Predictor,
    cache: ImageCache,
    split: str,
    console: Console,
    ranks: Ranks | None = None,
) -> Model:
    """Return the model with the temperature that fits these photos, whatever it had.

    Where none can be fitted it has none: see `resnets.evaluate.calibration.fit_temperature`.
    """
    with console.track(f"Calibrating on {split}", len(cache.samples)) as advance:
        scored, outputs = score_split(
            predictor.ready.engine, Outputs(), cache, predictor.workers, ranks, seen=advance
        )
    found = record(outputs, cache.samples.labels[scored], split)
    return dataclasses.replace(predictor.model, calibration=found)


def _knowing(
    model: Model, predictor: Predictor, cache: ImageCache, split: str, console: Console
) -> Model:
    total = len(some(len(cache.samples), len(model.classes)))
    try:
        with console.track("Features of known photos", total) as advance:
            return fit_unknown(model, predictor.ready, cache, split, predictor.workers, advance)
    except UserError as error:
        console.say(f"unknown  predict --reject cannot be had: {error}")
        return dataclasses.replace(model, unknown=None)
