"""The blocks, one by one: the addition, and where each order norms and activates."""

from __future__ import annotations

import operator

import pytest
import torch
from torch import Tensor, fx, nn

from resnets.nn import ResNet
from resnets.nn.blocks import Block, build_block, build_stage
from resnets.nn.layers import PadShortcut
from resnets.spec import ResNetSpec, Stem
from resnets.zoo import get_spec

TINY = ResNetSpec("tiny", (2, 2), (4, 8), stem=Stem(4, 3, 1, "none"), num_classes=5, image_size=12)
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


def inputs(block: nn.Module) -> int:
    """Return the channels that a block takes."""
    return int(block.get_submodule("conv1").in_channels)


def zero(block: nn.Module) -> Block:
    """Make the residual branch F zero, whatever comes in."""
    assert isinstance(block, Block)
    weighted = [layer for layer in block.branch().values() if list(layer.parameters())]
    for value in weighted[-1].parameters():
        value.detach().zero_()
    return block


def additions(net: nn.Module) -> int:
    calls = (operator.add, operator.iadd, torch.add, "add", "add_")
    return sum(node.target in calls for node in fx.symbolic_trace(net).graph.nodes)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet20", 9),
        ("resnet50", 16),
        ("resnet18_v2", 8),
        ("keras_resnet50v2", 16),
        ("iresnet18", 8),
        ("resnet9", 2),
        ("tutorial_keras", 5),
        ("tutorial_pytorch", 1),
        ("plain20", 0),
        ("plain50", 0),
    ],
)
def test_one_addition_in_a_block_and_none_in_a_plain_net(name: str, count: int) -> None:
    with torch.device("meta"):
        net = ResNet(get_spec(name).replace(padding="same"))  # tf's is arithmetic on the size
    assert additions(net) == count


def test_a_plain_net_is_the_residual_net_without_its_shortcuts() -> None:
    with torch.device("meta"):
        plain, residual = ResNet(get_spec("plain34")), ResNet(get_spec("resnet34"))
    names = [name for name in residual.state_dict() if "downsample" not in name]
    assert list(plain.state_dict()) == names


def test_a_stage_begins_with_its_entry() -> None:
    spec = TINY.replace(depths=(0, 1), entries=(Stem(6, 3, 1, "max2"), None))
    first, second = (build_stage(stage) for stage in spec.stages())
    assert [name for name, _ in first.named_children()] == ["entry"]
    assert [name for name, _ in second.named_children()] == ["0"]
    assert [name for name, _ in first.entry.named_children()] == ["conv1", "bn1", "act1", "maxpool"]
    assert first(torch.randn(2, 4, 7, 8)).shape == (2, 6, 3, 4)


# -- each order, with nothing in the branch -------------------------------------------------------


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("option", ["A", "B", "C", "D", "slim"])
def test_a_post_activation_block_is_relu_of_x_plus_f(block: str, option: str) -> None:
    for name, module in built_blocks(TINY.replace(block=block, shortcut=option)).items():
        zero(module)
        x = signal(inputs(module))
        expected = module.get_submodule("downsample")(x).relu()
        torch.testing.assert_close(module(x), expected, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("order", ["inner", "open", "arcface"])
@pytest.mark.parametrize("option", ["A", "B", "C", "D", "slim"])
def test_orders_that_do_not_activate_after_the_addition(order: str, option: str) -> None:
    for name, module in built_blocks(TINY.replace(order=order, shortcut=option)).items():
        x = signal(inputs(module))
        residual = module(x) - module.get_submodule("downsample")(x)
        assert residual.abs().max() > 0.1
        if order == "inner":  # activated within F
            assert residual.min() >= -1e-12
        expected = module.get_submodule("downsample")(x)
        assert torch.equal(zero(module)(x), expected), name


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_a_pre_activation_block_is_x_plus_f(block: str) -> None:
    # Depths 2: the second block of a stage has an identity shortcut and nothing after the sum.
    blocks = built_blocks(PRE.replace(block=block))
    for name in ("layer1.1", "layer2.1"):
        module = blocks[name]
        x = signal(inputs(module))
        before, residual = x.clone(), module(x) - x
        assert residual.abs().max() > 0.1
        assert torch.equal(zero(module)(x), before), name
        assert torch.equal(x, before), name  # in-place layers work on copies only


@pytest.mark.parametrize("kind", ["se", "eca"])
def test_attention_weighs_the_branch_and_not_the_shortcut(kind: str) -> None:
    module = built_blocks(TINY.replace(attention=kind))["layer1.1"]
    x = signal(4)
    f = x
    for layer in list(module.branch().values())[:-1]:
        f = layer(f)
    torch.testing.assert_close(module(x), (module.se(f) + x).relu(), rtol=1e-12, atol=1e-12)
    assert torch.equal(zero_norm(module)(x), x.relu())


def zero_norm(block: nn.Module) -> nn.Module:
    for value in block.get_submodule("bn2").parameters():
        value.detach().zero_()
    return block


# -- where v2 activates first ---------------------------------------------------------------------


@pytest.mark.parametrize("option", ["A", "B", "C", "D", "slim"])
def test_a_shared_activation_comes_before_the_paths_split(option: str) -> None:
    module = zero(built_blocks(PRE.replace(shortcut=option))["layer2.0"])
    x = signal(4)
    activated = module.bn1(x).relu()
    assert torch.equal(module(x), module.downsample(activated))
    if option == "A":
        assert torch.equal(module(x), PadShortcut(4, 8, 2)(activated))


def test_a_normed_stem_has_activated_for_the_first_block() -> None:
    module = built_blocks(PRE)["layer1.0"]
    names = [name for name, _ in module.named_children()]
    assert names == ["conv1", "bn2", "act2", "conv2", "downsample"]
    x = signal(4)
    assert torch.equal(zero(module)(x), x)


def test_after_a_bare_stem_the_first_block_activates_on_its_branch() -> None:
    bare = PRE.replace(stem=Stem(4, 3, 1, "none", norm=False, act=False))
    module = built_blocks(bare)["layer1.0"]
    assert next(iter(module.branch())) == "bn1"
    x = signal(4)
    assert torch.equal(zero(module)(x), x)


def test_other_blocks_norm_on_the_branch() -> None:
    module = built_blocks(PRE)["layer2.1"]
    x = signal(8)
    y = module.conv1(module.bn1(x).relu())
    expected = x + module.conv2(module.bn2(y).relu())
    torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("option", ["B", "C"])
@pytest.mark.parametrize("order", ["post", "pre", "arcface", "inner", "open"])
def test_projections_of_v2_have_no_norm_and_all_others_have_one(
    block: str, option: str, order: str
) -> None:
    spec = TINY.replace(order=order, block=block, shortcut=option)
    projections = [
        [type(layer) for layer in module.get_submodule("downsample")]
        for module in built_blocks(spec).values()
        if isinstance(module.get_submodule("downsample"), nn.Sequential)
    ]
    assert projections
    expected = [nn.Conv2d] if order == "pre" else [nn.Conv2d, nn.BatchNorm2d]
    assert all(found == expected for found in projections)
