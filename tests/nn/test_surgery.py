"""Tricks on built networks."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from resnets.errors import UserError
from resnets.nn import ResNet
from resnets.nn.blocks import Block
from resnets.nn.surgery import (
    antialiased,
    features,
    inflate,
    pass_through,
    set_output_stride,
    whiten_stem,
    zero_init_residual,
)
from resnets.spec import ResNetSpec, Stem
from resnets.zoo import get_spec

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


@pytest.mark.parametrize("order", ["open", "arcface"])
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


# -- feature maps ---------------------------------------------------------------------------------


def test_features_are_the_maps_of_the_stages_that_were_asked_for() -> None:
    net = ResNet(TINY).eval()
    x = torch.randn(2, 3, 12, 12)
    maps = net.forward_stages(x)
    chosen = features(net, ["layer2", "stem"])
    for found, name in zip(chosen(x), ("layer2", "stem"), strict=True):
        assert torch.equal(found, maps[name])
    assert [info["num_chs"] for info in chosen.feature_info] == [8, 4]
    assert len(features(net)(x)) == 3
    with pytest.raises(UserError, match="no stage 'layer3'; did you mean"):
        features(net, ["layer3"])


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet50d", "resnext50_32x4d"])
@pytest.mark.parametrize("stride", [8, 16, 32])
@torch.no_grad()
def test_an_output_stride_is_timms(name: str, stride: int) -> None:
    torch.manual_seed(0)
    spec = get_spec(name).replace(depths=(1, 2, 2, 2), num_classes=2)
    net = ResNet(spec).double().eval()
    peer = timm.create_model(name, output_stride=stride, layers=spec.depths, num_classes=2)
    peer.double().eval().load_state_dict(net.state_dict())
    set_output_stride(net, stride)
    x = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    found = net.forward_features(x)
    assert found.shape[2:] == (64 // stride, 96 // stride)
    torch.testing.assert_close(found, peer.forward_features(x), rtol=1e-9, atol=1e-12)
    assert [info["reduction"] for info in net.feature_info][-1] == stride
    assert torch.equal(net.forward_stages(x)["layer4"], found)


def test_a_stride_that_the_network_does_not_pass() -> None:
    with pytest.raises(UserError, match=r"has strides \[1, 1, 2\], and none of 4"):
        set_output_stride(ResNet(TINY), 4)


@pytest.mark.parametrize("name", ["resnet8", "resnet9", "keras_resnet50v2", "resnetblur18"])
def test_strides_of_other_kinds_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="not of the kind that dilation can replace"):
        set_output_stride(ResNet(get_spec(name)), 4)


def test_a_changed_network_is_not_changed_again() -> None:
    net = ResNet(get_spec("resnet18"))
    set_output_stride(net, 16)
    for change in (
        lambda: set_output_stride(net, 8),
        lambda: inflate(net),
        lambda: antialiased(net),
    ):
        with pytest.raises(UserError, match="its output stride was changed to 16"):
            change()


def test_a_branch_that_ends_in_an_activation_is_not_put_to_sleep() -> None:
    for attention in ("none", "se"):
        net = ResNet(TINY.replace(order="inner", attention=attention))
        zero_init_residual(net)
        net(torch.randn(4, 3, 12, 12)).square().sum().backward()
        assert all(block.conv1.weight.grad.abs().max() > 0 for block in blocks(net))


@torch.no_grad()
def test_a_plain_net_and_option_a_take_an_output_stride() -> None:
    """What a value of the map sees stays the same: every second one is the strided net's."""
    x = torch.randn(1, 3, 24, 24)
    for shortcut in ("A", "none"):
        net = ResNet(TINY.replace(shortcut=shortcut)).eval()
        strided = net.forward_features(x)
        set_output_stride(net, 1)
        dense = net.forward_features(x)
        assert dense.shape[2:] == (24, 24)
        step = 24 // strided.shape[2]
        torch.testing.assert_close(dense[..., ::step, ::step], strided, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_antialiased_keeps_the_weights_and_shifts_less() -> None:
    torch.manual_seed(0)
    net = ResNet(get_spec("resnet18").replace(num_classes=3)).eval()
    smooth = antialiased(net)
    assert smooth.spec.antialias == "blur"
    assert not smooth.training
    for name, value in smooth.state_dict().items():
        assert torch.equal(value, net.state_dict()[name])
    x = torch.randn(1, 3, 65, 65)
    here, there = x[..., :64], x[..., 1:]

    def shift(any_net: ResNet) -> float:
        before, after = any_net(here), any_net(there)
        return float((before - after).norm() / before.norm())

    assert shift(smooth) < shift(net)


# -- inflation ------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_still_video_answers_as_its_photo() -> None:
    torch.manual_seed(0)
    net = ResNet(get_spec("resnet26").replace(num_classes=3)).double().eval()
    x = torch.randn(2, 3, 40, 40, dtype=torch.float64)
    still = x[:, :, None].expand(-1, -1, 5, -1, -1)
    torch.testing.assert_close(inflate(net, 3, "centre")(still), net(x), rtol=1e-9, atol=1e-12)
    one = inflate(net, 1)
    assert one.conv1.weight.shape == (64, 3, 1, 7, 7)
    torch.testing.assert_close(one(still), net(x), rtol=1e-9, atol=1e-12)
    # The mean is exact where every kernel finds all its frames: in the middle of a long video.
    middle = inflate(net, 3).conv1(still)[:, :, 2]
    torch.testing.assert_close(middle, net.conv1(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"frames": 2}, "frames=2: an odd number"),
        ({}, {"mode": "first"}, "mode='first': mean or centre"),
        ({"shortcut": "A"}, {}, "no inflation of a PadShortcut"),
        ({"attention": "eca"}, {}, "no inflation of its attention"),
        ({"attention": "se"}, {}, "no inflation of its attention"),
    ],
)
def test_what_cannot_be_inflated(
    changes: dict[str, str], options: dict[str, object], message: str
) -> None:
    net = ResNet(TINY.replace(**changes))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(UserError, match=message):
        inflate(net, **options)  # type: ignore[arg-type]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


# -- how a network begins -------------------------------------------------------------------------


def patches(photos: Tensor) -> Tensor:
    return torch.nn.functional.unfold(photos, 2, stride=2).transpose(1, 2).reshape(-1, 12)


def test_a_whitened_stem_puts_out_uncorrelated_values_of_one_size() -> None:
    net = ResNet(get_spec("resnet8_fast"))
    smooth = torch.randn(64, 3, 32, 32).cumsum(2).cumsum(3)  # neighbours are alike
    whiten_stem(net, smooth)
    filters = net.conv1.weight.detach().reshape(24, 12)
    assert torch.equal(filters[:12], -filters[12:])
    answers = patches(smooth) @ filters[:12].T
    second = answers.T @ answers / len(answers)
    assert torch.allclose(second, torch.eye(12), atol=0.02)
    plain = patches(smooth).T @ patches(smooth) / len(answers)
    assert (plain / plain.diag().mean() - torch.eye(12)).abs().max() > 0.5


def test_a_stem_that_cannot_be_whitened_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 54, and the first convolution of resnet18_small"):
        whiten_stem(ResNet(get_spec("resnet18").with_small_stem()), torch.randn(8, 3, 32, 32))


def test_kernels_begin_by_passing_their_input_on() -> None:
    net = ResNet(get_spec("resnet8_fast"))
    kernel = net.layer2[0].conv1
    before = kernel.weight.detach().clone()
    pass_through(net)
    x = torch.randn(2, 64, 5, 5)
    assert torch.allclose(kernel(x)[:, :64], x, atol=1e-6)
    assert torch.equal(kernel.weight[64:], before[64:])
    narrowing = torch.nn.Conv2d(8, 4, 3, padding=1, bias=False)
    pass_through(torch.nn.Sequential(narrowing))
    assert torch.allclose(narrowing(x[:, :8]), x[:, :4], atol=1e-6)
