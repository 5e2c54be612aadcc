"""Parts of the photos on which a model is better or worse."""

from __future__ import annotations

import numpy as np
import pytest

from resnets.evaluate.slices import EMPTY, MOST, holm, slices


def test_holm_by_hand() -> None:
    assert holm([]) == []
    assert holm([0.01, 0.04, 0.03]) == [True, False, False]  # 0.05/3, then 0.03 > 0.05/2
    assert holm([0.012, 0.02, 0.04]) == [True, True, True]
    assert holm([0.02, 0.001, 0.9]) == [True, True, False]


def test_what_is_planted_is_found_and_nothing_else() -> None:
    generator = np.random.default_rng(0)
    site = generator.integers(0, 5, 4000)
    right = generator.random(4000) < np.where(site == 2, 0.7, 0.9)
    size = generator.random(4000)
    found = slices(right, {"site": [f"s{i}" for i in site], "size": size, "same": np.ones(4000)})
    assert [(part.fact, part.value) for part in found if part.differs == "worse"] == [
        ("site", "s2")
    ]
    assert {part.fact for part in found} == {"site", "size"}  # what is the same for all is no part
    assert sum(part.n for part in found if part.fact == "site") == 4000
    quarters = [part.n for part in found if part.fact == "size"]
    assert quarters == [1000] * 4
    worst = next(part for part in found if part.value == "s2")
    assert worst.low < worst.top1 < worst.high < worst.rest


def test_false_marks_are_rare() -> None:
    generator, marked = np.random.default_rng(1), 0
    for _ in range(80):
        right = generator.random(300) < 0.8
        facts = {"a": generator.random(300), "b": [str(i % 3) for i in range(300)]}
        marked += any(part.differs for part in slices(right, facts))
    assert marked <= 8  # 5 % of 80, and two standard errors


def test_equal_numbers_stay_together_and_unknown_ones_are_a_part() -> None:
    size = np.array([32.0] * 60 + [64.0] * 30 + [np.nan] * 10)
    found = slices(np.arange(100) % 2 == 0, {"size": size})
    assert [(part.value, part.n) for part in found] == [("32", 60), ("64", 30), (EMPTY, 10)]
    most = slices(np.ones(100, bool), {"width": np.array([64.0] * 90 + [*range(10)])})
    assert [(part.value, part.n) for part in most] == [("0 to 9", 10), ("64", 90)]
    assert not slices(np.ones(9, bool), {"size": np.full(9, np.nan), "site": [""] * 9})


def test_photos_without_a_value_are_a_part_and_in_the_rest_of_the_others() -> None:
    right = np.array([True] * 5 + [False] * 3 + [True] * 2)
    found = slices(right, {"camera": ["a"] * 2 + ["b"] * 2 + [""] * 6})
    assert [(part.value, part.n, part.top1) for part in found] == [
        ("a", 2, 1.0), ("b", 2, 1.0), (EMPTY, 6, 0.5),
    ]  # fmt: skip
    assert [part.rest for part in found] == [5 / 8, 5 / 8, 1.0]


def test_many_values_share_a_part() -> None:
    names = [f"v{i % 30:02}" for i in range(300)] + [""] * 5
    found = slices(np.ones(305, bool), {"name": names})
    assert len(found) == MOST + 2
    assert [(part.value, part.n) for part in found[-2:]] == [("10 other values", 100), (EMPTY, 5)]
    assert sum(part.n for part in found) == 305


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(47.371, 47.379, 400),
        np.repeat([1.0, 1.331, 1.334, 1.5], 100),
        np.repeat([640 / 480, 641 / 481, 1024.2, 1024.4], 100),
    ],
)
def test_parts_that_read_alike_get_more_digits(values: np.ndarray) -> None:
    found = slices(np.arange(400) % 2 == 0, {"latitude": values})
    assert sum(part.n for part in found) == 400
    assert len({part.value for part in found}) == 4
