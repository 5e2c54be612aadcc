"""Out-of-fold probabilities by a linear classifier a fold, on features that are computed once.

The classifier is scikit-learn's logistic regression: it has one answer, comes to it in a hundredth
of the time that the recipe ``linear`` takes, and finds wrong labels at least as well, as how far
its weights may grow is chosen by labels that it has not learnt (docs/labels.md).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from resnets.console import Console
from resnets.data.cache import ImageCache, Storage
from resnets.data.folds import NEVER, deal
from resnets.data.samples import Samples
from resnets.files import atomic
from resnets.labelling.out_of_fold import OutOfFold
from resnets.nn import ResNet
from resnets.training.distributed import Alone
from resnets.training.machine import Machine, threads_restored
from resnets.training.pooled import compute
from resnets.weights.model_file import Model

CHUNK = 4096
"""Photos whose features are kept together, and are lost together when it is stopped."""
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""How far a classifier's weights may grow, from least to most (scikit-learn's C): the last before
the first fold's own labels become less probable."""
ITERATIONS = 300


def features(
    model: Model,
    samples: Samples,
    work: Path,
    device: str | None,
    workers: int,
    console: Console,
) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Return the pooled features ``N F`` of photos, on average with those of their mirrors.

    What `work` has of them already is not computed again.

    Returns:
      The features, and why which photos do not decode.
    """
    machine, net = Machine.detect(device), ResNet(model.spec)
    net.load_state_dict(dict(model.weights))
    parts: list[NDArray[np.float32]] = []
    failed: dict[int, str] = {}
    with threads_restored(), console.track("Features", len(samples)) as advance:
        machine.take()
        net = machine.place(net)
        for start in range(0, len(samples), CHUNK):
            part = np.arange(start, min(start + CHUNK, len(samples)))
            file = work / f"features-{start:09}.npz"
            if not file.exists():
                cache = ImageCache(samples.subset(part), model.preprocess, Storage("none"))
                found = compute(
                    net, cache, workers, Alone(), mirror=True, folder=work, done=advance
                )
                broken = np.array(sorted(cache.failed.items()), "U").reshape(-1, 2)
                with atomic(file) as temporary, temporary.open("wb") as out:
                    np.savez(out, values=found.values.mean(1), broken=broken)
            else:
                advance(len(part))
            with np.load(file, allow_pickle=False) as kept:
                parts.append(kept["values"])
                failed |= {start + int(i): str(why) for i, why in kept["broken"]}
    return np.concatenate(parts), failed


def judge(
    found: NDArray[np.float32],
    failed: Mapping[int, str],
    samples: Samples,
    kin: NDArray[np.int64],
    folds: int,
    seed: int,
    console: Console,
) -> OutOfFold:
    """Judge photos by their `features`, each by a classifier that learnt from none of its kin."""
    n, classes = len(samples), int(samples.labels.max()) + 1
    good = np.delete(np.arange(n), list(failed))
    x, labels = found[good], samples.labels[good]
    own = deal([samples.ids[i] for i in good], labels, kin[good], folds, seed)
    strength = _strength(x, labels, own, classes)
    fold, values = np.full(n, NEVER), np.zeros((n, classes), np.float32)
    fold[good] = own
    with console.track("Classifiers", folds, "folds") as advance:
        for k in range(folds):
            part = own == k
            values[good[part]] = _probabilities(strength, x[~part], labels[~part], x[part], classes)
            advance(1)
    return OutOfFold.of(fold, values, failed)


def _strength(
    features: NDArray[np.float32], labels: NDArray[np.int64], fold: NDArray[np.int64], classes: int
) -> float:
    """Return the strength by which the labels of the first fold are the most probable."""
    part = fold == 0
    best, loss = STRENGTHS[0], np.inf
    for strength in STRENGTHS:
        values = _probabilities(strength, features[~part], labels[~part], features[part], classes)
        own = values[np.arange(len(values)), labels[part]]
        now = -np.log(own.clip(1e-7)).mean()
        if now > loss:
            break
        best, loss = strength, now
    return best


def _probabilities(
    strength: float,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    others: NDArray[np.float32],
    classes: int,
) -> NDArray[np.float32]:
    """Learn from some photos; return the probabilities ``M classes`` of others."""
    learnt: Pipeline = make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, max_iter=ITERATIONS)
    )
    with warnings.catch_warnings():  # the last digits of the weights would change nothing
        warnings.simplefilter("ignore", ConvergenceWarning)
        learnt.fit(features, labels)
    values = np.zeros((len(others), classes), np.float32)
    values[:, learnt.classes_] = learnt.predict_proba(others)
    return values
