"""Networks made ready for use only: what is constant by then is computed once."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnets.nn.layers import CONVS, ScaledLinear, StandardizedConv2d
from resnets.nn.resnet import ResNet


def fold_batchnorm(net: ResNet) -> None:
    """Put every BatchNorm that follows a convolution or linear layer into its weights.

    In evaluation mode a BatchNorm multiplies each channel by a constant and adds one (Ioffe and
    Szegedy 2015, arXiv:1502.03167, algorithm 2), which the layer before can do as well; the outputs
    stay the same to float rounding. Standardised filters are constant by then, too, and become
    plain ones. Norms before a convolution, as those of pre-activation blocks, stay: its padding is
    of zeros, which they would have to shift. A norm behind a max pooling goes too, unless it turns
    a channel's sign, which would make the largest value the smallest.

    The network is changed in place; the tensors that it had are left as they were.

    Raises:
      ValueError: the network is in training mode, where a BatchNorm is no constant.
    """
    if net.training:
        raise ValueError("fold_batchnorm is for networks in evaluation mode: net.eval()")
    for prefix, chain in net.spec.plan.chains():
        for name in chain:
            layer = net.get_submodule(prefix + name)
            if isinstance(layer, StandardizedConv2d):
                _replace(net, prefix + name, _plain(layer))
        modules = {name: net.get_submodule(prefix + name) for name in chain}
        unpooled = [name for name, layer in modules.items() if not isinstance(layer, nn.MaxPool2d)]
        direct = set(pairwise(modules))
        for name, following in pairwise(unpooled):
            layer, norm = modules[name], modules[following]
            if not (isinstance(layer, nn.Conv2d | nn.Linear) and isinstance(norm, _BatchNorm)):
                continue
            if (name, following) in direct or bool((norm.weight >= 0).all()):
                _fold(layer, norm)
                _replace(net, prefix + following, nn.Identity())


def _replace(net: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    net.get_submodule(parent).register_module(name, layer)


def _plain(conv: StandardizedConv2d) -> nn.Conv2d:
    """Return a convolution with the filters that `conv` has once they are standardised."""
    padding = "same" if type(conv) is StandardizedConv2d else "tf"
    with torch.device("meta"):
        plain = CONVS[padding, False](
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            conv.groups,
            bias=conv.bias is not None,
        ).eval()
    plain.weight = _constant(conv.standardized(), conv.weight)
    plain.bias = conv.bias
    return plain


def _fold(layer: nn.Conv2d | nn.Linear, norm: _BatchNorm) -> None:
    """Give `layer` the weights that put out what `norm` would, computed in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, scale = layer.weight, layer.scale if isinstance(layer, ScaledLinear) else 1.0
    factor = norm.weight.double() * torch.rsqrt(norm.running_var.double() + norm.eps)
    shift = norm.bias.double() - norm.running_mean.double() * factor
    bias = 0.0 if layer.bias is None else layer.bias.double()
    sides = (-1, *[1] * (weight.ndim - 1))
    layer.weight = _constant(weight.double() * factor.view(sides), weight)
    layer.bias = _constant(bias * factor + shift / scale, weight)


def _constant(value: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach().to(like), requires_grad=False)
