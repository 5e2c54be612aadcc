"""Model files to and from Keras."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import torch

from resnets.errors import UserError
from resnets.keras.build import create_model
from resnets.keras.weights import get_state
from resnets.layers import COUNTER
from resnets.weights import model_file
from resnets.weights.convert import open_model
from resnets.weights.model_file import Model


def from_model(source: str | Path, **options: Any) -> keras.Model:
    """Return the Keras model of a model file, or of what `resnets.weights.convert` reads as one.

    Its logits are PyTorch's, to the rounding of float32. Photos are to be read as the model file
    says: `resnets.load(source).model.preprocess`. Options are those of `open_model`, such as
    ``arch`` and ``preprocess``.

    Raises:
      UserError: the file cannot be used.
    """
    model = open_model(source, **options)
    weights = {name: value.numpy() for name, value in model.weights.items()}
    return create_model(model.spec, weights=weights)


def save_model(net: keras.Model, path: str | Path, like: str | Path | Model) -> None:
    """Write the weights of a Keras model as a model file.

    Args:
      net: what `create_model` or `from_model` built.
      path: the file to write.
      like: a model file, or a `Model` with any weights, that says all the rest: spec, classes and
        how photos are read.

    Raises:
      UserError: the weights are not of that network, or the file cannot be written.
    """
    model = like if isinstance(like, Model) else model_file.load(like)
    state = get_state(net)
    tensors = model.spec.plan.tensors()
    shapes = {name: shape for name, shape in tensors.items() if not name.endswith(COUNTER)}
    if {name: value.shape for name, value in state.items()} != shapes:
        raise UserError(f"{net.name}: its weights are not those of a {model.spec.name}")
    weights = {name: torch.from_numpy(value) for name, value in state.items()}
    zero = torch.zeros((), dtype=torch.int64)
    counters = {name: model.weights.get(name, zero) for name in tensors if name not in state}
    ordered = {name: (weights | counters)[name] for name in tensors}
    written = dataclasses.replace(  # the records were of the weights before
        model, weights=ordered, metrics={}, calibration={}, unknown=None
    )
    model_file.save(written, Path(path))
