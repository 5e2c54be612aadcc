"""`ResNetClassifier`: training and prediction with scikit-learn's conventions."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from resnets.data.labels import name_labels
from resnets.data.sources import find_images
from resnets.errors import UserError
from resnets.experiment import train
from resnets.judging.heldout import open_for
from resnets.predict import Predictor
from resnets.training.processes import launched


class ResNetClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A residual network as a scikit-learn classifier.

    `X` is a list of paths, or an array ``N H W``, ``N H W 1`` or ``N H W 3``; `y` holds the labels.
    `fit` also takes a folder (or whatever ``resnets train`` takes) alone. All parameters are those
    of `resnets.train`.

    Attributes:
      classes_: the labels, sorted; columns of `predict_proba`.
      predictor_: the `Predictor` of the best weights.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        size: int | None = None,
        channels: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        recipe: str | None = None,
        overrides: dict[str, Any] | None = None,
        val_fraction: float = 0.1,
        seed: int = 0,
        device: str | None = None,
        workers: int | None = None,
        quiet: bool = True,
    ) -> None:
        self.model = model
        self.size = size
        self.channels = channels
        self.epochs = epochs
        self.batch_size = batch_size
        self.recipe = recipe
        self.overrides = overrides
        self.val_fraction = val_fraction
        self.seed = seed
        self.device = device
        self.workers = workers
        self.quiet = quiet

    def fit(self, X: Any, y: Sequence[Any] | None = None) -> Self:
        """Train on photos `X` with labels `y`, or on a folder `X` whose class folders label it.

        With labels all photos are for training and validation, since the caller holds out others;
        a folder is split as ``resnets train`` splits it.
        """
        if launched():
            raise UserError("ResNetClassifier trains in one process; use resnets.train in several")
        labels = None if y is None else np.asarray(y).ravel()
        names = [] if labels is None else name_labels(np.asarray(y), "y")
        data = X if labels is None else (X, names)
        options: dict[str, Any] = self.get_params(deep=False)
        options |= {"test_fraction": 0.0} if labels is not None else {}
        with tempfile.TemporaryDirectory(prefix="resnets-") as folder:
            run = train(data, out=Path(folder) / "run", **options)
            self.predictor_ = Predictor.load(run.model, self.device, workers=self.workers)
        # Labels come back as what they went in as: 3 rather than "3".
        kinds = dict(zip(names, [] if labels is None else labels, strict=True))
        own = np.array([kinds.get(name, name) for name in self.predictor_.classes])
        self._order = np.argsort(own, kind="stable")
        self.classes_ = own[self._order]
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return ``N classes``, columns as in `classes_`."""
        check_is_fitted(self)
        return self.predictor_.probabilities(_images(X))[:, self._order]

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each photo."""
        best = self.predict_proba(X).argmax(1)
        return np.asarray(self.classes_[best])

    def score(self, X: Any, y: Sequence[Any] | None = None, sample_weight: Any = None) -> float:
        """Return the top-1 accuracy on photos `X` with labels `y`, or on a folder `X`.

        Of the folder that was trained on, only the photos that training held out count.
        """
        if y is not None:
            return float(super().score(X, y, sample_weight))
        check_is_fitted(self)
        _, samples, _, _ = open_for(self.predictor_, X, None, {})
        found = self.predictor_.probabilities([samples.read(i) for i in range(len(samples))])
        return float(np.mean(found.argmax(1) == samples.labels))


def _images(X: Any) -> Sequence[Any]:
    """Return the images of a folder, a list of paths or an array, one by one."""
    if isinstance(X, str | Path):
        return list(find_images([X]))
    return X  # type: ignore[no-any-return]
