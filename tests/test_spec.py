"""`ResNetSpec`: its plan and its arithmetic against built networks, its errors, and its JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.layers import Conv, Gate, Norm, Pool
from resnets.nn import ResNet
from resnets.plan import BlockPlan
from resnets.spec import CHOICES, IMAGENET_STEM, Head, ResNetSpec, Stem
from resnets.zoo import ZOO

Measure = Callable[[ResNetSpec, tuple[int, int]], Any]
SMALL = Stem(4, 3, 1, "none")
TINY = ResNetSpec("tiny", (1, 2), (4, 8), stem=SMALL, num_classes=5, image_size=12)
DEEP = TINY.replace(block="bottleneck")
specs = st.from_type(ResNetSpec)


# -- arithmetic -----------------------------------------------------------------------------------


@given(spec=specs, height=st.integers(0, 9), width=st.integers(0, 9))
@settings(max_examples=120)
def test_counts_and_shapes_equal_the_built_network(
    spec: ResNetSpec, height: int, width: int, measure: Measure
) -> None:
    fixed = spec.head.pool == "all"  # to photos of one size
    size = (spec.image_size,) * 2 if fixed else (spec.image_size + height, spec.image_size + width)
    built = measure(spec, size)
    assert spec.params() == built.params
    assert spec.weights() == built.weights
    assert spec.macs(size) == built.macs
    assert spec.activations(size) == built.activations
    assert spec.feature_shapes(size) == built.shapes
    assert spec.depth == built.depth
    assert list(spec.plan.tensors().items()) == built.tensors


@given(spec=specs, channels=st.integers(1, 5), classes=st.integers(0, 6))
@settings(max_examples=30)
def test_params_for_other_channels_and_classes(
    spec: ResNetSpec, channels: int, classes: int, measure: Measure
) -> None:
    channels = channels if spec.stem else spec.in_channels  # else the first block has to agree
    other = spec.replace(in_channels=channels, num_classes=classes)
    built = measure(other, (spec.image_size,) * 2)
    assert spec.params(channels, classes) == built.params


def test_every_choice_is_drawn() -> None:
    # What the strategy above leaves out would be left out by all tests that use it.
    seen: dict[str, set[Any]] = {name: set() for name in CHOICES}

    @given(spec=specs)
    @settings(max_examples=100, database=None, derandomize=True)
    def collect(spec: ResNetSpec) -> None:
        for name in seen:
            seen[name].add(getattr(spec, name))

    collect()
    assert seen == {name: set(choices) for name, choices in CHOICES.items()}


def test_counts_by_hand() -> None:
    stem, norm = 3 * 4 * 9, 2 * 4
    first = 2 * (4 * 4 * 9 + 2 * 4)
    second = (4 * 8 * 9 + 2 * 8) + (8 * 8 * 9 + 2 * 8) + (4 * 8 + 2 * 8)  # with a projection
    third = 2 * (8 * 8 * 9 + 2 * 8)
    assert TINY.params() == stem + norm + first + second + third + 8 * 5 + 5
    on_12 = 144 * (3 * 4 * 9 + 2 * 4 * 4 * 9)
    on_6 = 36 * (4 * 8 * 9 + 3 * 8 * 8 * 9 + 4 * 8)
    assert TINY.macs() == on_12 + on_6 + 8 * 5
    assert TINY.activations() == 144 * 3 * 4 + 36 * (4 * 8 + 8)
    assert TINY.depth == 2 + 2 * 3
    assert TINY.num_features == 8


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"bias": "all"}, 4 + 2 * 4 + 5 * 8),
        ({"bias": "unnormed"}, 0),
        ({"order": "pre"}, 2 * (4 + (4 + 8) + 2 * 8 + 8) - 2 * (2 * 4 + 3 * 8 + 2 * 8)),
        ({"order": "pre", "bias": "unnormed"}, -16 + 4 + 3 * 8),
        ({"bare_projection": True}, -2 * 8),
        ({"bare_projection": True, "bias": "unnormed"}, -8),
        ({"activation": "prelu"}, 4 + 2 * 4 + 4 * 8),
        ({"head": Head(bias=False)}, -5),
        ({"head": Head(norm=True)}, 2 * 5),
        ({"head": Head("all")}, (6 * 6 - 1) * 8 * 5),
        ({"shortcut": "A"}, -(4 * 8 + 2 * 8)),
        ({"shortcut": "C"}, (4 * 4 + 2 * 4) + (8 * 8 + 2 * 8)),
        ({"shortcut": "D"}, 0),
        ({"shortcut": "slim"}, 0),
        ({"shortcut": "slim", "widths": (4, 4), "strides": (1, 2)}, None),
        ({"order": "arcface"}, 2 * (4 + 4 + 8) + 2 * 8),
        ({"order": "inner"}, 0),
        ({"standardized": True, "padding": "tf", "antialias": "blur"}, 0),
        ({"attention": "eca"}, 3 * 3),
        ({"attention": "se"}, 2 * 4 * 8 + 4 + 8 + 2 * (2 * 8 * 8 + 8 + 8)),
        ({"stem": None}, -(3 * 4 * 9 + 2 * 4) + 9 * 4 * (3 - 4) + (3 * 4 + 2 * 4)),
        ({"stem": Stem(4, 3, hidden=(2, 3))}, 9 * (3 * 2 + 2 * 3 + 3 * 4 - 3 * 4) + 2 * 5),
        ({"stem": Stem(4, 3, pool="conv")}, 9 * 4 * 4 + 2 * 4),
        ({"entries": (None, Stem(6, 3))}, 9 * (4 * 6 + 6 * 8 - 4 * 8) + 2 * 6 + (6 - 4) * 8),
    ],
)
def test_what_a_field_adds_by_hand(changes: dict[str, Any], more: int | None) -> None:
    if more is None:  # nothing projects where only the size changes
        assert not any("downsample" in name for name in TINY.replace(**changes).plan.tensors())
    else:
        assert TINY.replace(**changes).params() - TINY.params() == more


def test_shapes_of_resnet50_are_those_of_table_1() -> None:
    assert ZOO["resnet50"].spec.feature_shapes() == {
        "stem": (64, 56, 56),
        "layer1": (256, 56, 56),
        "layer2": (512, 28, 28),
        "layer3": (1024, 14, 14),
        "layer4": (2048, 7, 7),
    }


# In millions, from Radosavovic et al. 2020, arXiv:2003.13678, and the MODEL_ZOO.md of its code.
@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("resnet50", 11.1),
        ("resnet101", 16.2),
        ("resnet152", 22.6),
        ("resnext50_32x4d", 14.4),
        ("resnext101_32x4d", 21.2),
    ],
)
def test_activations_are_the_published_ones(name: str, millions: float) -> None:
    assert ZOO[name].spec.activations(224) / 1e6 == pytest.approx(millions, abs=0.05)


def test_size_is_a_side_or_height_and_width_and_defaults_to_the_image_size() -> None:
    assert TINY.macs() == TINY.macs(12) == TINY.macs((12, 12))
    assert TINY.activations() == TINY.activations(12) == TINY.activations((12, 12))
    assert TINY.feature_shapes((5, 9)) == {
        "stem": (4, 5, 9),
        "layer1": (4, 5, 9),
        "layer2": (8, 3, 5),
    }
    assert TINY.macs((5, 9)) == TINY.macs((9, 5))


@pytest.mark.parametrize("size", [0, -1, (0, 4), (4, -2), 2**20 + 1])
def test_sizes_that_are_none(size: int | tuple[int, int]) -> None:
    for count in (TINY.macs, TINY.activations, TINY.feature_shapes):
        with pytest.raises(ValueError, match=r"not an int of at least 1|is more than 1048576"):
            count(size)


def test_stride_in_the_1x1_saves_work_and_no_parameters() -> None:
    late = ZOO["resnet50"].spec
    early = late.replace(stride_in="1x1")
    assert early.params() == late.params()
    assert early.macs() < late.macs()


# -- receptive field ------------------------------------------------------------------------------


# The paper's networks, from Araujo et al. 2019, "Computing Receptive Fields of Convolutional Neural
# Networks", Distill. The stride in the 3×3 makes the field smaller.
@pytest.mark.parametrize(
    ("name", "field"),
    [("resnet50_v1", 483), ("resnet101_v1", 1027), ("resnet152_v1", 1507), ("resnet50", 427)],
)
def test_receptive_fields(name: str, field: int) -> None:
    assert ZOO[name].spec.plan.reaches()["layer4"] == (field, 32)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"order": "pre", "stem": Stem(4, 7)},
        {"stem": Stem(4, 3, hidden=(2, 3), pool="conv"), "shortcut": "D"},
        {"stem": Stem(4, 5, pool="zero-max"), "strides": (2, 1)},
        {"stem": None, "strides": (3, 1)},
        {"block": "bottleneck", "stride_in": "1x1"},
        {"block": "bottleneck", "stride_in": "last", "stride_at": "last"},
        {"antialias": "avg", "stem": Stem(4)},
        {"antialias": "blur", "stem": Stem(4)},
        {"padding": "tf", "entries": (None, Stem(8, 3, 1, "max2"))},
        {"antialias": "max", "shortcut": "D", "stem": Stem(4)},
    ],
    ids=str,
)
@torch.no_grad()
def test_receptive_field_equals_what_a_spoilt_pixel_spoils(changes: dict[str, Any]) -> None:
    spec = TINY.replace(**changes)
    net = ResNet(spec).double().eval()
    # In photo i, the column i is not a number, and neither is any value that depends on it.
    width = 180
    spoilt = torch.eye(width, dtype=torch.bool)[:, None, None, :]
    maps = net.forward_stages(
        torch.zeros(width, 3, 9, width).masked_fill(spoilt, torch.nan).double()
    )
    for name, (field, stride) in spec.plan.reaches().items():
        column = maps[name][:, 0, 0, :]
        middle = column.shape[1] // 2
        seen, following = (column[:, middle + i].isnan().nonzero() for i in (0, 1))
        assert int(seen.max() - seen.min()) + 1 == field, name
        assert int(following.min() - seen.min()) == stride, name
        assert column.shape[1] == spec.feature_shapes((9, width))[name][2]


# -- structure ------------------------------------------------------------------------------------


@given(specs)
def test_plans_fit_together(spec: ResNetSpec) -> None:
    stages = spec.stages()
    assert [stage.name for stage in stages] == [f"layer{i + 1}" for i in range(len(spec.depths))]
    assert tuple(len(stage.blocks) for stage in stages) == spec.depths
    assert spec.num_features == stages[-1].outputs
    strides = spec.strides or (1, *[2] * (len(stages) - 1))
    for stage, stride in zip(stages, strides, strict=True):
        expected = [1] * len(stage.blocks)
        if expected:
            expected[0 if spec.stride_at == "first" else -1] = stride
        assert [block_stride(block) for block in stage.blocks] == expected


def block_stride(block: BlockPlan) -> int:
    """Return the product of the strides along the branch."""
    product = 1
    for layer in block.branch.values():
        product *= layer.reach[1]
    return product


def test_names_come_once() -> None:
    for name, row in ZOO.items():
        names = [layer for layer, _ in row.spec.plan.layers()]
        assert len(set(names)) == len(names), name


def shortcuts(spec: ResNetSpec) -> list[str]:
    """Describe the shortcut of every block."""
    words = []
    for stage in spec.stages():
        for block in stage.blocks:
            kinds = [type(layer).__name__ for layer in (block.shortcut or {}).values()]
            words.append("none" if block.shortcut is None else " ".join(kinds) or "identity")
    return words


@pytest.mark.parametrize(
    ("option", "opening", "growing", "inside"),
    [
        ("A", "identity", "Pad", "identity"),
        ("B", "identity", "Conv Norm", "identity"),
        ("C", "Conv Norm", "Conv Norm", "Conv Norm"),
        ("D", "identity", "Pool Conv Norm", "identity"),
        ("slim", "identity", "Conv Norm", "identity"),
        ("none", "none", "none", "none"),
    ],
)
def test_shortcut_options(option: str, opening: str, growing: str, inside: str) -> None:
    assert shortcuts(TINY.replace(shortcut=option)) == [opening, growing, inside]


def test_shortcuts_where_only_the_size_changes() -> None:
    still = TINY.replace(widths=(4, 4))
    for option, kind in {
        "A": "Pad",
        "B": "Conv Norm",
        "D": "Pool Conv Norm",
        "slim": "Pad",
    }.items():
        assert shortcuts(still.replace(shortcut=option)) == ["identity", kind, "identity"]


def test_shortcuts_where_only_the_channels_change() -> None:
    flat = DEEP.replace(strides=(1, 1))
    for option, kind in {
        "A": "Pad",
        "B": "Conv Norm",
        "D": "Conv Norm",
        "slim": "Conv Norm",
    }.items():
        assert shortcuts(flat.replace(shortcut=option)) == [kind, kind, "identity"]


@pytest.mark.parametrize(
    ("order", "norms"),
    [("post", 1), ("inner", 1), ("open", 1), ("arcface", 1), ("pre", 0)],
)
def test_projections_have_the_norm_of_their_order(order: str, norms: int) -> None:
    for changes, count in (({}, norms), ({"bare_projection": True}, 0)):
        shortcut = TINY.replace(order=order, **changes).stages()[1].blocks[0].shortcut
        assert shortcut is not None
        assert sum(isinstance(layer, Norm) for layer in shortcut.values()) == count


@pytest.mark.parametrize(
    ("order", "branch", "after", "top"),
    [
        ("post", "conv1 bn1 act1 conv2 bn2", "act2", ""),
        ("pre", "bn1 act1 conv1 bn2 act2 conv2", "", "bn act"),
        ("arcface", "bn1 conv1 bn2 act2 conv2 bn3", "", "bn"),
        ("inner", "conv1 bn1 act1 conv2 bn2 act2", "", ""),
        ("open", "conv1 bn1 act1 conv2 bn2", "", ""),
    ],
)
def test_orders(order: str, branch: str, after: str, top: str) -> None:
    plan = TINY.replace(order=order).plan
    inside = plan.stages[1].blocks[1]
    assert " ".join(inside.branch) == branch
    assert " ".join(inside.after) == after
    assert " ".join(plan.top) == top
    assert not inside.before


def test_where_pre_activation_blocks_activate() -> None:
    def entry(spec: ResNetSpec, stage: int, block: int) -> tuple[str, str]:
        plan = spec.stages()[stage].blocks[block]
        return " ".join(plan.before), " ".join(plan.branch)

    pre = TINY.replace(order="pre", depths=(2, 2))
    whole, rest = "bn1 act1 conv1 bn2 act2 conv2", "conv1 bn2 act2 conv2"
    assert entry(pre, 0, 0) == ("", rest)  # the stem has done it
    assert entry(pre, 0, 1) == entry(pre, 1, 1) == ("", whole)
    assert entry(pre, 1, 0) == ("bn1 act1", rest)  # shared with the projection
    for stem in (Stem(4, norm=False), Stem(4, act=False), None):
        changes = {"stem": stem, "widths": (stem.width if stem else 3, 8)}
        assert entry(pre.replace(**changes), 0, 0) == ("", whole)  # an identity sees it raw
        assert entry(pre.replace(**changes, shortcut="C"), 0, 0) == ("bn1 act1", rest)
    # A stage's own entry decides, if there is one.
    bare, normed = Stem(8, norm=False), Stem(8)
    assert entry(pre.replace(entries=(bare, None), widths=(8, 8)), 0, 0) == ("", whole)
    assert entry(pre.replace(entries=(None, normed), widths=(8, 8)), 1, 0) == ("", rest)


def strides(block: BlockPlan) -> dict[str, int]:
    return {name: layer.reach[1] for name, layer in block.branch.items() if layer.reach[1] > 1}


@pytest.mark.parametrize(
    ("block", "where", "conv"),
    [
        ("basic", "3x3", "conv1"),
        ("basic", "1x1", "conv1"),
        ("basic", "last", "conv2"),
        ("bottleneck", "3x3", "conv2"),
        ("bottleneck", "1x1", "conv1"),
        ("bottleneck", "last", "conv3"),
    ],
)
def test_stride_in_a_block(block: str, where: str, conv: str) -> None:
    spec = TINY.replace(block=block, stride_in=where)
    assert strides(spec.stages()[1].blocks[0]) == {conv: 2}
    assert strides(spec.replace(stride_at="last").stages()[1].blocks[1]) == {conv: 2}
    # An anti-aliasing pool stands behind the convolution, its norm and its activation.
    smooth = spec.replace(antialias="blur").stages()[1].blocks[0]
    assert strides(smooth) == {"aa": 2}
    names = list(smooth.branch)
    follower = f"conv{int(conv[-1]) + 1}"
    assert names.index("aa") == (names.index(follower) - 1 if follower in names else len(names) - 1)


def test_groups_and_their_width() -> None:
    def middle(**changes: Any) -> Conv:
        layer = DEEP.replace(widths=(64, 128), **changes).stages()[1].blocks[0].branch["conv2"]
        assert isinstance(layer, Conv)
        return layer

    assert (middle().inputs, middle().groups) == (128, 1)
    # Xie et al. 2016, arXiv:1611.05431, Table 1: 128 channels in 32 groups where ResNet has 64
    assert (middle(groups=32, group_width=4).inputs, middle(groups=32).groups) == (256, 32)
    assert middle(group_width=128).outputs == 256  # Wide ResNet-50-2
    assert middle(groups=32, group_width=4).tensors()["weight"] == (256, 8, 3, 3)


@pytest.mark.parametrize(
    ("channels", "kernel"),
    [(4, 3), (64, 3), (100, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7), (2**16, 9)],
)
def test_kernel_of_efficient_channel_attention(channels: int, kernel: int) -> None:
    # arXiv:1910.03151, section 3.2: the odd number next to (log2 C + 1) / 2; 3 for 64 (Figure 2)
    spec = TINY.replace(widths=(channels, channels), attention="eca")
    assert spec.stages()[0].blocks[0].branch["se"] == Gate("eca", channels, kernel)


@pytest.mark.parametrize(
    ("channels", "ratio", "hidden"),
    [
        (256, 1 / 16, 16),  # arXiv:1709.01507, Table 1: 16, 32, 64 and 128 in SE-ResNet-50
        (512, 1 / 16, 32),
        (1024, 1 / 16, 64),
        (2048, 1 / 16, 128),
        (64, 1 / 16, 8),
        (192, 1 / 16, 16),
        (256, 0.25, 64),
        (100, 0.25, 24),
        (112, 0.25, 32),
    ],
)
def test_width_of_squeeze_and_excitation(channels: int, ratio: float, hidden: int) -> None:
    spec = TINY.replace(widths=(channels, channels), attention="se", se_ratio=ratio)
    assert spec.stages()[0].blocks[0].branch["se"] == Gate("se", channels, hidden)


@pytest.mark.parametrize("kind", ["se", "eca"])
def test_attention_stands_at_the_end_of_every_branch(kind: str) -> None:
    for order in CHOICES["order"]:
        for stage in TINY.replace(order=order, attention=kind).stages():
            assert all(list(block.branch)[-1] == "se" for block in stage.blocks)


@pytest.mark.parametrize(
    ("stem", "antialias", "padding", "pools"),
    [
        ("max", "none", "same", [Pool("max", 4, 3, 2)]),
        ("max", "none", "tf", [Pool("tf-max", 4, 3, 2)]),
        ("max", "avg", "same", [Pool("avg", 4, 2, 2)]),
        ("max", "blur", "same", [Pool("max", 4, 3, 1), Pool("blur", 4, 3, 2)]),
        ("zero-max", "none", "same", [Pool("zero-max", 4, 3, 2)]),
        ("max2", "none", "same", [Pool("max", 4, 2, 2)]),
        ("max", "max", "same", [Pool("max", 4, 2, 2)]),
        ("none", "blur", "tf", []),
    ],
)
def test_stem_pools(stem: str, antialias: str, padding: str, pools: list[Pool]) -> None:
    spec = TINY.replace(stem=Stem(4, pool=stem), antialias=antialias, padding=padding, shortcut="D")
    assert [layer for layer in spec.plan.stem.values() if isinstance(layer, Pool)] == pools
    assert spec.stem_pools is (stem != "none")


def test_a_deep_stem_strides_first_and_a_pooling_convolution_last() -> None:
    spec = TINY.replace(stem=Stem(6, 3, hidden=(4, 5), pool="conv"), norm_eps=1e-3)
    convs = {n: layer for n, layer in spec.plan.stem.items() if isinstance(layer, Conv)}
    assert {name: (c.inputs, c.outputs, c.stride) for name, c in convs.items()} == {
        "conv1.0": (3, 4, 2),
        "conv1.3": (4, 5, 1),
        "conv1.6": (5, 6, 1),
        "maxpool.0": (6, 6, 2),
    }
    norms = [layer for _, layer in spec.plan.layers() if isinstance(layer, Norm)]
    assert {norm.eps for norm in norms} == {1e-3}


# -- fields, variants, JSON -----------------------------------------------------------------------


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("value", ["other", "", None, 1, ["post"]])
def test_choices_are_named_with_what_there_is(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}=") as caught:
        TINY.replace(**{name: value})
    assert str(caught.value) == f"{name}={value!r} is not one of: {', '.join(CHOICES[name])}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "name=None is not a name"),
        ({"depths": (1,)}, r"depths \(1,\) and widths \(4, 8\) differ in length"),
        ({"widths": ()}, r"widths \(\) differ in length"),
        ({"strides": (1,)}, r"strides \(1,\) differ in length"),
        ({"entries": (None,)}, r"entries \(None,\) differ in length"),
        ({"depths": ()}, r"depths=\(\) has no stage"),
        ({"depths": [1, 2]}, r"depths=\[1, 2\] is not a tuple"),
        ({"depths": 3}, "depths=3 is not a tuple"),
        ({"depths": (1, 0)}, "depths=0 is not an int of at least 1"),
        ({"depths": (1, -1), "entries": (None, None)}, "depths=-1 is not an int of at least 0"),
        ({"depths": (1, 2.0)}, "depths=2.0 is not an int"),
        ({"depths": (4096, 1)}, r"depths=\(4096, 1\) are more than 4096 blocks"),
        ({"widths": (4, -8)}, "widths=-8 is not an int of at least 1"),
        ({"widths": (4, 2**20 + 1)}, "widths=1048577 is more than 1048576"),
        ({"strides": (1, 0)}, "strides=0 is not an int of at least 1"),
        ({"strides": None}, "strides=None is not a tuple"),
        ({"groups": 0}, "groups=0 is not an int of at least 1"),
        ({"group_width": 0}, "group_width=0 is not an int of at least 1"),
        ({"antialias": "max"}, "antialias='max' needs shortcut='D'"),
        ({"groups": 2}, "groups and group_width need block='bottleneck'"),
        ({"group_width": 32}, "groups and group_width need block='bottleneck'"),
        ({"block": "bottleneck", "group_width": 15}, "group_width=15 leaves no channels"),
        ({"bare_projection": 1}, "bare_projection=1 is not True or False"),
        ({"standardized": None}, "standardized=None is not True or False"),
        ({"norm_eps": 0}, "norm_eps=0 is not a positive number"),
        ({"norm_eps": float("nan")}, "norm_eps=nan is not a positive number"),
        ({"norm_eps": "1e-5"}, "norm_eps='1e-5' is not a positive number"),
        ({"se_ratio": -0.25}, "se_ratio=-0.25 is not a positive number"),
        ({"se_ratio": True}, "se_ratio=True is not a positive number"),
        ({"se_ratio": 1e308}, r"se_ratio=1e\+308 is not a positive number of at most"),
        ({"norm": "group"}, "norm='group' needs a multiple of 32 channels, and bn1 has 4"),
        ({"stem": "imagenet"}, "stem: 'imagenet' is neither a Stem nor None"),
        ({"entries": (None, 3)}, "entries: 3 is neither a Stem nor None"),
        ({"entries": [None, None]}, r"entries=\[None, None\] is not a tuple"),
        ({"entries": None}, "entries=None is not a tuple"),
        ({"head": None}, "head=None is not a Head"),
        ({"in_channels": 0}, "in_channels=0 is not an int of at least 1"),
        ({"num_classes": -1}, "num_classes=-1 is not an int of at least 0"),
        ({"num_classes": "10"}, "num_classes='10' is not an int"),
        ({"num_classes": True}, "num_classes=True is not an int"),
        ({"image_size": 0}, "image_size=0 is not an int of at least 1"),
        ({"order": "pre", "shortcut": "none"}, "no plain v2 network"),
        ({"shortcut": "A", "widths": (8, 4)}, "only pads, and cannot take 8 channels to 4"),
        ({"shortcut": "A", "widths": (2, 8)}, "only pads, and cannot take 4 channels to 2"),
        ({"shortcut": "A", "entries": (None, Stem(9))}, "only pads, and cannot take 9 channels"),
    ],
)
def test_bad_fields_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        TINY.replace(**changes)
    assert "\n" not in str(caught.value)


def test_a_stage_of_an_entry_alone_needs_no_blocks() -> None:
    spec = TINY.replace(depths=(0, 1), entries=(Stem(9), None), shortcut="A", widths=(1, 9))
    assert spec.feature_shapes()["layer1"] == (9, 3, 3)
    assert spec.depth == 5


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (Stem, {"width": 0}, "stem width=0"),
        (Stem, {"kernel": 0}, "stem kernel=0"),
        (Stem, {"stride": 0}, "stem stride=0"),
        (Stem, {"stride": 1.5}, "stem stride=1.5"),
        (Stem, {"pool": True}, "stem pool=True is not one of: max, zero-max, max2, conv"),
        (Stem, {"hidden": [32]}, r"stem hidden=\[32\] is not a tuple"),
        (Stem, {"hidden": (32, 0)}, "stem hidden=0 is not an int of at least 1"),
        (Stem, {"norm": 1}, "stem norm=1 is not True or False"),
        (Stem, {"act": "relu"}, "stem act='relu' is not True or False"),
        (Head, {"pool": "mean"}, "head pool='mean' is not one of: avg, max, all"),
        (Head, {"bias": None}, "head bias=None is not True or False"),
        (Head, {"norm": 0}, "head norm=0 is not True or False"),
        (Head, {"scale": 0.0}, "head scale=0.0 is not a positive number"),
        (Head, {"scale": float("inf")}, "head scale=inf is not a positive number"),
    ],
)
def test_bad_stems_and_heads_are_named(
    kind: type[Stem | Head], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**changes)


def test_an_unknown_field_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="widht"):
        TINY.replace(widht=3)


def test_specs_are_values() -> None:
    assert TINY.replace() == TINY
    assert TINY.plan is TINY.plan
    assert hash(TINY.replace()) == hash(TINY)  # with a plan and without one
    with pytest.raises(dataclasses.FrozenInstanceError):
        TINY.name = "other"  # type: ignore[misc]


def test_what_shares_weights() -> None:
    assert TINY.shares_weights_with(TINY.replace(name="other", num_classes=9, image_size=64))
    for changes in ({"in_channels": 1}, {"stride_at": "last"}, {"norm_eps": 1e-3}):
        assert not TINY.shares_weights_with(TINY.replace(**changes))


def test_the_small_stem_keeps_the_width_and_the_resolution() -> None:
    spec = ZOO["resnet18"].spec
    small = spec.with_small_stem()
    assert spec.stem == IMAGENET_STEM
    assert small.stem == Stem(64, kernel=3, stride=1, pool="none")
    assert small.feature_shapes(32)["layer4"] == (512, 4, 4)
    assert small.name == "resnet18_small"
    assert small.with_small_stem() == small
    assert small.replace(stem=spec.stem, name=spec.name) == spec
    assert ZOO["resnet50d"].spec.with_small_stem().stem == small.stem
    bare = ZOO["resnetv2_50"].spec.with_small_stem().stem
    assert bare == Stem(64, kernel=3, stride=1, pool="none", norm=False, act=False)
    assert TINY.replace(stem=None).with_small_stem().stem == SMALL


@given(specs)
def test_json_round_trip(spec: ResNetSpec) -> None:
    assert ResNetSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_every_row_goes_through_json() -> None:
    for row in ZOO.values():
        assert ResNetSpec.from_dict(json.loads(json.dumps(row.spec.to_dict()))) == row.spec


FIELDS = [field.name for field in dataclasses.fields(ResNetSpec)]


@pytest.mark.parametrize("name", ["name", "depths", "widths", "stem", "entries", "head"])
def test_json_without_a_field_is_no_spec(name: str) -> None:
    values = {k: v for k, v in TINY.to_dict().items() if k != name}
    with pytest.raises(ValueError, match=f"^not a ResNetSpec: .*'{name}'"):
        ResNetSpec.from_dict(values)


@pytest.mark.parametrize(
    "values",
    [
        {},
        TINY.to_dict() | {"colour": "red"},
        TINY.to_dict() | {"stem": {"kernel": 0}},
        TINY.to_dict() | {"stem": {"depth": 4}},
        TINY.to_dict() | {"stem": "imagenet"},
        TINY.to_dict() | {"stem": {"hidden": 3}},
        TINY.to_dict() | {"head": None},
        TINY.to_dict() | {"head": {"pool": "sum"}},
        TINY.to_dict() | {"entries": 3},
        TINY.to_dict() | {"entries": None},
        TINY.to_dict() | {"entries": [None, {"width": "4"}]},
        TINY.to_dict() | {"entries": [None, [4]]},
        TINY.to_dict() | {"depths": 3},
        TINY.to_dict() | {"depths": ["1", "2"]},
        TINY.to_dict() | {"depths": [1, [2]]},
        TINY.to_dict() | {"block": ["basic"]},
        TINY.to_dict() | {"num_classes": None},
        [1, 2],
        "resnet18",
        None,
    ],
)
def test_what_is_no_spec_is_a_value_error(values: Any) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        ResNetSpec.from_dict(values)
