"""`create_model`: the Keras model of a spec."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike

import keras
import numpy as np

from resnets.axes import keras_name
from resnets.errors import UserError
from resnets.keras.layers import Tensor, apply_chain
from resnets.keras.weights import set_state
from resnets.plan import BlockPlan, StagePlan
from resnets.spec import ResNetSpec
from resnets.zoo import get_spec

DEEPEST = 30_000
"""Calls within calls that Keras may make to trace a model: a few for each of `MOST_BLOCKS`."""


def create_model(
    model: str | ResNetSpec,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    weights: Mapping[str, np.ndarray] | None = None,
) -> keras.Model:
    """Build a functional Keras model.

    Its layers are called as in PyTorch, with ``_`` for ``.`` (``layer1_0_conv1``). What the stem
    and each stage put out is ``model.get_layer("stem").output``, ``"layer1"`` and so on; the last
    one is activated.

    Args:
      model: a name of the zoo (`resnets.list_models()`) or a spec.
      num_classes: outputs, instead of the spec's; 0 leaves the classifier out.
      in_channels: channels of the input, instead of the spec's.
      weights: a state dict with torchvision's names and PyTorch's layouts; else the papers' random
        initialisation.

    Returns:
      The model; it takes ``N H W C``, of any size unless the classifier reads every pixel (the
      size is the spec's `image_size` then), and returns the logits ``N num_classes``.

    Raises:
      UserError: an unknown name, or weights that do not fit (what is missing, extra or of another
        shape is listed).

    A saved model of more than some 400 blocks (``resnet1202``) is only loaded again by Keras under
    a raised `sys.setrecursionlimit`.
    """
    if isinstance(weights, str | PathLike):
        raise UserError(f"weights={weights!s}: a file is read by resnets.keras.from_model")
    spec = get_spec(model) if isinstance(model, str) else model
    changes = {"num_classes": num_classes, "in_channels": in_channels}
    net = _build(spec.replace(**{k: v for k, v in changes.items() if v is not None}))
    if weights is not None:
        set_state(net, weights)
    return net


def _build(spec: ResNetSpec) -> keras.Model:
    side = spec.image_size if spec.head.pool == "all" else None
    image = keras.Input((side, side, spec.in_channels), name="image")
    x = _named("stem", apply_chain(spec.plan.stem, "", image))
    *stages, last = spec.plan.stages
    for stage in stages:
        x = _named(stage.name, _stage(stage, x))
    x = _named(last.name, apply_chain(spec.plan.top, "", _stage(last, x)))
    logits = apply_chain(spec.plan.head, "", x)
    name = spec.name.replace("/", "_")  # Keras takes no slash in a name
    with _recursion(DEEPEST):
        return keras.Model(image, logits, name=name)


@contextmanager
def _recursion(limit: int) -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, limit))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _named(name: str, x: Tensor) -> Tensor:
    return keras.layers.Identity(name=name)(x)


def _stage(plan: StagePlan, x: Tensor) -> Tensor:
    x = apply_chain(plan.entry, f"{plan.name}.entry.", x)
    for number, block in enumerate(plan.blocks):
        x = _block(block, f"{plan.name}.{number}.", x)
    return x


def _block(plan: BlockPlan, prefix: str, x: Tensor) -> Tensor:
    x = apply_chain(plan.before, prefix, x)
    y = apply_chain(plan.branch, prefix, x)
    if plan.shortcut is not None:
        shortcut = apply_chain(plan.shortcut, f"{prefix}downsample.", x)
        # The shortcut first: Keras traces a model by recursion, and so along the shorter way.
        y = keras.layers.Add(name=keras_name(f"{prefix}add"))([shortcut, y])
    return apply_chain(plan.after, prefix, y)
