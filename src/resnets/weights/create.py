"""`create_model`: a network from the zoo, a spec or a model file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from resnets.errors import UserError
from resnets.nn import ResNet
from resnets.spec import ResNetSpec
from resnets.weights import model_file
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
      num_classes: outputs, instead of the spec's; 0 leaves the classifier out.
      in_channels: channels of the input, instead of the spec's.
      weights: a model file, or a state dict with torchvision's names; else the papers' random
        initialisation.

    Returns:
      The network, in training mode; it takes ``N C H W`` and returns ``N num_classes``.

    Raises:
      UserError: an unknown name, or weights that do not fit (what is missing, extra or of another
        shape is listed).
    """
    spec = get_spec(model) if isinstance(model, str) else model
    changes = {"num_classes": num_classes, "in_channels": in_channels}
    net = ResNet(spec.replace(**{k: v for k, v in changes.items() if v is not None}))
    if isinstance(weights, Mapping):
        _load(net, weights)
    elif weights is not None:
        loaded = model_file.load(weights)
        # Names and shapes do not tell a plain net from a residual one, nor where a stride is.
        if not net.spec.shares_weights_with(loaded.spec):
            raise UserError(f"{weights}: weights of {loaded.spec.name} do not fit {net.spec.name}")
        _load(net, loaded.weights)
    return net


def _load(net: ResNet, state: Mapping[str, Tensor]) -> None:
    own = net.state_dict()
    problems = {
        "missing": [name for name in own if name not in state],
        "extra": [name for name in state if name not in own],
        "of another shape": [
            f"{name} {list(state[name].shape)} for {list(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ],
    }
    # Weights from before torch 0.4.1 carry no batch counts, and nothing here reads them.
    problems["missing"] = [n for n in problems["missing"] if "num_batches_tracked" not in n]
    listed = [f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names]
    if listed:
        raise UserError(f"weights do not fit {net.spec.name}: {'; '.join(listed)}")
    net.load_state_dict(dict(state), strict=False)
