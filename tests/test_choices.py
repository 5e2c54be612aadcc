"""What nobody chose, and what a recipe cannot do with a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from resnets.choices import choose_recipe, choose_spec
from resnets.console import Console
from resnets.data.preprocess import Preprocess
from resnets.data.sources import Dataset, open_dataset
from resnets.errors import UserError
from resnets.training.recipe import Recipe
from resnets.training.recipes import for_fewer, get_recipe
from resnets.weights.model_file import Model
from resnets.zoo import get_spec

SMALL = Preprocess.for_photos(32, 32)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_dataset("sign-digits")


def choose(digits: Dataset, network: str, recipe: Any, **changes: Any) -> Recipe:
    spec = get_spec(network)
    options: dict[str, Any] = {"epochs": None, "batch_size": None, "overrides": None, "start": None}
    return choose_recipe(
        digits, recipe, SMALL, spec, console=Console(quiet=True), **options | changes
    )


def test_the_stem_is_whitened_where_it_can_be(digits: Dataset) -> None:
    assert choose(digits, "resnet8_fast", "fast").whiten
    assert not choose(digits, "resnet18_small", "fast").whiten
    with pytest.raises(UserError, match="--set whiten=true: it takes an even number of"):
        choose(digits, "resnet18_small", "fast", overrides={"whiten": "true"})


@pytest.mark.parametrize(
    ("side", "recipe", "network"),
    [
        (8, "fast", "resnet20"),
        (8, get_recipe("fast"), "resnet20"),
        (9, "fast", "resnet8_fast"),
        (48, "fast", "resnet8_fast"),
        (48, None, "resnet20"),
        (49, "fast", "resnet18"),
    ],
)
def test_the_network_follows_from_the_photos_and_the_recipe(
    digits: Dataset, side: int, recipe: Any, network: str
) -> None:
    photos, quiet = Preprocess.for_photos(side, side), Console(quiet=True)
    spec = choose_spec(digits, None, "auto", photos, recipe, None, quiet)
    assert spec.name == network


def test_a_network_that_photos_are_too_small_for_has_a_way_out(digits: Dataset) -> None:
    photos, quiet = Preprocess.for_photos(8, 8), Console(quiet=True)
    with pytest.raises(UserError, match="9 px; a larger --size, or another --model"):
        choose_spec(digits, "resnet8_fast", "auto", photos, "fast", None, quiet)


def test_photos_of_8_px_train_fast(tmp_path: Path, run: Callable[..., Any]) -> None:
    data, (x, y) = tmp_path / "digits.npz", load_digits(return_X_y=True)
    images = (x[:300].reshape(-1, 8, 8) * 15).astype(np.uint8)
    np.savez(data, images=images, labels=y[:300])
    options = ("--recipe", "fast", "--epochs", 1, "--speed", "exact", "--workers", 0)
    status, _, said = run("train", data, "--out", tmp_path / "run", *options)
    assert status == 0, said
    assert "model    resnet20: " in said


def test_weights_to_start_from_keep_their_stem(digits: Dataset) -> None:
    start = Model(get_spec("resnet8_fast"), digits.classes, SMALL, {})
    assert not choose(digits, "resnet8_fast", "fast", start=start).whiten


def test_a_network_that_reads_every_pixel_sees_photos_of_one_size(digits: Dataset) -> None:
    assert choose(digits, "iresnet18", "fast").grow == (1.0,)


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [("linear", {}), ("small", {"overrides": {"head_epochs": 5}, "epochs": 2})],
)
def test_no_classifier_alone_on_a_network_that_knows_nothing(
    digits: Dataset, recipe: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="only the classifier learns"):
        choose(digits, "resnet20", recipe, **changes)


@pytest.mark.parametrize("photos", [10, 20, 1_000, 20_000, 50_000, 300_000])
def test_fast_takes_steps_enough_and_not_many_more(photos: int) -> None:
    recipe = for_fewer(get_recipe("fast"), photos)
    steps = recipe.epochs * -(-photos // recipe.batch_size)
    assert 790 <= steps <= max(1610, recipe.epochs * photos // 250)
    assert recipe.epochs >= get_recipe("fast").epochs
