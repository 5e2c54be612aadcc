"""Rows that no peer has: each kind written out as its source has it, without a look at the spec."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from resnets.nn import ResNet
from resnets.spec import ResNetSpec
from resnets.zoo import ZOO, get_spec


class Weights:
    """A state dict: layers by the names of their tensors, in evaluation mode."""

    def __init__(self, state: dict[str, Tensor], eps: float) -> None:
        self.state, self.eps = state, eps
        self.unread = {name for name in state if not name.endswith("num_batches_tracked")}

    def get(self, name: str) -> Tensor:
        self.unread.discard(name)
        return self.state[name]

    def blocks(self) -> Iterator[tuple[str, int, int]]:
        """Yield name, stage and number of every block, from 1."""
        names = [name.removesuffix(".conv1.weight") for name in self.state]
        for name in names:
            parts = name.removeprefix("layer").split(".")
            if len(parts) == 2 and all(part.isdecimal() for part in parts):
                yield name, int(parts[0]), int(parts[1]) + 1

    def conv(
        self, name: str, x: Tensor, stride: int = 1, groups: int = 1, bias: bool = False
    ) -> Tensor:
        kernel = self.get(f"{name}.weight")
        shift = self.get(f"{name}.bias") if bias else None
        return F.conv2d(x, kernel, shift, stride, (kernel.shape[-1] - 1) // 2, groups=groups)

    def keras_conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        """TensorFlow's 'same' padding and a bias, for kernels not smaller than the stride."""
        kernel = self.get(f"{name}.weight")
        for axis in (2, 3):
            rest = x.shape[axis] % stride or stride
            missing = max(kernel.shape[axis] - rest, 0)
            ends = [0, 0, missing // 2, missing - missing // 2]
            x = F.pad(x, ends if axis == 2 else ends[2:])
        return F.conv2d(x, kernel, self.get(f"{name}.bias"), stride)

    def bn(self, name: str, x: Tensor) -> Tensor:
        kinds = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(self.get(f"{name}.{kind}") for kind in kinds), eps=self.eps)

    def fc(self, x: Tensor) -> Tensor:
        return F.linear(x, self.get("fc.weight"), self.get("fc.bias"))


def pad(x: Tensor, like: Tensor) -> Tensor:
    """Option A: zeros on both sides of the channels, and every other pixel."""
    stride = x.shape[3] // like.shape[3]
    more = like.shape[1] - x.shape[1]
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, more // 2, more - more // 2))


def stem(net: Weights, x: Tensor, small: bool, bare: bool = False) -> Tensor:
    x = net.conv("conv1", x, 1 if small else 2)
    x = x if bare else net.bn("bn1", x).relu()
    return x if small else F.max_pool2d(x, 3, 2, 1)


def post(
    net: Weights,
    x: Tensor,
    small: bool = False,
    option: str = "B",
    early: bool = False,
    groups: int = 1,
) -> Tensor:
    """He et al. 2015; `early` has the stride of a bottleneck in its first convolution."""
    x = stem(net, x, small)
    for name, stage, number in net.blocks():
        stride = 2 if stage > 1 and number == 1 else 1
        if f"{name}.conv3.weight" in net.state:
            y = net.bn(f"{name}.bn1", net.conv(f"{name}.conv1", x, stride if early else 1)).relu()
            y = net.conv(f"{name}.conv2", y, 1 if early else stride, groups)
            y = net.conv(f"{name}.conv3", net.bn(f"{name}.bn2", y).relu())
            y = net.bn(f"{name}.bn3", y)
        else:
            y = net.bn(f"{name}.bn1", net.conv(f"{name}.conv1", x, stride)).relu()
            y = net.bn(f"{name}.bn2", net.conv(f"{name}.conv2", y))
        if option == "plain":
            x = y.relu()
        elif option == "C" or (option == "B" and x.shape != y.shape):
            x = net.conv(f"{name}.downsample.0", x, stride)
            x = (y + net.bn(f"{name}.downsample.1", x)).relu()
        else:
            x = (y + pad(x, y)).relu()
    return net.fc(x.mean((2, 3)))


def pre(
    net: Weights,
    x: Tensor,
    small: bool = False,
    option: str = "B",
    early: bool = False,
    bare: bool = False,
) -> Tensor:
    """He et al. 2016; `bare` stems leave norm and activation to the first block."""
    x = stem(net, x, small, bare)
    for name, stage, number in net.blocks():
        stride = 2 if stage > 1 and number == 1 else 1
        opening = (stage, number) == (1, 1) and not bare
        a = x if opening else net.bn(f"{name}.bn1", x).relu()
        if f"{name}.conv3.weight" in net.state:
            y = net.bn(f"{name}.bn2", net.conv(f"{name}.conv1", a, stride if early else 1)).relu()
            y = net.bn(f"{name}.bn3", net.conv(f"{name}.conv2", y, 1 if early else stride)).relu()
            y = net.conv(f"{name}.conv3", y)
        else:
            y = net.bn(f"{name}.bn2", net.conv(f"{name}.conv1", a, stride)).relu()
            y = net.conv(f"{name}.conv2", y)
        if x.shape == y.shape:
            x = x + y
        else:
            x = y + (pad(a, y) if option == "A" else net.conv(f"{name}.downsample.0", a, stride))
    return net.fc(net.bn("bn", x).relu().mean((2, 3)))


def iresnet(net: Weights, x: Tensor) -> Tensor:
    """Deng et al. 2018, arXiv:1801.07698, section 3.1 and its code."""
    x = F.prelu(net.bn("bn1", net.conv("conv1", x)), net.get("act1.weight"))
    for name, _, number in net.blocks():
        stride = 2 if number == 1 else 1
        y = net.bn(f"{name}.bn2", net.conv(f"{name}.conv1", net.bn(f"{name}.bn1", x)))
        y = net.conv(f"{name}.conv2", F.prelu(y, net.get(f"{name}.act2.weight")), stride)
        if number == 1:
            x = net.bn(f"{name}.downsample.1", net.conv(f"{name}.downsample.0", x, stride))
        x = net.bn(f"{name}.bn3", y) + x
    return net.bn("features", net.fc(net.bn("bn", x).flatten(1)))


def resnet9(net: Weights, x: Tensor) -> Tensor:
    """DAWNBench's entry of David Page: prep, three layers, residuals in the first and third."""

    def unit(prefix: str, number: int, x: Tensor) -> Tensor:
        return net.bn(f"{prefix}bn{number}", net.conv(f"{prefix}conv{number}", x)).relu()

    x = unit("", 1, x)
    for layer, residual in (("layer1", True), ("layer2", False), ("layer3", True)):
        x = F.max_pool2d(unit(f"{layer}.entry.", 1, x), 2)
        if residual:
            x = x + unit(f"{layer}.0.", 2, unit(f"{layer}.0.", 1, x))
    return 0.125 * F.linear(x.amax((2, 3)), net.get("fc.weight"))


def resnet8_fast(net: Weights, x: Tensor) -> Tensor:
    """Its own description: basic blocks that pool, before the norm and before the projection."""
    x = net.conv("conv1", x, bias=True).relu()
    for block in ("layer1.0", "layer2.0", "layer3.0"):
        y = net.bn(f"{block}.bn1", F.max_pool2d(net.conv(f"{block}.conv1", x), 2)).relu()
        y = net.bn(f"{block}.bn2", net.conv(f"{block}.conv2", y))
        x = net.conv(f"{block}.downsample.1", F.max_pool2d(x, 2))
        x = (y + net.bn(f"{block}.downsample.2", x)).relu()
    return F.linear(x.amax((2, 3)), net.get("fc.weight")) / 9


def resnet8(net: Weights, x: Tensor) -> Tensor:
    """MLPerf Tiny's keras_model.py."""
    x = net.bn("bn1", net.keras_conv("conv1", x)).relu()
    for name, stage, _ in net.blocks():
        stride = 1 if stage == 1 else 2
        y = net.bn(f"{name}.bn1", net.keras_conv(f"{name}.conv1", x, stride)).relu()
        y = net.bn(f"{name}.bn2", net.keras_conv(f"{name}.conv2", y))
        x = x if stage == 1 else net.keras_conv(f"{name}.downsample.0", x, stride)
        x = (x + y).relu()
    return net.fc(x.mean((2, 3)))


def tutorial_keras(net: Weights, x: Tensor) -> Tensor:
    x = net.keras_conv("conv1", x, 2)
    for name, _, _ in net.blocks():
        y = net.bn(f"{name}.bn1", net.keras_conv(f"{name}.conv1", x, 2)).relu()
        y = net.bn(f"{name}.bn2", net.keras_conv(f"{name}.conv2", y))
        x = y + net.keras_conv(f"{name}.downsample.0", x, 2)
    return net.fc(x.mean((2, 3)))


def tutorial_pytorch(net: Weights, x: Tensor) -> Tensor:
    y = net.bn("layer1.0.bn1", net.conv("layer1.0.conv1", x)).relu()
    y = net.bn("layer1.0.bn2", net.conv("layer1.0.conv2", y))
    x = net.bn("layer1.0.downsample.1", net.conv("layer1.0.downsample.0", x))
    return (x + y).relu().mean((2, 3))


Draw = Callable[[nn.Module], None]
Forward = Callable[[Weights, Tensor], Tensor]
FORWARDS: tuple[tuple[str, Forward], ...] = (  # the first pattern that fits a name
    ("resnet*_v1", partial(post, early=True)),
    ("resnet34_a", partial(post, option="A")),
    ("resnet34_c", partial(post, option="C")),
    *((f"plain{depth}", partial(post, option="plain")) for depth in (18, 34, 50, 101, 152)),
    ("plain*", partial(post, option="plain", small=True)),
    ("resnet110_v2", partial(pre, small=True, option="A")),
    ("resnet164_v2", partial(pre, small=True, early=True)),
    ("resnet1001_v2", partial(pre, small=True, early=True)),
    ("resnet*_v2", pre),
    ("wrn_*", partial(pre, small=True, bare=True)),
    ("preact_resnet18", partial(pre, small=True, bare=True)),
    ("resnext29_8x64d", partial(post, small=True, groups=8)),
    ("resnext29_16x64d", partial(post, small=True, groups=16)),
    ("resnet*_small", partial(post, small=True)),
    ("iresnet*", iresnet),
    ("resnet9", resnet9),
    ("resnet8_fast", resnet8_fast),
    ("resnet8", resnet8),
    ("tutorial_keras", tutorial_keras),
    ("tutorial_pytorch", tutorial_pytorch),
    ("resnet*", partial(post, small=True, option="A")),
)


def forward_of(name: str) -> Forward:
    return next(forward for pattern, forward in FORWARDS if fnmatchcase(name, pattern))


def alone() -> dict[str, ResNetSpec]:
    """Return the rows that no peer has, by name: cut to two blocks a stage, equal ones once.

    keras.applications' are compared with it.
    """
    peers = {*timm.list_models(), *torchvision.models.list_models()}
    kinds: dict[tuple[ResNetSpec, str], str] = {}
    for name, row in ZOO.items():
        if name not in peers and not name.startswith("keras_"):
            depths = tuple(min(depth, 2) for depth in row.spec.depths)
            side = {32: 16, 112: 32, 224: 64}[row.spec.image_size]
            spec = row.spec.replace(name="", depths=depths, image_size=side)
            kinds.setdefault((spec, repr(forward_of(name))), name)
    return {name: spec for (spec, _), name in kinds.items()}


def compare(spec: ResNetSpec, forward: Forward, draw: Draw) -> None:
    net = ResNet(spec).double().eval()
    draw(net)
    weights = Weights(net.state_dict(), 1e-3 if spec.padding == "tf" else 1e-5)
    shape = (2, 3, spec.image_size, spec.image_size)
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = forward(weights, x)
    assert not weights.unread
    scale = float(expected.abs().max())
    torch.testing.assert_close(net(x), expected, rtol=1e-9, atol=1e-9 * scale)


ALONE = alone()


@pytest.mark.parametrize(("name", "spec"), ALONE.items(), ids=ALONE)
@torch.no_grad()
def test_rows_are_what_their_sources_say(name: str, spec: ResNetSpec, draw: Draw) -> None:
    compare(spec, forward_of(name), draw)


@pytest.mark.parametrize("name", ["resnet56", "resnet164_v2"])
@torch.no_grad()
def test_at_full_depth(name: str, draw: Draw) -> None:
    compare(get_spec(name).replace(image_size=8), forward_of(name), draw)


def test_every_way_of_writing_is_used() -> None:
    written = {repr(forward) for _, forward in FORWARDS}
    assert {repr(forward_of(name)) for name in ALONE} == written
