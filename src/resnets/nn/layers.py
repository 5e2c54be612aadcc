"""A PyTorch module for each kind of layer in a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnets import layers
from resnets.layers import STANDARD_EPS, Layer
from resnets.plan import Chain


def tf_pad(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad as TensorFlow's 'same' does: to ⌈side / stride⌉ windows, the odd pixel at the end."""
    height, width = x.shape[-2:]
    rows = max((-(-height // stride) - 1) * stride + kernel - height, 0)
    columns = max((-(-width // stride) - 1) * stride + kernel - width, 0)
    sides = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return F.pad(x, sides, value=value)


class TfConv2d(nn.Conv2d):
    """A convolution with TensorFlow's 'same' padding."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padded = tf_pad(x, self.kernel_size[0], self.stride[0])
        return super()._conv_forward(padded, weight, bias)  # type: ignore[no-any-return]


class StandardizedConv2d(nn.Conv2d):
    """A convolution whose filters have mean 0 and variance 1 (Qiao et al. 2019, 1903.10520)."""

    def standardized(self) -> Tensor:
        """Return the weights as they are used."""
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), correction=0, keepdim=True)
        return (self.weight - mean) * torch.rsqrt(variance + STANDARD_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.standardized(), self.bias)  # type: ignore[no-any-return]


class StandardizedTfConv2d(StandardizedConv2d, TfConv2d):
    """Both."""


CONVS: dict[tuple[str, bool], type[nn.Conv2d]] = {
    ("same", False): nn.Conv2d,
    ("tf", False): TfConv2d,
    ("same", True): StandardizedConv2d,
    ("tf", True): StandardizedTfConv2d,
}


def _conv(plan: layers.Conv) -> nn.Module:
    return CONVS[plan.padding, plan.standardized](
        plan.inputs,
        plan.outputs,
        plan.kernel,
        plan.stride,
        padding=plan.pad if plan.padding == "same" else 0,
        groups=plan.groups,
        bias=plan.bias,
    )


def _norm(plan: layers.Norm) -> nn.Module:
    if plan.kind == "group":
        return nn.GroupNorm(32, plan.channels, plan.eps)
    kind = nn.BatchNorm1d if plan.vector else nn.BatchNorm2d
    return kind(plan.channels, plan.eps)


def _act(plan: layers.Act) -> nn.Module:
    return nn.PReLU(plan.channels) if plan.kind == "prelu" else nn.ReLU(inplace=True)


class TfMaxPool2d(nn.Module):
    """Max pooling with TensorFlow's 'same' padding."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        x = tf_pad(x, self.kernel, self.stride, float("-inf"))
        return F.max_pool2d(x, self.kernel, self.stride)


class BlurPool2d(nn.Module):
    """Subsample after the filter 1-2-1 over reflected borders (Zhang 2019, arXiv:1904.11486).

    Two means of neighbours are that filter. There is no buffer, so nothing to load.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 2, 1)
        return F.avg_pool2d(x, 2, self.stride)


POOLS: dict[str, Callable[[int, int], nn.Module]] = {
    "max": lambda k, s: nn.MaxPool2d(k, s, padding=(k - 1) // 2),
    "zero-max": lambda k, s: nn.Sequential(nn.ConstantPad2d(k // 2, 0.0), nn.MaxPool2d(k, s)),
    "tf-max": TfMaxPool2d,
    "avg": lambda k, s: nn.AvgPool2d(k, s, ceil_mode=True, count_include_pad=False),
    "blur": lambda k, s: BlurPool2d(s),
}


class PadShortcut(nn.Module):
    """Option A: subsample, and pad the missing channels with zeros on both sides (v1, 3.3).

    The paper does not say where the zeros go; half on either side is what published CIFAR weights
    of this kind expect. Raises ValueError where channels would have to be dropped.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        if outputs < inputs:
            raise ValueError(f"shortcut A cannot take {inputs} channels to {outputs}: it only pads")
        self.stride = stride
        before = (outputs - inputs) // 2
        self.padding = (0, 0, 0, 0, before, outputs - inputs - before)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], self.padding)


class SqueezeExcite(nn.Module):
    """Channels weighted by what all pixels say (Hu et al. 2017, arXiv:1709.01507, Figure 2)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.act = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = x.mean((2, 3), keepdim=True)
        return x * self.fc2(self.act(self.fc1(squeezed))).sigmoid()  # type: ignore[no-any-return]


class EfficientChannelAttention(nn.Module):
    """Channels weighted by themselves and their neighbours (Wang et al. 2019, 1910.03151)."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.conv(x.mean((2, 3)).unsqueeze(1)).sigmoid()
        return x * weights.transpose(1, 2).unsqueeze(-1)  # type: ignore[no-any-return]


GATES = {"se": SqueezeExcite, "eca": EfficientChannelAttention}


class ScaledLinear(nn.Linear):
    """A linear layer whose outputs are multiplied by a constant."""

    def __init__(self, inputs: int, outputs: int, bias: bool, scale: float) -> None:
        super().__init__(inputs, outputs, bias)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale


def _linear(plan: layers.Linear) -> nn.Module:
    if plan.scale != 1:
        return ScaledLinear(plan.inputs, plan.outputs, plan.bias, plan.scale)
    return nn.Linear(plan.inputs, plan.outputs, plan.bias)


FLATTENS: dict[str, Callable[[], nn.Module]] = {
    "avg": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1)),
    "max": lambda: nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(1)),
    "all": lambda: nn.Flatten(1),
}
BUILDERS: dict[type[Layer], Callable[[Any], nn.Module]] = {
    layers.Conv: _conv,
    layers.Norm: _norm,
    layers.Act: _act,
    layers.Pool: lambda plan: POOLS[plan.kind](plan.kernel, plan.stride),
    layers.Pad: lambda plan: PadShortcut(plan.inputs, plan.outputs, plan.stride),
    layers.Gate: lambda plan: GATES[plan.kind](plan.channels, plan.size),
    layers.Linear: _linear,
    layers.Flatten: lambda plan: FLATTENS[plan.kind](),
}


def build(layer: Layer) -> nn.Module:
    """Return the module of a layer, with torch's own initialisation."""
    return BUILDERS[type(layer)](layer)


def build_chain(chain: Chain) -> dict[str, nn.Module]:
    """Return the modules of a chain by name; those with a dotted name share a `nn.Sequential`."""
    modules: dict[str, nn.Module] = {}
    for name, layer in chain.items():
        first, _, rest = name.partition(".")
        if rest:
            modules.setdefault(first, nn.Sequential()).add_module(rest, build(layer))
        else:
            modules[first] = build(layer)
    return modules
