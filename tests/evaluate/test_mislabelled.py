"""Wrong labels among probabilities whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cleanlab.count import compute_confident_joint
from numpy.typing import NDArray

from resnets.evaluate.label_page import Suspect, write_labels_page
from resnets.evaluate.mislabelled import Mislabelled, count_confident, find, rows
from resnets.pages import thumbnail

CLASSES = ("cat", "dog", "eel")
WRONG = {4: 1, 15: 2, 26: 0}
"""Positions whose label is wrong, and what they are."""


def judged(classes: int = 3, each: int = 10) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return probabilities of 0.9 for the truth, and labels, those of `WRONG` wrong."""
    truth = np.repeat(np.arange(classes), each)
    labels = truth.copy()
    truth[[*WRONG]] = [*WRONG.values()]
    values = np.full((len(truth), classes), 0.1 / (classes - 1))
    values[np.arange(len(truth)), truth] = 0.9
    # Equal qualities would leave the order to chance.
    for rank, i in enumerate(WRONG):
        values[i, labels[i]] -= 0.01 * rank
        values[i, truth[i]] += 0.01 * rank
    return values, labels


def test_exactly_the_wrong_labels_are_found_the_surest_first() -> None:
    values, labels = judged()
    result = find(values, labels, CLASSES)
    assert result.found.tolist() == [26, 15, 4]
    assert result.suggested[result.found].tolist() == [0, 2, 1]
    assert result.joint.tolist() == [[9, 1, 0], [0, 9, 1], [1, 0, 9]]
    assert result.share == pytest.approx(0.1)
    assert 0 < result.share_low < 0.1 < result.share_high < 0.3
    assert result.agreement == pytest.approx(0.9)
    assert [(m.given, m.suggested, m.found, m.estimated) for m in result.mixes] == [
        ("cat", "dog", 1, 1),
        ("dog", "eel", 1, 1),
        ("eel", "cat", 1, 1),
    ]
    assert result.summary().startswith("3 of 30 labels look wrong; estimated share 10.0 %")
    first = next(rows(result))
    assert first["given_probability"] == pytest.approx(0.03)
    assert first["quality"] == result.quality.min().round(6)
    assert (first["given"], first["suggested"]) == ("eel", "cat")
    assert first["why"] == "cat 92.0 %, eel 3.0 %"


def test_right_labels_are_left_alone_and_the_interval_says_how_sure_that_is() -> None:
    values = np.tile([[0.8, 0.2], [0.3, 0.7]], (50, 1))
    result = find(values, np.tile([0, 1], 50), ("a", "b"))
    assert not len(result.found)
    assert (result.share, result.share_low) == (0, 0)
    assert result.share_high == pytest.approx(0.037, abs=0.001)  # Wilson: none of 100
    assert result.mixes == []
    assert "(" not in result.summary().split(";")[0]


def test_labels_that_are_contradicted_without_being_sure_are_counted(tmp_path: Path) -> None:
    # Four of class 0 look like class 1, and less so than photos of class 1 do on average.
    values = np.array([[0.9, 0.1]] * 16 + [[0.45, 0.55]] * 4 + [[0.1, 0.9]] * 20)
    result = find(values, np.repeat([0, 1], [20, 20]), ("a", "b"))
    assert (len(result.found), result.unsure) == (0, 4)
    assert result.summary().startswith(
        "0 of 40 labels look wrong (4 more contradicted, none surely); estimated share 0.0 %"
    )
    write_labels_page(tmp_path / "l.html", "data", result, [], "5 trainings by recipe fast", 0)
    text = " ".join((tmp_path / "l.html").read_text().split())
    assert "Judged by 5 trainings by recipe fast. Each photo was judged by a network" in text
    assert "4 more labels are contradicted, none surely; they are not listed." in text
    assert "No label is surely wrong." in text
    assert "one to look at" not in text  # as there is none


def test_a_class_counts_by_all_its_photos_though_few_are_confident() -> None:
    # Of class 0 two of four are confident, one of them for class 1, whose photos are all right.
    mine = [[0.9, 0.1], [0.46, 0.54], [0.45, 0.55], [0.1, 0.9]]
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    result = find(np.array([*mine, *[[0.1, 0.9]] * 4]), labels, ("a", "b"))
    assert result.joint.tolist() == [[2, 2], [0, 4]]
    assert result.share == pytest.approx(0.25)
    assert result.found.tolist() == [3, 2]


def test_a_class_without_photos_may_be_suggested() -> None:
    values, labels = judged()
    wider = np.concatenate([values * 0.99, np.full((30, 1), 0.01)], axis=1)
    result = find(wider, labels, (*CLASSES, "fox"))
    assert result.found.tolist() == [26, 15, 4]
    assert result.joint.shape == (4, 4)


def test_planted_noise_is_found_among_uncertain_probabilities() -> None:
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 5, 2000)
    scores = draw.normal(size=(2000, 5))
    scores[np.arange(2000), truth] += 4
    values = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    labels = truth.copy()
    wrong = draw.choice(2000, 100, replace=False)
    labels[wrong] = (truth[wrong] + draw.integers(1, 5, 100)) % 5
    result = find(values, labels, tuple("abcde"))
    hits = len(np.intersect1d(result.found, wrong))
    assert hits >= 90
    assert hits / len(result.found) >= 0.8
    assert result.share_low < 0.05 < result.share_high
    peer = compute_confident_joint(labels, values, calibrate=False)
    assert count_confident(values, labels).tolist() == peer.tolist()
    assert (np.diff(result.quality[result.found]) >= 0).all()


def test_noise_between_two_classes_explains_a_label_that_is_improbable_elsewhere() -> None:
    # A fifth of class a is labelled b, one photo c; the network finds both labels as improbable.
    truth = np.repeat([0, 1, 2], 100)
    labels = truth.copy()
    labels[:20] = 1
    labels[20] = 2
    values = np.full((300, 3), 0.02)
    values[np.arange(300), truth] = 0.96
    result = find(values, labels, ("a", "b", "c"))
    assert result.probabilities[0, 1] == result.probabilities[20, 2]
    assert result.quality[0] < result.quality[20]
    assert set(result.found.tolist()) == set(range(21))


# -- the page --------------------------------------------------------------------------------------


@pytest.fixture
def result() -> Mislabelled:
    values, labels = judged()
    return find(values, labels, ("<b>cat</b>", "d" * 300, "eel & co"))


def test_the_page_shows_what_was_found(
    result: Mislabelled, tmp_path: Path, browser: Callable[[Path], None]
) -> None:
    photos = [
        Suspect(
            path=f"photos/{'deep/' * 30}<script>alert(1)</script>{row['position']}.jpg",
            given=row["given"],
            suggested=row["suggested"],
            given_probability=row["given_probability"],
            probability=row["probability"],
            thumbnail=thumbnail(np.full((90, 60, 3), 40 * i + 60, np.uint8)),
        )
        for i, row in enumerate(rows(result))
    ]
    page = tmp_path / "labels.html"
    write_labels_page(page, "<i>data</i>", result, photos, "5 classifiers", 2)
    text = page.read_text()
    assert "<script>" not in text
    assert "<b>cat</b>" not in text
    assert "<i>data" not in text
    assert text.count("<img") == 3
    assert "A photo that is listed is one to look at" in text
    assert "contradicted" not in text
    assert "10.0&nbsp;%" in text
    browser(page)


def test_the_page_stays_small_and_says_what_it_leaves_out(
    result: Mislabelled, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3)).astype(np.uint8)
    photo = Suspect("a.jpg", "cat", "dog", 0.01, 0.9, thumbnail(noise))
    page = tmp_path / "labels.html"
    write_labels_page(page, "data", result, [photo] * 500, "5 classifiers", 0)
    assert page.stat().st_size < 5_000_000
    assert 0 < page.read_text().count("<img") < 500
