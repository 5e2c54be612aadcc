"""Tricks on built networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from resnets.nn import ResNet
from resnets.nn.blocks import Block
from resnets.nn.surgery import zero_init_residual
from resnets.spec import ResNetSpec, Stem

TINY = ResNetSpec("tiny", (2, 2), (4, 8), stem=Stem(4, 3, 1, "none"), num_classes=5, image_size=12)


def blocks(net: nn.Module) -> list[Block]:
    return [module for module in net.modules() if isinstance(module, Block)]


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("training", [True, False])
def test_blocks_start_as_the_identity_on_activated_input(block: str, training: bool) -> None:
    net = ResNet(TINY.replace(block=block)).train(training)
    zero_init_residual(net)
    for module in blocks(net):
        x = torch.rand(2, module.conv1.in_channels, 6, 6)
        assert torch.equal(module(x), module.downsample(x).relu())
        if isinstance(module.downsample, nn.Identity):
            assert torch.equal(module(x), x)


@pytest.mark.parametrize("order", ["inner", "open", "arcface"])
@pytest.mark.parametrize("attention", ["none", "se", "eca"])
def test_blocks_of_other_orders_start_as_their_shortcut(order: str, attention: str) -> None:
    net = ResNet(TINY.replace(order=order, attention=attention))
    zero_init_residual(net)
    for module in blocks(net):
        x = torch.randn(2, module.conv1.in_channels, 6, 6)
        assert torch.equal(module(x), module.downsample(x))


def test_a_group_norm_is_a_norm() -> None:
    net = ResNet(TINY.replace(norm="group", widths=(32, 64), stem=Stem(32, 3, 1, "none")))
    zero_init_residual(net)
    assert not any(module.bn2.weight.any() for module in blocks(net))


def test_only_the_last_norm_of_a_branch_is_touched() -> None:
    net = ResNet(TINY)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    zero_init_residual(net)
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {f"layer{i}.{j}.bn2.weight" for i in (1, 2) for j in (0, 1)}


def test_the_first_step_reaches_the_gain_and_so_the_branch_wakes_up() -> None:
    net = ResNet(TINY)
    zero_init_residual(net)
    net(torch.randn(4, 3, 12, 12)).square().sum().backward()
    for module in blocks(net):
        assert module.bn2.weight.grad.abs().max() > 0
        assert module.bn2.weight.requires_grad


@pytest.mark.parametrize("changes", [{"order": "pre"}, {"shortcut": "none"}])
def test_other_kinds_are_left_alone(changes: dict[str, str]) -> None:
    net = ResNet(TINY.replace(**changes))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    zero_init_residual(net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
