"""Names and layouts of other projects: there and back, recognition, and what does not fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from resnets.errors import UserError
from resnets.layers import COUNTER
from resnets.nn import ResNet
from resnets.spec import ResNetSpec
from resnets.weights.dialects import DIALECTS, Dialect
from resnets.weights.maps import recognise, to_ours, to_theirs
from resnets.zoo import ZOO, get_spec

ROWS = [row.spec for row in ZOO.values()]


def shallow(spec: ResNetSpec) -> ResNetSpec:
    """Return a row with few blocks, in which every name of its dialects occurs."""
    return spec.replace(depths=tuple(min(depth, 2) for depth in spec.depths))


def random_state(spec: ResNetSpec) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.zeros((), dtype=torch.int64)
        if name.endswith(COUNTER)
        else torch.randn(shape, generator=generator)
        for name, shape in spec.plan.tensors().items()
    }


PAIRS = [
    pytest.param(dialect, name, id=f"{dialect.name}-{name}")
    for dialect in DIALECTS.values()
    for name in (
        *("resnet18", "resnet50", "resnet50d", "seresnet50", "ecaresnet50t", "resnetrs50"),
        *("resnetv2_50", "resnetv2_50d", "resnetv2_50x1_bit", "keras_resnet50", "keras_resnet50v2"),
        *("resnet20", "resnet8", "resnet9", "wrn_16_8", "iresnet18", "resnet50_gn", "resnet164_v2"),
    )
    if dialect.speaks(get_spec(name))
]


@pytest.mark.parametrize(("dialect", "name"), PAIRS)
def test_there_and_back_is_the_same_bits(dialect: Dialect, name: str) -> None:
    spec = shallow(get_spec(name)).replace(num_classes=7)
    state = random_state(spec)
    theirs = to_theirs(dialect, spec, state)
    counters = sum(name.endswith(COUNTER) for name in state)
    assert len(theirs) == len(state) - (counters if dialect.layout == "keras" else 0)
    ours = to_ours(dialect, spec, theirs, "x")
    assert set(ours) == set(state)
    assert all(torch.equal(value, state[name]) for name, value in ours.items())


@pytest.mark.parametrize(
    ("dialect", "row", "ours", "theirs"),
    [
        ("torchvision", "resnet50", "layer1.0.downsample.1.bias", "layer1.0.downsample.1.bias"),
        ("torchvision", "resnet50d", "conv1.3.weight", "conv1.3.weight"),
        ("timm-v2", "resnetv2_50", "layer3.2.bn2.weight", "stages.2.blocks.2.norm2.weight"),
        ("timm-v2", "resnetv2_50d", "conv1.6.weight", "stem.conv3.weight"),
        ("timm-v2", "resnetv2_50d", "layer1.0.downsample.1.weight",
         "stages.0.blocks.0.downsample.conv.weight"),
        ("timm-v2", "resnetv2_50", "fc.bias", "head.fc.bias"),
        ("transformers", "resnet18", "bn1.running_var",
         "resnet.embedder.embedder.normalization.running_var"),
        ("transformers", "resnet50", "layer4.0.downsample.0.weight",
         "resnet.encoder.stages.3.layers.0.shortcut.convolution.weight"),
        ("transformers", "resnet50", "layer2.1.bn3.weight",
         "resnet.encoder.stages.1.layers.1.layer.2.normalization.weight"),
        ("transformers-bit", "resnetv2_50x1_bit", "layer2.0.bn1.bias",
         "bit.encoder.stages.1.layers.0.norm1.bias"),
        ("cifar", "resnet20", "fc.weight", "linear.weight"),
        ("cifar", "resnet18_small", "layer2.0.downsample.0.weight", "layer2.0.shortcut.0.weight"),
        ("wrn", "wrn_28_10", "layer2.0.downsample.0.weight", "block2.layer.0.convShortcut.weight"),
        ("wrn", "wrn_28_10", "bn.weight", "bn1.weight"),
        ("arcface", "iresnet50", "layer1.0.act2.weight", "layer1.0.prelu.weight"),
        ("arcface", "iresnet50", "bn.weight", "bn2.weight"),
        ("keras-applications", "keras_resnet50", "layer1.2.bn3.running_mean",
         "conv2_block3_3_bn/moving_mean"),
        ("keras-applications", "keras_resnet50", "layer4.0.downsample.0.bias",
         "conv5_block1_0_conv/bias"),
        ("keras-applications-v2", "keras_resnet50v2", "layer2.1.bn1.weight",
         "conv3_block2_preact_bn/gamma"),
        ("keras-applications-v2", "keras_resnet50v2", "layer2.1.bn2.weight",
         "conv3_block2_1_bn/gamma"),
        ("keras-numbered", "resnet8", "layer2.0.downsample.0.weight", "conv2d_5/kernel"),
        ("keras-numbered", "resnet8", "layer3.0.bn2.bias", "batch_normalization_6/beta"),
        ("keras", "seresnet50", "layer1.0.se.fc1.weight", "layer1_0_se_fc1/kernel"),
    ],
)  # fmt: skip
def test_names(dialect: str, row: str, ours: str, theirs: str) -> None:
    assert DIALECTS[dialect].tensors(get_spec(row))[ours][0] == theirs


@pytest.mark.parametrize(
    ("row", "dialect", "also"),
    [
        ("resnet50", "torchvision", ("resnet50_v1", "resnetaa50", "resnetblur50")),
        ("resnet50", "transformers", ("resnet50_v1",)),
        ("resnet101s", "torchvision", ()),
        ("wide_resnet101_2", "torchvision", ()),
        ("resnetv2_101x1_bit", "timm-v2", ()),
        ("keras_resnet101v2", "keras-applications-v2", ()),
        ("resnet56", "cifar", ("plain56",)),
        ("resnet50_gn", "torchvision", ()),
        ("iresnet34", "arcface", ()),
        ("wrn_40_4", "wrn", ()),
    ],
)
def test_rows_are_recognised(row: str, dialect: str, also: tuple[str, ...]) -> None:
    spec = get_spec(row).replace(num_classes=12, in_channels=2)
    with torch.device("meta"):
        state = ResNet(spec).state_dict()
    match = recognise(to_theirs(DIALECTS[dialect], spec, state), "x", ROWS)
    assert (match.spec, match.dialect.name, match.also) == (spec, dialect, also)


def test_weights_without_a_classifier_give_a_network_without_one() -> None:
    spec = get_spec("resnet20")
    state = {k: v for k, v in random_state(spec).items() if not k.startswith("fc.")}
    assert recognise(state, "x", [spec]).spec.num_classes == 0


def test_a_mismatch_lists_what_is_missing_extra_and_of_another_shape() -> None:
    spec = get_spec("resnet20")
    state = random_state(spec)
    del state["bn1.weight"]
    state["layer9.weight"] = torch.zeros(2)
    state["conv1.weight"] = torch.zeros(16, 3, 5, 5)
    with pytest.raises(UserError) as caught:
        recognise(state, "file.pth", ROWS)
    message = str(caught.value)
    assert message.startswith("file.pth: the weights do not fit resnet20 (torchvision)")
    for part in ("missing: bn1.weight;", "extra: layer9.weight;", "shape: conv1.weight [16, 3, 5,"):
        assert part in message


def test_old_files_without_counters_fit() -> None:
    spec = get_spec("resnet20")
    state = {k: v for k, v in random_state(spec).items() if not k.endswith(COUNTER)}
    assert recognise(state, "x", [spec]).spec == spec
