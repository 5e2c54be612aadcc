from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from resnets.data.preprocess import Preprocess
from resnets.data.transforms import RandomFlip
from resnets.errors import UserError
from resnets.training.recipe import Recipe, override
from resnets.training.recipes import RECIPES, choose, get_recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_named_recipe_is_valid_and_says_its_name(name: str) -> None:
    recipe = get_recipe(name)
    assert recipe.name == name
    assert recipe.augment(Preprocess.for_photos(32, 32)).draws > 0


@pytest.mark.parametrize("epochs", [1, 50, 100_000])
def test_a_linear_recipe_never_comes_to_the_rest(epochs: int) -> None:
    recipe = override(get_recipe("linear"), {"epochs": epochs})
    assert recipe.head_epochs >= recipe.epochs


def test_the_papers_cifar_recipe_is_the_papers() -> None:
    recipe = get_recipe("he2015-cifar")
    steps = recipe.epochs * -(-45_000 // recipe.batch_size)
    assert steps == pytest.approx(64_000, rel=0.002)
    assert (recipe.lr, recipe.momentum, recipe.weight_decay) == (0.1, 0.9, 1e-4)
    assert (recipe.pad, recipe.flip, recipe.nesterov, recipe.decay_norms) == (4, True, False, True)
    assert [round(m * 64_000) for m in recipe.milestones] == [32_000, 48_000]


@pytest.mark.parametrize(
    ("photos", "size", "name"),
    [
        (50_000, 32, "tiny-photos"),
        (100, 28, "tiny-photos"),
        (500, 224, "small"),
        (20_000, 224, "medium"),
        (1_000_000, 224, "large"),
    ],
)
def test_the_choice_follows_the_number_and_the_size(photos: int, size: int, name: str) -> None:
    assert choose(photos, size) == name


@pytest.mark.parametrize("crop", ["pad", "resized", "none"])
def test_photos_grow(crop: str) -> None:
    recipe = Recipe("r", crop=crop, pad=2, grow=(0.5, 0.76, 1.0), alternate=True)
    assert [recipe.phase(done) for done in (0, 0.33, 0.34, 0.66, 0.67, 0.999, 1)] == [
        *(0, 0, 1, 1, 2, 2, 2)
    ]
    preprocess = Preprocess.for_photos(32, 36)
    photos = torch.randint(0, 256, (5, 36, 36, 3), dtype=torch.uint8)
    for part, side in zip(recipe.grow, (16, 24, 32), strict=True):
        augment = recipe.augment(preprocess, part)
        assert isinstance(augment.transforms[0], RandomFlip)  # whose number alternates
        assert augment(photos, torch.rand(5, augment.draws)).shape == (5, 3, side, side)


def test_a_side_is_never_beyond_the_photo() -> None:
    augment = Recipe("r", grow=(0.99,)).augment(Preprocess.for_photos(31, 31), 0.99)
    assert augment.size == 31


def test_a_small_crop_needs_no_border() -> None:
    """At 24 of 32 pixels a crop moves by 4 either way within the photo."""
    photos = torch.randint(1, 256, (40, 32, 32, 3), dtype=torch.uint8)
    preprocess = Preprocess(32, 32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    recipe = Recipe("r", pad=2)
    whole, small = recipe.augment(preprocess), recipe.augment(preprocess, 0.75)
    assert (whole(photos, torch.rand(40, whole.draws)) == 0).any()
    assert not (small(photos, torch.rand(40, small.draws)) == 0).any()


def test_override_reads_words_as_the_fields_kind() -> None:
    changed = override(
        Recipe("r"), {"lr": "0.3", "epochs": "7", "flip": "false", "milestones": "0.2,0.4"}
    )
    assert (changed.lr, changed.epochs, changed.flip) == (0.3, 7, False)
    assert changed.milestones == (0.2, 0.4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rat": 1}, "no field 'learning_rat'"),
        ({"label_smothing": 0.1}, "did you mean label_smoothing"),
        ({"name": "x"}, "no field 'name'"),
        ({"epochs": "ten"}, "epochs='ten' is not a whole number"),
        ({"flip": "maybe"}, "flip='maybe' is not true or false"),
        ({"grow": "0.5,2"}, "0.5, 2.0. are not fractions"),
        ({"lr": -1}, "lr=-1.0 is not between"),
        ({"optimizer": "lion"}, "optimizer='lion' is not one of: sgd, adamw, muon"),
        ({"mixup": 0.7, "cutmix": 0.7}, "together exceed 1"),
        ({"milestones": "0.5,nan"}, "not fractions"),
        ({"gamma": "nan"}, "gamma=nan is not between"),
        ({"batch_size": 4, "accumulate": 4}, "BatchNorm needs two"),
        ({"rotate": 10}, "rotate=10 needs crop='resized'"),
    ],
)
def test_override_refuses_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        override(Recipe("r"), changes)
    assert "\n" not in str(caught.value)


def test_a_recipe_survives_its_json() -> None:
    for name in RECIPES:
        recipe = get_recipe(name)
        assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    with pytest.raises(ValueError, match="not a recipe"):
        Recipe.from_dict({"name": "r", "nonsense": 1})


def test_every_number_has_a_range_that_its_default_is_in() -> None:
    # `__post_init__` would have raised; here, that no new number goes unchecked.
    unchecked = {"milestones", "grow"}  # checked one by one
    from resnets.training.recipe import RANGES

    numbers = {
        f.name
        for f in dataclasses.fields(Recipe)
        if f.type in ("int", "float", "tuple[float, ...]")
    }
    assert numbers - unchecked == set(RANGES)
