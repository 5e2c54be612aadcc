"""A model on photos that are corrupted, mirrored, shifted and scaled: `evaluate --robustness`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from resnets.console import Console
from resnets.data.cache import ImageCache, Storage
from resnets.data.corruptions import CORRUPTIONS, MOVES, corrupt
from resnets.data.loader import prefetch
from resnets.data.samples import Samples
from resnets.errors import UserError, did_you_mean
from resnets.evaluate.robustness import Robustness, summarise
from resnets.predict import Predictor
from resnets.training.inference import BATCH, probabilities

ALL = "all"
Variant = tuple[str, int]
CLEAN: Variant = ("", 0)
Item = tuple[NDArray[np.int64], NDArray[np.uint8], Variant]


def named(text: str) -> list[str]:
    """Return the corruptions that ``all``, their names, or those of their groups mean, in the order
    of the table.

    Raises:
      UserError: a name that is neither.
    """
    groups = {kind.group for kind in CORRUPTIONS.values()}
    asked = {name.strip() for name in text.split(",")}
    known = (ALL, *sorted(groups), *CORRUPTIONS)
    for name in sorted(asked):
        if name not in known:
            near = did_you_mean(name, known) or f"; one of: {', '.join(known)}"
            raise UserError(f"--robustness {name}: unknown{near}")
    return [n for n, kind in CORRUPTIONS.items() if asked & {ALL, kind.group, n}]


def key(sample_id: str) -> int:
    """Return the number that a photo's noise is drawn by: of its id, wherever it stands."""
    encoded = sample_id.encode("utf-8", "backslashreplace")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "little")


def sample(samples: Samples, limit: int) -> Samples:
    """Return `limit` of the samples, the same each time, in their order."""
    first = sorted(range(len(samples)), key=lambda i: (key(samples.ids[i]), i))[:limit]
    return samples.subset(sorted(first))


def measure(
    predictor: Predictor,
    samples: Samples,
    names: Sequence[str],
    console: Console,
    limit: int | None = None,
) -> Robustness:
    """Judge a model on labelled photos, clean and with each of some corruptions at each severity.

    The corruption is of the square that the network sees. What is drawn for a photo depends on its
    id alone. A batch is decoded once, and corrupted by the predictor's workers ahead of the
    network, a batch and a severity at a time, so that memory does not grow with their number.

    Raises:
      UserError: not one of the photos decodes.
    """
    if limit is not None and limit < len(samples):
        samples = sample(samples, limit)
    preprocess, n = predictor.model.preprocess, len(samples)
    cache = ImageCache(samples, preprocess, Storage("none"))  # each batch is fetched once
    variants = [CLEAN, *((name, s) for name in names for s in CORRUPTIONS[name].severities)]
    keys = [key(name) for name in samples.ids]

    def items() -> Iterator[Item]:
        for start in range(0, n, BATCH):
            found, photos = cache.get(np.arange(start, min(start + BATCH, n)))
            squares = preprocess.center(torch.from_numpy(photos)).numpy()
            yield from ((found, squares, variant) for variant in variants)

    def make(item: Item) -> tuple[tuple[NDArray[np.int64], Variant], NDArray[np.uint8]]:
        found, squares, (name, severity) = item
        pairs = zip(found, squares, strict=True)
        changed = [corrupt(photo, name, severity, keys[int(i)]) for i, photo in pairs]
        return (found, (name, severity)), np.array(changed, np.uint8).reshape(squares.shape)

    answers = {variant: np.full(n, -1) for variant in variants}
    batches = prefetch(make, items(), predictor.workers)
    with console.track("Corrupted photos", n * len(variants)) as advance:
        for (found, variant), values in probabilities(
            predictor.ready.engine, predictor.task, preprocess, batches
        ):
            answers[variant][found] = values.argmax(1)
            advance(len(found))
    seen = answers[CLEAN] >= 0
    if not seen.any():
        raise UserError(f"not one of the {n:,} photos to evaluate on decodes")
    truth, clean = samples.labels[seen], answers.pop(CLEAN)[seen]
    return summarise(
        clean == truth,
        {variant: values[seen] == truth for variant, values in answers.items()},
        {variant: values[seen] == clean for variant, values in answers.items()},
        {name: CORRUPTIONS[name].group for name in names},
        preprocess.size,
        MOVES,
    )
