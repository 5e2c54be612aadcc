"""Model files to and from Keras."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import torch

from resnets.errors import UserError
from resnets.keras.build import create_model
from resnets.keras.weights import get_state
from resnets.layers import COUNTER
from resnets.weights import model_file
from resnets.weights.convert import open_model


def from_model(source: str | Path) -> keras.Model:
    """Return the Keras model of a model file, or of what `resnets.weights.convert` reads as one.

    Its logits are PyTorch's, to the rounding of float32. Photos are to be read as the model file
    says: `resnets.load(source).model.preprocess`.

    Raises:
      UserError: the file cannot be used.
    """
    model = open_model(source)
    weights = {name: value.numpy() for name, value in model.weights.items()}
    return create_model(model.spec, weights=weights)


def save_model(net: keras.Model, path: str | Path, like: str | Path) -> None:
    """Write the weights of a Keras model as a model file, which is otherwise as the file `like`.

    Raises:
      UserError: the weights are not of that network, or the file cannot be written.
    """
    model = model_file.load(like)
    state = get_state(net)
    shapes = {k: v for k, v in model.spec.plan.tensors().items() if not k.endswith(COUNTER)}
    if {name: value.shape for name, value in state.items()} != shapes:
        raise UserError(f"{net.name}: its weights are not those of a {model.spec.name}, as {like}")
    counters = {k: v for k, v in model.weights.items() if k.endswith(COUNTER)}
    weights = {name: torch.from_numpy(value) for name, value in state.items()} | counters
    ordered = {name: weights[name] for name in model.weights}
    model_file.save(dataclasses.replace(model, weights=ordered, metrics={}), Path(path))
