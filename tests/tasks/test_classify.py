from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from resnets.tasks.classify import Classify

CLASSES = ("a", "b", "c")


def test_the_loss_is_cross_entropy_with_smoothing_and_weights() -> None:
    torch.manual_seed(0)
    labels = np.array([0, 0, 0, 0, 1, 2])
    outputs = torch.randn(6, 3)
    task = Classify.for_labels(CLASSES, labels, smoothing=0.1, weighting="none")
    ours = task.loss(outputs, task.targets(torch.from_numpy(labels)))
    theirs = F.cross_entropy(
        outputs, torch.from_numpy(labels), label_smoothing=0.1, reduction="none"
    )
    assert torch.allclose(ours, theirs)


def test_balanced_weights_are_one_on_average_and_inverse_to_counts() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2])
    task = Classify.for_labels(CLASSES, labels, smoothing=0.0, weighting="balanced")
    weights = np.array(task.weights)
    assert np.isclose(weights[labels].mean(), 1)
    assert np.allclose(weights * np.array([6, 3, 1]), 10 / 3)


def test_scores_are_those_of_the_evaluation() -> None:
    task = Classify(CLASSES)
    probabilities = np.eye(3)[[0, 1, 1]] * 0.7 + 0.1
    score = task.score(probabilities, np.array([0, 1, 2]))
    assert score["val_top1"] == 2 / 3
    assert np.isclose(score["val_loss"], -np.log([0.8, 0.8, 0.1]).mean())


def test_of_equal_accuracies_the_smaller_loss_ranks_higher() -> None:
    task = Classify(CLASSES)
    good, better, best = (
        task.rank({"val_top1": top1, "val_loss": loss})
        for top1, loss in ((0.5, 0.6), (0.5, 0.5), (0.6, 0.9))
    )
    assert good < better < best
