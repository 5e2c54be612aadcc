"""`create_model`: a network from the zoo or a spec, with anyone's weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from resnets.console import Console
from resnets.errors import UserError
from resnets.nn import ResNet
from resnets.spec import ResNetSpec
from resnets.weights import hub
from resnets.weights.adapt import adapt
from resnets.weights.convert import fit, is_model_file
from resnets.weights.model_file import load
from resnets.weights.readers import Foreign, read
from resnets.weights.readers.foreign import strip_prefix
from resnets.zoo import get_spec


def create_model(
    model: str | ResNetSpec,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    weights: str | Path | Mapping[str, Tensor] | None = None,
) -> ResNet:
    """Build a network.

    Args:
      model: a name of the zoo (`resnets.list_models()`) or a spec.
      num_classes: outputs, instead of the spec's or the weights' own; 0 leaves the classifier out.
      in_channels: channels of the input, instead of the spec's or the weights' own.
      weights: a model file, another project's checkpoint, a published name such as
        ``timm/resnet50.a1_in1k`` or ``torchvision/resnet50.v2`` (these are fetched), or a state
        dict in any dialect; else the papers' random initialisation. Other numbers of classes or
        channels than theirs are adapted to by stated rules (`resnets.weights.adapt`), and said on
        standard error.

    Returns:
      The network, in training mode; it takes ``N C H W`` and returns ``N num_classes``.

    Raises:
      UserError: an unknown name, or weights that do not fit (what is missing, extra or of another
        shape is listed).
      ValueError: a number of classes or channels that no network has.
    """
    spec = get_spec(model) if isinstance(model, str) else model
    if not isinstance(spec, ResNetSpec):
        raise UserError(f"{model!r} is neither a name of resnets.list_models() nor a ResNetSpec")
    if weights is None:
        changes = {"num_classes": num_classes, "in_channels": in_channels}
        return ResNet(spec.replace(**{k: v for k, v in changes.items() if v is not None}))
    console = Console()
    own, state = _read(spec, weights, console)
    spec, state = adapt(state, own, num_classes, in_channels, console.say)
    with torch.device("meta"):
        net = ResNet(spec)
    net.load_state_dict(state, assign=True)
    return net.requires_grad_(True)


def _read(
    spec: ResNetSpec, weights: str | Path | Mapping[str, Tensor], console: Console
) -> tuple[ResNetSpec, dict[str, Tensor]]:
    """Return weights in our names, and the spec with the classes and channels that they have."""
    if isinstance(weights, Mapping):
        _check_tensors(weights)
        memory = Foreign(Path("the state dict"), "torch", strip_prefix(weights)[0], {})
        match, state = fit(memory, [spec])
        return match.spec, {name: _own(value) for name, value in state.items()}
    path = hub.fetch(weights, console.say).path if hub.is_name(weights) else Path(weights)
    if not is_model_file(path):
        match, state = fit(read(path), [spec])
        return match.spec, {name: _own(value) for name, value in state.items()}
    loaded = load(path)
    own = spec.replace(num_classes=loaded.spec.num_classes, in_channels=loaded.spec.in_channels)
    # Names and shapes do not tell a plain net from a residual one, nor where a stride is.
    if not own.shares_weights_with(loaded.spec):
        raise UserError(f"{weights}: weights of {loaded.spec.name} do not fit {spec.name}")
    return own, {name: _own(value) for name, value in loaded.weights.items()}


def _check_tensors(weights: Mapping[str, object]) -> None:
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            raise UserError(
                f"the state dict: {name!r} is a {type(value).__name__} and not a tensor; "
                "pass what maps names to tensors"
            )
        if value.ndim and not value.is_floating_point():
            raise UserError(f"the state dict: {name!r} has dtype {value.dtype}, not a float's")


def _own(value: Tensor) -> Tensor:
    """Return a copy, in torch's default precision if it is a floating-point one."""
    value = value.detach().clone()
    return value.to(torch.get_default_dtype()) if value.is_floating_point() else value
