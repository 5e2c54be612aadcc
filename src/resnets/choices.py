"""What nobody chose: the input size, the network and the recipe, from the photos themselves.

Every choice is announced, with the option that overrules it where that is not plain.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from resnets.console import Console
from resnets.data.preprocess import Preprocess
from resnets.data.sizes import median_short_side
from resnets.data.sources import Dataset
from resnets.errors import UserError
from resnets.layers import Conv
from resnets.spec import ResNetSpec
from resnets.training.recipe import Recipe, check_fields, override
from resnets.training.recipes import choose, for_fewer, get_recipe
from resnets.weights.model_file import Model
from resnets.zoo import get_spec

STEMS = ("auto", "imagenet", "small")
SMALL = 48  # up to this many pixels a photo is small: small stem, small network
SIZES = (64, 96, 128, 160, 192, 224)
PLAIN = Recipe("plain")
MARGIN = 8 / 7  # resize to size × 8/7, as the usual 256 for 224


def check_options(
    model: str | ResNetSpec | None,
    stem: str,
    channels: int | None,
    recipe: str | Recipe | None,
    overrides: Mapping[str, Any] | None,
) -> None:
    """Refuse what is misspelt before the photos are looked at, which may take long."""
    if isinstance(model, str):
        get_spec(model)
    if stem not in STEMS:
        raise UserError(f"--stem {stem}: one of {', '.join(STEMS)}")
    if channels not in (None, 1, 3):
        raise UserError(f"--channels {channels}: 3, or 1 to read photos as grey")
    if isinstance(recipe, str):
        get_recipe(recipe)
    check_fields(overrides or {})


def announce_data(dataset: Dataset, console: Console) -> None:
    """Say what was found. Raises UserError if there is nothing to train on."""
    counts = ", ".join(f"{name} {len(s):,}" for name, s in dataset.splits.items() if name != "all")
    console.say(f"data     {dataset.root}: {len(dataset.classes)} classes; {counts}")
    for note in dataset.notes:
        console.say(f"         {note}")
    for what, count in dataset.ignored.items():
        console.say(f"         ignored: {what} ({count:,})")

    if "train" not in dataset.splits:
        there = " and ".join(name for name in dataset.splits if name != "all")
        raise UserError(f"{dataset.root} has {there}, but no train split to learn from")


def choose_preprocess(
    dataset: Dataset, size: int | None, channels: int | None, start: Model | None, console: Console
) -> Preprocess:
    """Return how photos are read: by the weights to start from, or the photos' own size."""
    if start is not None and channels not in (None, start.preprocess.channels):
        raise UserError(
            f"--channels {channels}: the weights read {start.preprocess.channels}: leave it out, "
            f"or change them: resnets convert … --in-channels {channels}"
        )
    if start is not None and size is None:
        console.say(f"size     {start.preprocess.size} px, as the weights were trained with")
        return start.preprocess
    if start is not None and size is not None:
        photos = start.preprocess
        resize = round(size * photos.resize / photos.size)
        console.say(f"size     {size} px; else photos are read as the weights were trained with")
        try:
            return dataclasses.replace(photos, size=size, resize=resize)
        except ValueError as error:
            raise UserError(str(error)) from None
    side = median_short_side(dataset.splits["train"])
    if side is None:
        raise UserError(f"{dataset.root}: not one of the photos looked at can be opened")
    if size is None:
        size = side if side <= SMALL else max([s for s in SIZES if s <= side], default=SMALL)
        console.say(
            f"size     {size} px: half of the photos are {side} px or more on the short side"
        )
    resize = max(size, min(side, round(size * MARGIN)) if size > SMALL else size)
    try:
        return Preprocess.for_photos(size, resize, channels or 3)
    except ValueError as error:
        raise UserError(str(error)) from None


def choose_spec(
    dataset: Dataset,
    model: str | ResNetSpec | None,
    stem: str,
    preprocess: Preprocess,
    recipe: str | Recipe | None,
    start: Model | None,
    console: Console,
) -> ResNetSpec:
    """Return the architecture: the named one, the weights' own, or by the size of the photos."""
    small = preprocess.size <= SMALL
    if model is None and start is not None:
        spec = start.spec
    else:
        name = model or _usual(preprocess.size, recipe)
        spec = get_spec(name) if isinstance(name, str) else name
    if stem == "imagenet" and not spec.stem_pools:
        raise UserError(f"--stem imagenet: {spec.name} has a small stem; choose another --model")
    if spec.stem_pools and (stem == "small" or (stem == "auto" and small and start is None)):
        spec = spec.with_small_stem()
        console.say("stem     small (3×3, stride 1, no pooling); --stem imagenet for the other")
    spec = spec.replace(
        num_classes=len(dataset.classes),
        in_channels=preprocess.channels,
        image_size=preprocess.size,
    )
    if start is not None and spec.head.pool == "all" and spec.image_size != start.spec.image_size:
        raise UserError(
            f"--size {spec.image_size}: {spec.name} reads every pixel, and its weights are for "
            f"photos of {start.spec.image_size} px; leave --size out"
        )
    if start is not None and not spec.shares_weights_with(start.spec):
        raise UserError(
            f"the weights are of {start.spec.name} and do not fit {spec.name} with this stem; "
            "leave --model and --stem out"
        )
    if preprocess.size < spec.smallest:
        raise UserError(
            f"--size {preprocess.size}: {spec.name} takes photos of at least {spec.smallest} px; "
            "a larger --size, or another --model"
        )
    millions, gmacs = spec.params() / 1e6, spec.macs() / 1e9
    console.say(
        f"model    {spec.name}: {millions:.2f} M parameters, {gmacs:.3f} GMACs"
        + ("" if model else "; --model for another")
    )
    return spec


def misfits(recipe: Recipe, spec: ResNetSpec, start: Model | None) -> Iterator[tuple[str, str]]:
    """Yield the fields of a recipe that cannot be had with a network, with the reason."""
    first = next(layer for _, layer in spec.plan.layers() if isinstance(layer, Conv))
    most = 2 * first.inputs * first.kernel**2
    if recipe.whiten and start is not None:
        yield "whiten", "the stem keeps the weights to start from"
    elif recipe.whiten and (first.outputs % 2 or first.outputs > most):
        yield (
            "whiten",
            f"it takes an even number of filters, at most {most}, and the first convolution of "
            f"{spec.name} has {first.outputs}",
        )
    if spec.head.pool == "all" and recipe.grow != PLAIN.grow:
        yield "grow", f"{spec.name} reads every pixel, and takes photos of one size only"
    least = min(recipe.side(spec.image_size, part) for part in recipe.grow)
    if least < spec.smallest:
        yield "grow", f"{spec.name} takes photos of at least {spec.smallest} px, not {least}"


def _usual(size: int, recipe: str | Recipe | None) -> str:
    """Name the network for photos of a size, pixels."""
    if size > SMALL:
        return "resnet18"
    named = recipe if recipe is None or isinstance(recipe, str) else recipe.name
    quick = named == "fast" and size >= get_spec("resnet8_fast").smallest
    return "resnet8_fast" if quick else "resnet20"


def choose_recipe(
    dataset: Dataset,
    recipe: str | Recipe | None,
    preprocess: Preprocess,
    spec: ResNetSpec,
    epochs: int | None,
    batch_size: int | None,
    overrides: Mapping[str, Any] | None,
    start: Model | None,
    console: Console,
) -> Recipe:
    """Return the recipe: the named one, fine-tuning for weights to start from, or by the number
    and size of the photos; overridden, and without what this network cannot do."""
    photos = len(dataset.splits["train"])
    chosen_here = choose(photos, preprocess.size) if start is None else "finetune"
    name = recipe if recipe is not None else chosen_here
    if name == "fast" and preprocess.size > SMALL:
        name = "fast-photos"
    base = get_recipe(name) if isinstance(name, str) else name
    if name == "fast":
        base = for_fewer(base, photos)
    changes: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
    if batch_size is not None:
        changes |= {"batch_size": batch_size, "lr": base.lr * batch_size / base.batch_size}
    chosen = override(base, {**changes, **(overrides or {})})
    if "head_epochs" not in (overrides or {}) and not base.linear:
        chosen = chosen.reaching_the_rest()
    linear = chosen.linear
    if linear and start is None:
        raise UserError(
            f"recipe {chosen.name}: only the classifier learns, so the rest needs --weights"
        )
    notes = []
    for field, reason in misfits(chosen, spec, start):
        if field in (overrides or {}):
            raise UserError(f"--set {field}={(overrides or {})[field]}: {reason}")
        chosen = dataclasses.replace(chosen, **{field: getattr(PLAIN, field)})
        notes.append(f"         without {field}: {reason}")
    unit = "epoch" if chosen.epochs == 1 else "epochs"
    console.say(
        f"recipe   {chosen.name}: {chosen.epochs} {unit}, batches of {chosen.batch_size}, "
        f"{chosen.optimizer} at {chosen.lr:g}" + ("" if recipe else f", for {photos:,} photos")
    )
    for note in notes:
        console.say(note)
    if linear:
        console.say("         the classifier alone, from features that are computed once")
    elif chosen.head_epochs or chosen.layer_decay < 1 or chosen.bn == "fixed":
        norms = {"train": "learn the photos' statistics", "fixed": "keep the weights' statistics"}
        console.say(
            f"         the classifier alone up to epoch {chosen.head_epochs}, then everything, "
            f"each stage at {chosen.layer_decay:g} of the next one's rate; norms {norms[chosen.bn]}"
        )
    return chosen
