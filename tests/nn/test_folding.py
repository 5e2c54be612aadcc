"""Folded networks put out what they did, without the norms that could go."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnets.nn import ResNet
from resnets.nn.folding import fold_batchnorm
from resnets.nn.layers import StandardizedConv2d
from resnets.spec import Head, ResNetSpec, Stem

Draw = Callable[[nn.Module], None]
TINY = ResNetSpec("tiny", (2, 2), (4, 8), stem=Stem(4, 3, 1, "none"), num_classes=5, image_size=12)


@torch.no_grad()
def fold(spec: ResNetSpec, draw: Draw) -> ResNet:
    """Assert that folding changes no output, in float64, and return the folded network."""
    net = ResNet(spec).double().eval()
    draw(net)
    x = torch.randn(2, spec.in_channels, spec.image_size, spec.image_size).double()
    expected = net(x)
    held = {name: (value, value.clone()) for name, value in net.state_dict().items()}
    fold_batchnorm(net)
    scale = expected.abs().max().clamp(min=1e-3)
    assert float((net(x) - expected).abs().max() / scale) < 1e-12
    assert all(torch.equal(value, before) for value, before in held.values())
    return net


def norms(net: nn.Module) -> list[str]:
    return [name for name, module in net.named_modules() if isinstance(module, _BatchNorm)]


def test_every_row(row_spec: ResNetSpec, draw: Draw) -> None:
    net = fold(row_spec, draw)
    assert not any(isinstance(module, StandardizedConv2d) for module in net.modules())
    if row_spec.order == "post" and row_spec.shortcut != "none":
        left = [net.get_submodule(name) for name in norms(net)]
        assert all((norm.weight < 0).any() for norm in left)  # type: ignore[operator]
        assert not left or row_spec.antialias == "max"


@given(spec=st.from_type(ResNetSpec))
@settings(max_examples=60)
def test_networks_of_every_kind(spec: ResNetSpec, draw: Draw) -> None:
    fold(spec, draw)


def test_norms_before_a_convolution_stay(draw: Draw) -> None:
    net = fold(TINY.replace(order="pre"), draw)
    # Of two blocks the first has its norm before it or in the stem; bn2 follows conv1.
    assert norms(net) == ["layer1.1.bn1", "layer2.0.bn1", "layer2.1.bn1", "bn"]


def test_a_norm_behind_a_max_pool_goes_if_it_turns_no_sign(draw: Draw) -> None:
    spec = TINY.replace(antialias="max", shortcut="D")

    def positive(net: nn.Module) -> None:
        draw(net)
        for norm in net.modules():
            if isinstance(norm, _BatchNorm):
                norm.weight.abs_()

    def negative(net: nn.Module) -> None:
        positive(net)
        net.get_submodule("layer2.0.bn1").weight[0] = -0.5  # type: ignore[index, operator]

    assert not norms(fold(spec, positive))
    assert norms(fold(spec, negative)) == ["layer2.0.bn1"]


def test_a_scaled_head_with_a_norm(draw: Draw) -> None:
    net = fold(TINY.replace(head=Head("all", bias=False, scale=0.125, norm=True)), draw)
    assert not norms(net)
    assert net.fc.bias is not None


def test_in_single_precision_it_is_as_near_as_rounding(draw: Draw) -> None:
    net = ResNet(TINY).eval()
    draw(net)
    x = torch.randn(4, 3, 12, 12)
    with torch.no_grad():
        expected = net(x)
        fold_batchnorm(net)
        assert torch.allclose(net(x), expected, rtol=1e-5, atol=1e-5)


def test_a_network_in_training_has_no_constants_yet() -> None:
    with pytest.raises(ValueError, match=r"evaluation mode: net.eval\(\)"):
        fold_batchnorm(ResNet(TINY))
