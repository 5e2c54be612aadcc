from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from resnets import ResNetClassifier, UserError


def make(n: int = 36) -> tuple[np.ndarray, np.ndarray]:
    """Return photos that are bright above (label 7) or below (label 3)."""
    rng = np.random.default_rng(0)
    labels = np.where(np.arange(n) % 2, 3, 7)
    images = rng.integers(0, 100, (n, 16, 16, 3))
    for image, label in zip(images, labels, strict=True):
        image[slice(0, 8) if label == 7 else slice(8, 16)] += 120
    return images.astype(np.uint8), labels


def classifier() -> ResNetClassifier:
    # Twelve steps a fit are too few for the averaging and the gentle start of longer training.
    overrides = {"flip": False, "ema": 0.0, "zero_init": False, "warmup_epochs": 0.0}
    return ResNetClassifier("resnet20", epochs=8, batch_size=8, workers=0, overrides=overrides)


def test_it_follows_scikit_learn() -> None:
    estimator = classifier()
    assert clone(estimator).get_params() == estimator.get_params()
    assert estimator.set_params(epochs=2).epochs == 2
    with pytest.raises(NotFittedError):
        estimator.predict(make()[0])
    assert "epochs=2" in repr(estimator)


def test_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, labels = make()
    estimator = classifier()
    assert estimator.fit(images, labels) is estimator
    assert estimator.classes_.tolist() == [3, 7]
    assert estimator.classes_.dtype == labels.dtype
    probabilities = estimator.predict_proba(images)
    assert probabilities.shape == (36, 2)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    found = estimator.predict(images)
    assert set(found.tolist()) <= {3, 7}
    assert estimator.score(images, labels) == np.mean(found == labels) >= 0.9
    assert list(tmp_path.iterdir()) == []  # a fit leaves nothing behind


def test_labels_of_several_digits_keep_their_columns() -> None:
    images, labels = make()
    estimator = ResNetClassifier("resnet20", epochs=1, workers=0)
    estimator.fit(images, np.where(labels == 3, 10, 9))
    assert estimator.classes_.tolist() == [9, 10]


def test_cross_validation() -> None:
    scores = cross_val_score(classifier(), *make(), cv=3)
    assert scores.shape == (3,)
    assert scores.mean() > 0.7


def test_paths_and_folders(tmp_path: Path) -> None:
    from PIL import Image

    images, labels = make()
    names = np.where(labels == 3, "below", "above")
    paths = []
    for i, (image, name) in enumerate(zip(images, names, strict=True)):
        path = tmp_path / name / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
        paths.append(str(path))
    by_paths = classifier().fit(paths, names)
    assert by_paths.classes_.tolist() == ["above", "below"]
    by_folder = classifier().fit(tmp_path)
    assert by_folder.score(tmp_path) >= 0.9
    assert by_folder.predict(tmp_path).shape == (36,)
    with pytest.raises(UserError, match="file not found"):
        by_folder.predict([str(tmp_path / "nothing.png")])
