from __future__ import annotations

import dataclasses
import json

import pytest

from resnets.data.preprocess import Preprocess
from resnets.errors import UserError
from resnets.training.recipe import RECIPES, Recipe, choose, get_recipe, override


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
        ({"lr": -1}, "lr=-1.0 is not between"),
        ({"optimizer": "lion"}, "optimizer='lion' is not one of: sgd, adamw"),
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
    unchecked = {"milestones"}  # checked one by one
    from resnets.training.recipe import RANGES

    numbers = {
        f.name
        for f in dataclasses.fields(Recipe)
        if f.type in ("int", "float", "tuple[float, ...]")
    }
    assert numbers - unchecked == set(RANGES)
