from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from resnets.evaluate import ClassMetrics, Evaluation, evaluate, wilson
from resnets.evaluate.metrics import percent

CLASSES = ("cat", "dog", "eel")
# Four cats (one taken for a dog), one dog, no eel, and nothing is ever taken for an eel.
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [0.25, 0.5, 0.25]]
)
LABELS = np.array([0, 0, 0, 0, 1])


def random_case(seed: int, n: int, k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(k), n), rng.integers(0, k, n)


def names(k: int) -> list[str]:
    return [f"class {i}" for i in range(k)]


def test_worked_by_hand() -> None:
    result = evaluate(PROBABILITIES, LABELS, CLASSES)
    cat, dog, eel = result.per_class
    assert result.n == 5
    assert result.top1 == 4 / 5
    assert (result.top1_low, result.top1_high) == wilson(4, 5)
    assert result.top5 is None
    assert result.balanced_accuracy == (3 / 4 + 1) / 2
    assert result.loss == pytest.approx(-np.log([0.8, 0.7, 0.6, 0.3, 0.5]).mean())
    assert result.confusion == [[3, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert result.classes == CLASSES
    assert cat == ClassMetrics("cat", 4, 1.0, 0.75, 6 / 7, *wilson(3, 4))
    assert dog == ClassMetrics("dog", 1, 0.5, 1.0, 2 / 3, *wilson(1, 1))
    assert eel == ClassMetrics("eel", 0, None, None, None, None, None)


def test_never_predicted_but_present() -> None:
    cat = evaluate(np.array([[0.1, 0.9]]), np.array([0]), ["cat", "dog"]).per_class[0]
    assert (cat.precision, cat.recall, cat.f1) == (None, 0.0, 0.0)


def test_predicted_but_absent() -> None:
    dog = evaluate(np.array([[0.1, 0.9]]), np.array([0]), ["cat", "dog"]).per_class[1]
    assert (dog.precision, dog.recall, dog.f1) == (0.0, None, None)


def test_ties_go_to_the_lowest_index_everywhere() -> None:
    flat = np.full((8, 8), 1 / 8)
    result = evaluate(flat, np.arange(8), names(8))
    assert [sum(column) for column in zip(*result.confusion, strict=True)] == [8] + [0] * 7
    assert result.top1 == 1 / 8
    assert result.top5 == 5 / 8


@pytest.mark.parametrize(("k", "has_top5"), [(1, False), (5, False), (6, True)])
def test_top5_only_where_it_says_something(k: int, has_top5: bool) -> None:
    assert (evaluate(*random_case(0, 9, k), names(k)).top5 is not None) == has_top5


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(2, 12))
def test_agrees_with_scikit_learn(seed: int, n: int, k: int) -> None:
    probabilities, labels = random_case(seed, n, k)
    predictions, every = probabilities.argmax(axis=1), list(range(k))
    result = evaluate(probabilities, labels, names(k))
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        labels, predictions, labels=every, zero_division=0
    )
    assert result.confusion == sk.confusion_matrix(labels, predictions, labels=every).tolist()
    assert result.top1 == pytest.approx(sk.accuracy_score(labels, predictions))
    assert result.loss == pytest.approx(sk.log_loss(labels, probabilities, labels=every))
    assert result.balanced_accuracy == pytest.approx(recall[support > 0].mean())
    for i, row in enumerate(result.per_class):
        assert row.n == support[i]
        assert row.precision in (None, pytest.approx(precision[i]))
        assert row.recall in (None, pytest.approx(recall[i]))
        assert row.f1 in (None, pytest.approx(f1[i]))
    if k > 5:
        top5 = sk.top_k_accuracy_score(labels, probabilities, k=5, labels=every)
        assert result.top5 == pytest.approx(top5)


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 9))
def test_counts_add_up(seed: int, n: int, k: int) -> None:
    result = evaluate(*random_case(seed, n, k), names(k))
    assert sum(map(sum, result.confusion)) == n == sum(row.n for row in result.per_class)
    assert [sum(row) for row in result.confusion] == [row.n for row in result.per_class]
    assert result.top1_low <= result.top1 <= result.top1_high
    assert result.top5 is None or result.top5 >= result.top1


@given(st.integers(0, 2**32))
def test_order_of_the_photos_does_not_matter(seed: int) -> None:
    probabilities, labels = random_case(seed, 30, 7)
    order = np.random.default_rng(seed).permutation(30)
    once = evaluate(probabilities, labels, names(7)).to_json()
    again = evaluate(probabilities[order], labels[order], names(7)).to_json()
    assert again.pop("loss") == pytest.approx(once.pop("loss"))
    assert again == once


def test_surely_wrong_costs_much_but_not_infinity() -> None:
    result = evaluate(np.array([[1.0, 0.0]]), np.array([1]), ["cat", "dog"])
    assert result.loss == pytest.approx(-np.log(1e-12))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64])
def test_narrow_labels_do_not_overflow(dtype: type[np.integer]) -> None:
    labels = np.arange(120).astype(dtype)
    assert evaluate(np.eye(120, dtype=np.float32), labels, names(120)).top1 == 1.0


def test_json_has_the_promised_names_and_survives_a_round_trip() -> None:
    result = evaluate(PROBABILITIES, LABELS, CLASSES)
    plain = result.to_json()
    assert set(plain) == {
        "n", "top1", "top1_low", "top1_high", "top5", "balanced_accuracy", "balanced_low",
        "balanced_high", "loss", "per_class", "confusion", "classes",
    }  # fmt: skip
    back = json.loads(json.dumps(plain, allow_nan=False))
    assert back == plain
    rows = tuple(ClassMetrics(**row) for row in back.pop("per_class"))
    assert Evaluation(**back | {"per_class": rows, "classes": tuple(back["classes"])}) == result


def test_summary() -> None:
    labels = np.arange(412) % 10
    probabilities = np.eye(10)[np.where(np.arange(412) < 9, (labels + 1) % 10, labels)]
    assert evaluate(probabilities, labels, names(10)).summary() == (
        "top-1 97.8 % (95 % interval 95.9\N{EN DASH}98.8 %), balanced 97.8 %, n = 412"
    )


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.0, "0.0"), (1e-6, "0.1"), (0.5, "50.0"), (0.9784, "97.8"), (0.99999, "99.9"), (1, "100.0")],
)
def test_only_all_is_a_hundred_percent(fraction: float, text: str) -> None:
    assert percent(fraction) == text


def test_results_cannot_be_changed() -> None:
    result = evaluate(PROBABILITIES, LABELS, CLASSES)
    with pytest.raises(FrozenInstanceError):
        result.top1 = 1.0  # type: ignore[misc]


BAD = {
    "N x 3": (PROBABILITIES[:, :2], LABELS),
    "labels must be \\(5,\\)": (PROBABILITIES, LABELS[:4]),
    "no photos": (PROBABILITIES[:0], LABELS[:0]),
    "integers": (PROBABILITIES, LABELS + 0.5),
    "0..2": (PROBABILITIES, LABELS + 2),
    "got -1": (PROBABILITIES, LABELS - 1),
    "finite": (np.where(PROBABILITIES > 0.75, np.nan, PROBABILITIES), LABELS),
    "between 0 and 1": (PROBABILITIES * 10, LABELS),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(*BAD[message], CLASSES)
