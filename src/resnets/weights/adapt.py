"""Weights for another number of classes or channels, by stated rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from resnets.errors import UserError
from resnets.layers import Conv
from resnets.nn import ResNet
from resnets.spec import ResNetSpec

State = dict[str, Tensor]
HEAD = ("fc.", "features.")


def adapt(
    state: Mapping[str, Tensor],
    spec: ResNetSpec,
    num_classes: int | None,
    in_channels: int | None,
    say: Callable[[str], None],
    fresh: bool = False,
) -> tuple[ResNetSpec, State]:
    """Return spec and weights for `num_classes` outputs and `in_channels` channels, if given.

    A new number of classes gets a fresh classifier; the same number too if it is to be `fresh`. For
    other channels the first convolution is changed by `spread`. Both are said.
    """
    adapted = dict(state)
    if in_channels not in (None, spec.in_channels):
        assert in_channels is not None
        first = next(name for name, layer in spec.plan.layers() if isinstance(layer, Conv))
        if spec.stem is None or spec.standardized:
            raise UserError(
                f"{spec.name} has no stem that could be changed to {in_channels} channels"
            )
        say(f"stem     {spec.in_channels} channels to {in_channels}: {rule(in_channels)}")
        spec = spec.replace(in_channels=in_channels)
        adapted[f"{first}.weight"] = spread(adapted[f"{first}.weight"], in_channels)
    if num_classes is not None and (fresh or num_classes != spec.num_classes):
        told = f"{spec.num_classes} outputs to {num_classes}: a fresh classifier"
        say(f"head     {told if num_classes else 'no classifier: for features'}")
        spec = spec.replace(num_classes=num_classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            head = {k: v for k, v in ResNet(spec).state_dict().items() if k.startswith(HEAD)}
        adapted = {k: v for k, v in adapted.items() if not k.startswith(HEAD)} | head
    return spec, adapted


def rule(channels: int) -> str:
    if channels == 1:
        return "kernels summed, so that grey answers as the same grey in all channels did"
    return "kernels repeated in turn, and scaled to keep the size of the outputs"


def spread(weight: Tensor, channels: int) -> Tensor:
    """Return a kernel ``O I H W`` for other input channels.

    One channel gets the sum over I; n get the kernels in turn, times I/n.
    """
    inputs = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    turn = torch.arange(channels) % inputs
    return weight[:, turn] * (inputs / channels)
