"""The blocks, one by one: the shortcut by hand, the addition, and where v2 activates first."""

from __future__ import annotations

import operator

import pytest
import torch
from torch import Tensor, fx, nn

from resnets.nn import ResNet
from resnets.nn.blocks import Block, PadShortcut, build_block, conv
from resnets.spec import ConvPlan, ResNetSpec, Stem
from resnets.zoo import get_spec

TINY = ResNetSpec("tiny", (2, 2), (4, 8), stem=Stem(4, 3, 1, False), num_classes=5, image_size=12)
PRE = TINY.replace(order="pre")


def built_blocks(spec: ResNetSpec, seed: int = 0) -> dict[str, nn.Module]:
    """Return every block in evaluation mode, with norms that do something."""
    torch.manual_seed(seed)
    blocks = {}
    for stage in spec.stages():
        for number, plan in enumerate(stage.blocks):
            block = build_block(plan).double().eval()
            for module in block.modules():
                if isinstance(module, nn.BatchNorm2d):
                    for value in (module.weight, module.bias, module.running_mean):
                        value.detach().normal_()
            blocks[f"{stage.name}.{number}"] = block
    return blocks


def signal(channels: int, size: int = 5) -> Tensor:
    return torch.randn(2, channels, size, size, dtype=torch.float64)


def zero(block: nn.Module) -> Block:
    """Make the residual branch F zero, whatever comes in."""
    assert isinstance(block, Block)
    last = list(block.branch().values())[-1]
    for value in last.parameters():
        value.detach().zero_()
    return block


# -- option A -------------------------------------------------------------------------------------


def test_option_a_by_hand() -> None:
    x = torch.arange(1.0, 19.0).reshape(1, 2, 3, 3)
    y = PadShortcut(2, 5, stride=2)(x)
    assert y.shape == (1, 5, 2, 2)
    assert torch.equal(y[0, 1], torch.tensor([[1.0, 3.0], [7.0, 9.0]]))
    assert torch.equal(y[0, 2], torch.tensor([[10.0, 12.0], [16.0, 18.0]]))
    assert not y[0, [0, 3, 4]].any()


def test_option_a_without_growth_only_subsamples() -> None:
    x = signal(3)
    assert torch.equal(PadShortcut(3, 3, stride=1)(x), x)
    assert torch.equal(PadShortcut(3, 3, stride=2)(x), x[:, :, ::2, ::2])


def test_option_a_has_no_parameters_and_lets_the_gradient_through() -> None:
    shortcut = PadShortcut(2, 6, stride=1)
    assert not list(shortcut.parameters())
    x = signal(2).requires_grad_()
    shortcut(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_option_a_cannot_drop_channels() -> None:
    with pytest.raises(ValueError, match="cannot take 4 channels to 2"):
        PadShortcut(4, 2, stride=1)


# -- composition ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_convolution_is_its_plan(kernel: int, stride: int) -> None:
    plan = ConvPlan(2, 3, kernel, stride)
    layer = conv(plan)
    assert layer.bias is None
    assert layer.weight.numel() == plan.params
    for size in (1, 4, 9):
        assert layer(torch.randn(1, 2, size, size)).shape == (1, 3, *[-(-size // stride)] * 2)


def additions(net: nn.Module) -> int:
    calls = (operator.add, operator.iadd, torch.add, "add", "add_")
    return sum(node.target in calls for node in fx.symbolic_trace(net).graph.nodes)


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet20", 9), ("resnet50", 16), ("resnet18_v2", 8), ("plain20", 0), ("plain50", 0)],
)
def test_one_addition_in_a_block_and_none_in_a_plain_net(name: str, count: int) -> None:
    with torch.device("meta"):
        net = ResNet(get_spec(name))
    assert additions(net) == count


def test_a_plain_net_is_the_residual_net_without_its_shortcuts() -> None:
    with torch.device("meta"):
        plain, residual = ResNet(get_spec("plain34")), ResNet(get_spec("resnet34"))
    names = [name for name in residual.state_dict() if "downsample" not in name]
    assert list(plain.state_dict()) == names


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("option", ["A", "B", "C"])
def test_a_post_activation_block_is_relu_of_x_plus_f(block: str, option: str) -> None:
    for name, module in built_blocks(TINY.replace(block=block, shortcut=option)).items():
        zero(module)
        x = signal(module.get_submodule("conv1").in_channels)
        expected = module.get_submodule("downsample")(x).relu()
        torch.testing.assert_close(module(x), expected, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_a_pre_activation_block_is_x_plus_f(block: str) -> None:
    # Depths 2: the second block of a stage has an identity shortcut and nothing after the sum.
    blocks = built_blocks(PRE.replace(block=block))
    for name in ("layer1.1", "layer2.1"):
        module = blocks[name]
        x = signal(module.get_submodule("conv1").in_channels)
        before, residual = x.clone(), module(x) - x
        assert residual.abs().max() > 0.1
        assert torch.equal(zero(module)(x), before), name
        assert torch.equal(x, before), name  # in-place layers work on copies only


def test_entry_shared_activates_before_the_paths_split() -> None:
    module = zero(built_blocks(PRE)["layer2.0"])
    x = signal(4)
    activated = module.bn1(x).relu()
    assert torch.equal(module(x), module.downsample(activated))


def test_entry_shared_holds_for_option_a_too() -> None:
    module = zero(built_blocks(PRE.replace(shortcut="A"))["layer2.0"])
    x = signal(4)
    assert torch.equal(module(x), PadShortcut(4, 8, 2)(module.bn1(x).relu()))


def test_entry_none_leaves_the_activation_to_the_stem() -> None:
    module = built_blocks(PRE)["layer1.0"]
    names = [name for name, _ in module.named_children()]
    assert names == ["conv1", "bn2", "act2", "conv2", "downsample"]
    x = signal(4)
    assert torch.equal(zero(module)(x), x)


def test_entry_branch_normalises_on_the_branch() -> None:
    module = built_blocks(PRE)["layer2.1"]
    x = signal(8)
    y = module.conv1(module.bn1(x).relu())
    expected = x + module.conv2(module.bn2(y).relu())
    torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("option", ["B", "C"])
def test_projections_of_v2_have_no_norm_and_those_of_v1_have_one(block: str, option: str) -> None:
    for order, kinds in {"pre": [nn.Conv2d], "post": [nn.Conv2d, nn.BatchNorm2d]}.items():
        spec = TINY.replace(order=order, block=block, shortcut=option)
        projections = [
            [type(layer) for layer in module.get_submodule("downsample")]
            for module in built_blocks(spec).values()
            if isinstance(module.get_submodule("downsample"), nn.Sequential)
        ]
        assert projections
        assert all(found == kinds for found in projections)


def test_the_branch_is_named_in_order_of_use() -> None:
    def branch(spec: ResNetSpec) -> list[str]:
        module = build_block(spec.stages()[0].blocks[1])
        assert isinstance(module, Block)
        return list(module.branch())

    assert branch(TINY) == ["conv1", "bn1", "act1", "conv2", "bn2"]
    assert branch(PRE) == ["bn1", "act1", "conv1", "bn2", "act2", "conv2"]
    assert branch(TINY.replace(block="bottleneck"))[-2:] == ["conv3", "bn3"]
