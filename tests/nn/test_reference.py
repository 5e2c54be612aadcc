"""Networks equal a second writing of them: from the papers, on a state dict, without the plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from resnets.nn import ResNet
from resnets.spec import ResNetSpec, Stem

Draw = Callable[[nn.Module], None]


class Reference:
    """A ResNet in evaluation mode, of a spec's fields and a state dict."""

    def __init__(self, spec: ResNetSpec, state: dict[str, Tensor]) -> None:
        self.spec, self.state = spec, state

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """Return every named feature, and the logits."""
        spec = self.spec
        x = self.stem("", spec.stem, x)
        features = {"stem": x}
        for index, depth in enumerate(spec.depths):
            stage = f"layer{index + 1}"
            x = self.stem(f"{stage}.entry.", spec.entries[index] if spec.entries else None, x)
            stage_stride = spec.strides[index] if spec.strides else min(index, 1) + 1
            for number in range(depth):
                strided = number == (0 if spec.stride_at == "first" else depth - 1)
                name = f"{stage}.{number}"
                x = self.block(name, x, index, number == 0, stage_stride if strided else 1)
            features[stage] = x
        if spec.order in ("pre", "arcface"):
            x = self.norm("bn", x)
            x = self.act("act", x) if spec.order == "pre" else x
            features[stage] = x
        return features | {"logits": self.head(x)}

    # -- layers -----------------------------------------------------------------------------------

    def conv(self, name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        if self.spec.standardized:
            mean = weight.mean((1, 2, 3), keepdim=True)
            variance = weight.var((1, 2, 3), unbiased=False, keepdim=True)
            weight = (weight - mean) / torch.sqrt(variance + 1e-8)
        kernel = weight.shape[-1]
        around = [(kernel - 1) // 2] * 4
        x = padded(x, kernel, stride, True) if self.spec.padding == "tf" else F.pad(x, around)
        return F.conv2d(x, weight, self.state.get(f"{name}.bias"), stride, groups=groups)

    def norm(self, name: str, x: Tensor) -> Tensor:
        gain, bias = (self.state[f"{name}.{kind}"] for kind in ("weight", "bias"))
        if f"{name}.running_mean" in self.state:
            mean, variance = (self.state[f"{name}.running_{kind}"] for kind in ("mean", "var"))
        else:
            groups = x.reshape(len(x), 32, -1)
            each = x.shape[1] // 32
            mean = groups.mean(2).repeat_interleave(each, 1)
            variance = groups.var(2, unbiased=False).repeat_interleave(each, 1)
        per_channel = [
            value.reshape(-1, x.shape[1], *[1] * (x.ndim - 2))
            for value in (mean, variance, gain, bias)
        ]
        mean, variance, gain, bias = per_channel
        return (x - mean) / torch.sqrt(variance + self.spec.norm_eps) * gain + bias

    def act(self, name: str, x: Tensor) -> Tensor:
        slope = torch.zeros(x.shape[1], dtype=x.dtype)
        if self.spec.activation == "prelu":
            slope = self.state[f"{name}.weight"]
        return torch.where(x > 0, x, x * slope[:, None, None])

    def smooth(self, x: Tensor, stride: int) -> Tensor:
        kinds = {"avg": mean, "blur": blur, "max": lambda x, stride: maximum(x, 2, stride)}
        return kinds[self.spec.antialias](x, stride)

    def gate(self, name: str, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3))
        if self.spec.attention == "se":
            for number, squash in ((1, torch.relu), (2, torch.sigmoid)):
                weight = self.state[f"{name}.fc{number}.weight"][:, :, 0, 0]
                pooled = squash(pooled @ weight.T + self.state[f"{name}.fc{number}.bias"])
            return x * pooled[:, :, None, None]
        weight = self.state[f"{name}.conv.weight"].flatten()
        reach = len(weight) // 2
        neighbours = F.pad(pooled, (reach, reach)).unfold(1, len(weight), 1)
        return x * (neighbours @ weight).sigmoid()[:, :, None, None]

    # -- parts ------------------------------------------------------------------------------------

    def stem(self, prefix: str, stem: Stem | None, x: Tensor) -> Tensor:
        if stem is None:
            return x
        strides = [stem.stride, *[1] * len(stem.hidden)]
        for number in range(len(stem.hidden)):
            name = f"{prefix}conv1."
            x = self.conv(f"{name}{3 * number}", x, strides[number])
            x = self.act(f"{name}{3 * number + 2}", self.norm(f"{name}{3 * number + 1}", x))
        last = f"conv1.{3 * len(stem.hidden)}" if stem.hidden else "conv1"
        x = self.conv(prefix + last, x, strides[-1])
        x = self.norm(f"{prefix}bn1", x) if stem.norm else x
        x = self.act(f"{prefix}act1", x) if stem.act else x
        if stem.pool == "conv":
            x = self.norm(f"{prefix}maxpool.1", self.conv(f"{prefix}maxpool.0", x, 2))
            return self.act(f"{prefix}maxpool.2", x)
        if stem.pool == "zero-max":
            return maximum(x, 3, 2, border=0.0)
        if stem.pool == "max2":
            return maximum(x, 2, 2)
        if stem.pool == "max":
            if self.spec.antialias == "none":
                return maximum(x, 3, 2, tf=self.spec.padding == "tf")
            return self.smooth(maximum(x, 3, 1) if self.spec.antialias == "blur" else x, 2)
        return x

    def block(self, name: str, x: Tensor, stage: int, first: bool, stride: int) -> Tensor:
        spec = self.spec
        steps = {"basic": 2, "bottleneck": 3}[spec.block]
        strided = {"3x3": max(1, steps - 1), "1x1": 1, "last": steps}[spec.stride_in]
        outputs = spec.widths[stage] * {"basic": 1, "bottleneck": 4}[spec.block]
        pooled = spec.antialias != "none" and stride > 1
        before = 1 if spec.order in ("pre", "arcface") else 0  # norms before a convolution
        y = x
        if spec.order == "arcface":
            y = self.norm(f"{name}.bn1", x)
        if spec.order == "pre" and f"{name}.bn1.weight" in self.state:
            y = self.act(f"{name}.act1", self.norm(f"{name}.bn1", x))
            # v2, appendix: the paths of a stage's first block part after the activation
            identity = stride == 1 and x.shape[1] == outputs and spec.shortcut != "C"
            x = y if first and not identity else x
        for i in range(1, steps + 1):
            groups = spec.groups if (steps, i) == (3, 2) else 1
            y = self.conv(
                f"{name}.conv{i}", y, stride if i == strided and not pooled else 1, groups
            )
            if i == strided and pooled and spec.antialias == "max":
                y = self.smooth(y, stride)
            if spec.order != "pre" or i < steps:
                y = self.norm(f"{name}.bn{i + before}", y)
            if spec.order == "inner" or i < steps:
                y = self.act(f"{name}.act{i + before}", y)
            if i == strided and pooled and spec.antialias != "max":
                y = self.smooth(y, stride)
        if spec.attention != "none":
            y = self.gate(f"{name}.se", y)
        y = y + self.shortcut(f"{name}.downsample", x, outputs, stride)
        return self.act(f"{name}.act{steps}", y) if spec.order == "post" else y

    def shortcut(self, name: str, x: Tensor, outputs: int, stride: int) -> Tensor | float:
        option, missing = self.spec.shortcut, outputs - x.shape[1]
        if option == "none":
            return 0.0
        if option != "C" and stride == 1 and not missing:
            return x
        if option == "A" or (option == "slim" and not missing):
            x = x[:, :, ::stride, ::stride]
            shape = (len(x), missing, *x.shape[2:])
            zeros = torch.zeros(shape, dtype=x.dtype).split(
                [missing // 2, missing - missing // 2], 1
            )
            return torch.cat([zeros[0], x, zeros[1]], 1)
        number = 0
        if option == "D":
            pool = self.smooth if self.spec.antialias == "max" else mean
            x, stride, number = pool(x, stride) if stride > 1 else x, 1, 1
        x = self.conv(f"{name}.{number}", x, stride)
        bare = self.spec.order == "pre" or self.spec.bare_projection
        return x if bare else self.norm(f"{name}.{number + 1}", x)

    def head(self, x: Tensor) -> Tensor:
        head = self.spec.head
        x = {"avg": x.mean((2, 3)), "max": x.amax((2, 3)), "all": x.flatten(1)}[head.pool]
        if not self.spec.num_classes:
            return x
        x = x @ self.state["fc.weight"].T + (self.state["fc.bias"] if head.bias else 0.0)
        return self.norm("features", x * head.scale) if head.norm else x * head.scale


def padded(x: Tensor, kernel: int, stride: int, tf: bool = False, value: float = 0.0) -> Tensor:
    """Pad to ⌈side / stride⌉ windows, the first about the first pixel, or as TensorFlow does."""
    amounts: list[int] = []
    for side in (x.shape[3], x.shape[2]):
        needed = (-(-side // stride) - 1) * stride + kernel - side
        before = max(needed, 0) // 2 if tf else (kernel - 1) // 2
        amounts += [before, needed - before]
    return F.pad(x, amounts, value=value)


def windows(x: Tensor, kernel: int, stride: int) -> Tensor:
    return x.unfold(2, kernel, stride).unfold(3, kernel, stride).flatten(4)


def maximum(
    x: Tensor, kernel: int, stride: int, tf: bool = False, border: float = -torch.inf
) -> Tensor:
    if kernel % 2:  # an even window has no border to pad
        x = padded(x, kernel, stride, tf, border)
    return windows(x, kernel, stride).amax(-1)


def mean(x: Tensor, stride: int) -> Tensor:
    """Return the mean of 2×2 pixels, as far as they are there."""
    return windows(padded(x, 2, stride, value=torch.nan), 2, stride).nanmean(-1)


def blur(x: Tensor, stride: int) -> Tensor:
    weights = torch.tensor([1, 2, 1, 2, 4, 2, 1, 2, 1], dtype=x.dtype) / 16
    return windows(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, stride) @ weights


# -- comparing ------------------------------------------------------------------------------------


class Watched(dict[str, Tensor]):
    """A state dict that remembers what was read."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__(state)
        self.unread = {name for name in state if not name.endswith("num_batches_tracked")}

    def __getitem__(self, name: str) -> Tensor:
        self.unread.discard(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.unread.discard(name)
        return super().get(name, default)


@given(spec=st.from_type(ResNetSpec), wider=st.integers(0, 3))
@settings(max_examples=120)
@torch.no_grad()
def test_every_mix_equals_the_reference(spec: ResNetSpec, wider: int, draw: Draw) -> None:
    assume(spec.image_size <= 40)
    height, width = spec.image_size, spec.image_size + (spec.head.pool != "all") * wider
    net = ResNet(spec).double().eval()
    draw(net)
    generator = torch.Generator().manual_seed(1)
    shape = (2, spec.in_channels, height, width)
    x = torch.randn(shape, dtype=torch.float64, generator=generator)
    state = Watched(net.state_dict())
    expected = Reference(spec, state)(x)
    assert not state.unread  # it could be anything, and the two would still agree
    found = net.forward_stages(x) | {"logits": net(x)}
    assert list(found) == list(expected)
    for name, value in found.items():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-9 * scale, msg=name)
