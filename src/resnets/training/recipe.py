"""Recipes: everything about a training run that is a choice, as data.

The named ones are in `recipes`.
"""

from __future__ import annotations

import dataclasses
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

    @staticmethod
    def side(full: int, part: float) -> int:
        """Return the side in pixels of photos that have grown to `part` of the full one."""
        return full if part == 1 else min(full, max(STEP, round(full * part / STEP) * STEP))

    def augment(self, preprocess: Preprocess, part: float = 1.0) -> Augment:
        """Return the augmentation of training photos, to `part` of the full side."""
        full, size = preprocess.size, self.side(preprocess.size, part)
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
