"""Recipes: everything about a training run that is a choice, as data.

A named recipe is a function that returns a `Recipe`; a variant calls its parent and replaces
fields. `choose` is the policy for a folder that nobody has described.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from resnets.data.preprocess import Preprocess
from resnets.data.transforms import (
    Augment,
    ColorJitter,
    PadCrop,
    RandomErase,
    RandomFlip,
    ResizedCrop,
    Transform,
)
from resnets.errors import UserError, did_you_mean

FEWEST_STEPS = 800
"""Steps that the recipe `fast` takes however few photos there are."""
STEP = 4
"""Sides of growing photos are multiples of so many pixels: other sides waste parts of a vector."""


@dataclass(frozen=True)
class Recipe:
    """How to train. Rates and the schedule are those of the optimiser's steps.

    Args:
      name: the recipe it is, or comes from.
      epochs, batch_size: passes over the training photos, and photos per optimiser step.
      optimizer: ``sgd`` (with `momentum`, Nesterov's if `nesterov`), ``adamw``, or ``muon``
        (kernels before a norm by `resnets.training.muon.Muon`, all else by SGD with Nesterov's
        momentum).
      lr: peak learning rate, at this `batch_size`.
      head_lr, norm_lr: factors of the rate for the classifier, and for norms and biases.
      schedule: ``cosine`` or ``linear`` (to zero) or ``step`` (× `gamma` at each of `milestones`,
        which are fractions of the whole run), after `warmup_epochs` of linear rise.
      weight_decay: of the weights; of norms and biases too only if `decay_norms`.
      label_smoothing, mixup, cutmix: as their papers say; the latter two are chances per batch.
      class_weights: ``none``, or ``balanced`` (losses weighted by inverse class frequency).
      ema: decay of the averaged weights that are validated and kept; 0 for none.
      clip_norm: largest norm of the gradient; 0 for none.
      accumulate: micro-batches per step (the batch is dealt out, statistics are per part).
      patience: epochs without a better validation score until training stops; 0 for never.
      zero_init: start each residual block as the identity.
      whiten: the stem's filters decorrelate the pixels of the training photos, and stay so.
      passing: kernels begin by passing their input on, as far as they have channels for it.
      bn_momentum: weight of a batch in the norms' running statistics.
      head_epochs: epochs at the start in which only the classifier learns, from features that the
        rest of the network, as in evaluation, computes once; if no less than `epochs`, all of them.
        Of the augmentation they have the mirror only; no mixup, no cutmix.
      layer_decay: factor of the rate for every stage further from the classifier.
      sync_bn: in several processes, norms take the statistics of all processes' photos.
      on_nan: ``stop`` when a loss or gradient is not finite, or ``skip`` the step.
      bn: ``train`` (norms use and collect each batch's statistics) or ``fixed`` (they use those
        that the weights came with; γ and β learn).
      crop: ``none``, ``pad`` (by `pad` pixels) or ``resized`` (at least `crop_scale` of the area).
      grow: sides of the training photos as fractions of the full one, each for an equal part of
        the run: with ``pad`` a smaller crop, with ``resized`` a coarser one, else a smaller centre.
      flip, rotate, jitter, erase: mirror; degrees; strength of colour changes; chance of erasing.
      alternate: a photo is mirrored in every second epoch, not at random in each.
      mirrored: the trained model answers with the mean over a photo and its mirror image.

    Raises:
      ValueError: a field is out of range; the message names it.
    """

    name: str
    epochs: int = 30
    batch_size: int = 64
    optimizer: str = "sgd"
    lr: float = 0.1
    head_lr: float = 1.0
    norm_lr: float = 1.0
    momentum: float = 0.9
    nesterov: bool = True
    schedule: str = "cosine"
    warmup_epochs: float = 1.0
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    weight_decay: float = 5e-4
    decay_norms: bool = False
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    class_weights: str = "none"
    ema: float = 0.0
    clip_norm: float = 0.0
    accumulate: int = 1
    patience: int = 0
    zero_init: bool = False
    whiten: bool = False
    passing: bool = False
    bn_momentum: float = 0.1
    head_epochs: int = 0
    layer_decay: float = 1.0
    bn: str = "train"
    sync_bn: bool = False
    on_nan: str = "stop"
    crop: str = "pad"
    pad: int = 4
    crop_scale: float = 0.35
    grow: tuple[float, ...] = (1.0,)
    flip: bool = True
    alternate: bool = False
    mirrored: bool = False
    rotate: float = 0.0
    jitter: float = 0.0
    erase: float = 0.0

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                choices = ", ".join(allowed)
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of: {choices}")
        for name, (low, high) in RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}={getattr(self, name)!r} is not between {low} and {high}")
        if self.mixup + self.cutmix > 1:
            raise ValueError(f"mixup {self.mixup} and cutmix {self.cutmix} together exceed 1")
        if not all(0 < milestone <= 1 for milestone in self.milestones):
            raise ValueError(f"milestones={self.milestones} are not fractions of the run")
        if not self.grow or not all(0.1 <= part <= 1 for part in self.grow):
            raise ValueError(f"grow={self.grow} are not fractions of the full side, 0.1 to 1")
        if 2 * self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate={self.accumulate} leaves less than two photos of a batch of "
                f"{self.batch_size} in a part, and BatchNorm needs two"
            )
        if self.rotate and self.crop != "resized":
            raise ValueError(f"rotate={self.rotate:g} needs crop='resized', not {self.crop!r}")

    @property
    def linear(self) -> bool:
        """Whether only the classifier learns, all the time."""
        return self.head_epochs >= self.epochs

    def reaching_the_rest(self) -> Self:
        """Return the recipe with few enough epochs of the classifier alone."""
        return dataclasses.replace(self, head_epochs=min(self.head_epochs, self.epochs // 4))

    def phase(self, done: float) -> int:
        """Return which of the sides of `grow` the photos have when so much of the run is done."""
        return min(int(done * len(self.grow)), len(self.grow) - 1)

    def augment(self, preprocess: Preprocess, part: float = 1.0) -> Augment:
        """Return the augmentation of training photos, to `part` of the full side."""
        full = preprocess.size
        size = full if part == 1 else min(full, max(STEP, round(full * part / STEP) * STEP))
        mean = tuple(round(255 * value) for value in preprocess.mean)
        scale = (self.crop_scale, 1.0)
        # A smaller crop moves about within the photo already.
        pad = max(0, self.pad - (full - size) // 2)
        geometry: dict[str, Callable[[], list[Transform]]] = {
            "none": list,
            "pad": lambda: [PadCrop(size, pad, mean)],
            "resized": lambda: [ResizedCrop(size, scale, self.rotate)],
        }
        transforms: list[Transform] = [RandomFlip()] if self.flip else []
        transforms += geometry[self.crop]()
        transforms += [ColorJitter(self.jitter)] if self.jitter else []
        transforms += [RandomErase(self.erase, mean)] if self.erase else []
        return Augment(tuple(transforms), preprocess, size)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` reads them back to an equal recipe."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in _items(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a recipe from `to_dict`'s values. Raises ValueError for what is no recipe."""
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"not a recipe: {error}") from None


CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("sgd", "adamw", "muon"),
    "schedule": ("cosine", "linear", "step"),
    "class_weights": ("none", "balanced"),
    "crop": ("none", "pad", "resized"),
    "bn": ("train", "fixed"),
    "on_nan": ("stop", "skip"),
}
MOST_EPOCHS = 100_000
RANGES: Mapping[str, tuple[float, float]] = {
    "epochs": (1, MOST_EPOCHS),
    "batch_size": (4, 1_000_000),
    "lr": (0, 1e3),
    "head_lr": (0, 1e3),
    "norm_lr": (0, 1e3),
    "momentum": (0, 0.9999),
    "gamma": (1e-6, 1),
    "warmup_epochs": (0, 1e5),
    "weight_decay": (0, 10),
    "label_smoothing": (0, 0.99),
    "mixup": (0, 1),
    "cutmix": (0, 1),
    "ema": (0, 0.999999),
    "clip_norm": (0, 1e6),
    "bn_momentum": (1e-6, 1),
    "accumulate": (1, 10_000),
    "patience": (0, 100_000),
    "head_epochs": (0, MOST_EPOCHS),
    "layer_decay": (0.001, 1),
    "pad": (0, 512),
    "crop_scale": (0.01, 1),
    "rotate": (0, 180),
    "jitter": (0, 1),
    "erase": (0, 1),
}


def _items(recipe: Recipe) -> list[tuple[str, Any]]:
    return [(field.name, getattr(recipe, field.name)) for field in dataclasses.fields(recipe)]


# -- the named recipes --------------------------------------------------------------------------


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
        batch_size=250,
        optimizer="muon",
        lr=0.18,
        head_lr=1.7,
        norm_lr=0.28,
        momentum=0.85,
        schedule="linear",
        warmup_epochs=0.0,
        weight_decay=1e-3,
        label_smoothing=0.2,
        whiten=True,
        passing=True,
        bn_momentum=0.4,
        pad=2,
        grow=(0.625, 0.75, 0.875, 1.0),
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


def check_fields(names: Iterable[str]) -> None:
    """Raise UserError, with the near names or else all, for what is no field of a recipe."""
    known = [field.name for field in dataclasses.fields(Recipe) if field.name != "name"]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"; there are: {', '.join(known)}"
            raise UserError(f"the recipe has no field {name!r}{hint}")


def override(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Replace fields by name; values may be the strings of a command line.

    Raises:
      UserError: an unknown field (names the near ones), or a value of the wrong kind.
    """
    check_fields(changes)
    known = dict(_items(recipe))
    values = {name: _parse(name, value, known[name]) for name, value in changes.items()}
    try:
        return dataclasses.replace(recipe, **values)
    except ValueError as error:
        raise UserError(f"recipe: {error}") from None


def _parse(name: str, value: Any, like: Any) -> Any:
    """Read `value` as the kind of thing that `like` is."""
    try:
        if isinstance(like, bool):
            return {"true": True, "false": False}[str(value).lower()]
        if isinstance(like, tuple):
            parts = value.split(",") if isinstance(value, str) else value
            return tuple(float(part) for part in parts)
        return type(like)(value)
    except (ValueError, KeyError, TypeError):
        kind = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
        expected = kind.get(type(like), "numbers separated by commas")
        raise UserError(f"recipe: {name}={value!r} is not {expected}") from None
