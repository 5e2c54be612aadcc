"""Deletion and insertion tell a map of what decides from one of what does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from resnets.explain.faithful import ORDERS, POINTS, Curve, curves


def answer(images: Tensor) -> Tensor:
    """Class 1 as far as the upper left quarter is there."""
    there = images[:, 0, :8, :8].mean((1, 2))
    return torch.stack([1 - there, there], 1)


def marked(corner: bool) -> np.ndarray:
    cells = np.full((4, 4), 0.0 if corner else 1.0, np.float32)
    cells[:2, :2] = 1.0 if corner else 0.0
    return cells


IMAGE = torch.cat([torch.ones(3, 16, 8), torch.zeros(3, 16, 8)], 2)
IMAGE[:, 8:] = 0


def test_a_right_map_deletes_and_inserts_quickly() -> None:
    found = curves(answer, IMAGE, 1, marked(True))
    assert found["deletion"].area < 0.35 < found["deletion"].random_area
    assert found["insertion"].area > found["insertion"].random_area
    assert found["deletion"].better
    assert found["insertion"].better


def test_a_wrong_map_does_not() -> None:
    found = curves(answer, IMAGE, 1, marked(False))
    assert found["deletion"].area > found["deletion"].random_area
    assert found["insertion"].area < found["insertion"].random_area
    assert not found["deletion"].better
    assert not found["insertion"].better


def test_curves_begin_and_end_where_they_should() -> None:
    found = curves(answer, IMAGE, 1, marked(True))
    deletion, insertion = found["deletion"], found["insertion"]
    for values in (deletion.values, deletion.random):
        assert values[0] == pytest.approx(1)
        assert values[-1] == pytest.approx(0, abs=1e-6)
    assert insertion.values[-1] == pytest.approx(1)
    assert len(deletion.values) == POINTS
    assert len(deletion.random_areas) == ORDERS
    assert curves(answer, IMAGE, 1, marked(True)) == found  # the seed decides


def test_the_area_is_that_of_trapezoids() -> None:
    line = tuple(np.linspace(1, 0, POINTS))
    assert Curve("deletion", line, line, (0.5,)).area == pytest.approx(0.5)
    step = (1.0,) + (0.0,) * (POINTS - 1)
    assert Curve("deletion", step, line, (0.5,)).area == pytest.approx(0.5 / (POINTS - 1))
