"""The named recipes, and the policy for photos that nobody has described.

A recipe is a function that returns one; a variant calls its parent and replaces fields.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from resnets.errors import UserError, did_you_mean
from resnets.training.recipe import MOST_EPOCHS, Recipe

FEWEST_STEPS = 800
"""Steps that the recipe `fast` takes however few photos there are."""


def he2015_cifar() -> Recipe:
    """V1, section 4.2: 64,000 steps of 128 over 45,000 photos, rate ÷ 10 at 32,000 and 48,000.

    The paper decays all weights alike, pads by 4, mirrors, and averages nothing.
    """
    return Recipe(
        name="he2015-cifar",
        epochs=182,  # 64,064 steps
        batch_size=128,
        nesterov=False,
        schedule="step",
        warmup_epochs=0.0,
        weight_decay=1e-4,
        decay_norms=True,
    )


def he2015_imagenet() -> Recipe:
    """V1, section 3.4: batches of 256, rate ÷ 10 when the error plateaus (here at thirds)."""
    return dataclasses.replace(
        he2015_cifar(),
        name="he2015-imagenet",
        epochs=90,
        batch_size=256,
        milestones=(1 / 3, 2 / 3),
        crop="resized",
        crop_scale=0.08,
        jitter=0.4,
    )


def large() -> Recipe:
    """From a hundred thousand photos."""
    return Recipe(
        name="large",
        epochs=30,
        batch_size=128,
        lr=0.2,
        weight_decay=5e-5,
        warmup_epochs=2.0,
        label_smoothing=0.1,
        ema=0.9998,
        zero_init=True,
        crop="resized",
        crop_scale=0.25,
    )


def medium() -> Recipe:
    """Some ten thousand photos."""
    return dataclasses.replace(
        large(), name="medium", epochs=40, batch_size=64, lr=0.1, weight_decay=5e-4, ema=0.999
    )


def small() -> Recipe:
    """A few thousand photos or fewer, from scratch.

    So few steps leave no time for averaging or for blocks that start as the identity (both cost
    ten points in eight epochs, docs/log.md), and small batches make for more of them.
    """
    return Recipe(
        name="small",
        epochs=30,
        batch_size=32,
        lr=0.03,
        warmup_epochs=0.5,
        label_smoothing=0.1,
        class_weights="balanced",
        crop="resized",
        crop_scale=0.6,
        jitter=0.1,
    )


def tiny_photos() -> Recipe:
    """Photos of about 32 px, such as CIFAR's: shifts instead of zooms."""
    return Recipe(
        name="tiny-photos",
        epochs=40,
        batch_size=64,
        lr=0.1,
        warmup_epochs=0.5,
        weight_decay=2e-4,
        ema=0.998,
    )


def fast() -> Recipe:
    """Tiny photos, to a good accuracy in the fewest operations: few epochs of orthogonalised
    steps on crops that grow, behind filters that need not be learnt (docs/speed.md)."""
    return Recipe(
        name="fast",
        epochs=8,
        batch_size=500,
        optimizer="muon",
        lr=0.09,
        head_lr=3.3,
        norm_lr=0.55,
        momentum=0.85,
        schedule="linear",
        warmup_epochs=0.0,
        weight_decay=1e-3,
        label_smoothing=0.2,
        whiten=True,
        passing=True,
        bn_momentum=0.4,
        pad=2,
        grow=(0.625, 1.0, 1.0, 1.0),
        alternate=True,
        mirrored=True,
    )


def for_fewer(recipe: Recipe, photos: int) -> Recipe:
    """Return `fast`, which is made for CIFAR's 50,000 photos, for fewer: smaller batches and more
    epochs, so that there are steps enough."""
    batch = min(recipe.batch_size, max(50, photos // 100))
    epochs = max(recipe.epochs, round(FEWEST_STEPS / math.ceil(photos / batch)))
    return dataclasses.replace(recipe, batch_size=batch, epochs=epochs)


def fast_photos() -> Recipe:
    """Larger photos: few epochs, most of them on coarse photos (Touvron et al. 2019,
    arXiv:1906.06423, on training at a lower resolution than testing)."""
    return dataclasses.replace(
        small(),
        name="fast-photos",
        epochs=16,
        grow=(0.5, 0.625, 0.75, 1.0),
        mirrored=True,
    )


def finetune() -> Recipe:
    """From weights that were trained on other photos: the classifier first, then all of it, slower
    towards the stem, whose edges and colours change least from one task to the next (Yosinski et
    al. 2014, arXiv:1411.1792)."""
    return dataclasses.replace(
        small(),
        name="finetune",
        epochs=20,
        warmup_epochs=1.0,
        weight_decay=1e-4,
        head_epochs=2,
        layer_decay=0.8,
    )


def linear() -> Recipe:
    """A classifier on weights that were trained on other photos, and nothing else: a few seconds
    once the photos' features are computed (a linear probe). AdamW, as features come in any scale.
    """
    return dataclasses.replace(
        finetune(),
        name="linear",
        epochs=100,
        batch_size=128,
        optimizer="adamw",
        lr=0.03,
        weight_decay=0.0,
        head_epochs=MOST_EPOCHS,
        layer_decay=1.0,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "finetune": finetune,
    "linear": linear,
    "tiny-photos": tiny_photos,
    "small": small,
    "medium": medium,
    "large": large,
    "fast": fast,
    "fast-photos": fast_photos,
    "he2015-cifar": he2015_cifar,
    "he2015-imagenet": he2015_imagenet,
}


def choose(photos: int, size: int) -> str:
    """Name the recipe for a number of training photos and their size in pixels."""
    if size <= 48:
        return "tiny-photos"
    for limit, name in ((8_000, "small"), (100_000, "medium")):
        if photos < limit:
            return name
    return "large"


def get_recipe(name: str) -> Recipe:
    """Return a named recipe. Raises UserError with the near names for an unknown one."""
    if name not in RECIPES:
        known = f"; there are: {', '.join(RECIPES)}"
        raise UserError(f"unknown recipe {name!r}{did_you_mean(name, RECIPES) or known}")
    return RECIPES[name]()
