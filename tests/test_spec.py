"""`ResNetSpec`: its arithmetic against built networks, its errors, and its JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.spec import (
    BLOCKS,
    EXPANSION,
    IMAGENET_STEM,
    ORDERS,
    SHORTCUTS,
    STRIDES,
    BlockPlan,
    ConvPlan,
    ResNetSpec,
    Stem,
)
from resnets.zoo import ZOO

Measure = Callable[[ResNetSpec, tuple[int, int]], Any]
TINY = ResNetSpec("tiny", (1, 2), (4, 8), stem=Stem(4, 3, 1, False), num_classes=5, image_size=12)


@st.composite
def specs(draw: st.DrawFn) -> ResNetSpec:
    """Small specs of every kind that can be built."""
    order = draw(st.sampled_from(ORDERS))
    block = draw(st.sampled_from(BLOCKS))
    shortcut = draw(st.sampled_from(SHORTCUTS if order == "post" else SHORTCUTS[:-1]))
    stages = draw(st.integers(1, 4))
    widths = draw(st.lists(st.integers(1, 9), min_size=stages, max_size=stages))
    stem_width = draw(st.integers(1, 9))
    if shortcut == "A":  # channels may only grow
        widths = sorted(widths)
        stem_width = min(stem_width, widths[0] * EXPANSION[block])
    return ResNetSpec(
        name="drawn",
        depths=tuple(draw(st.lists(st.integers(1, 3), min_size=stages, max_size=stages))),
        widths=tuple(widths),
        block=block,
        order=order,
        shortcut=shortcut,
        stride_in=draw(st.sampled_from(STRIDES)),
        stem=Stem(
            stem_width,
            kernel=draw(st.sampled_from([1, 3, 5, 7])),
            stride=draw(st.integers(1, 3)),
            pool=draw(st.booleans()),
        ),
        in_channels=draw(st.integers(1, 5)),
        num_classes=draw(st.integers(0, 6)),
        image_size=draw(st.integers(1, 40)),
    )


# -- arithmetic -----------------------------------------------------------------------------------


@given(spec=specs(), height=st.integers(1, 50), width=st.integers(1, 50))
@settings(max_examples=60)
def test_counts_and_shapes_equal_the_built_network(
    spec: ResNetSpec, height: int, width: int, measure: Measure
) -> None:
    built = measure(spec, (height, width))
    assert spec.params() == built.params
    assert spec.weights() == built.weights
    assert spec.macs((height, width)) == built.macs
    assert spec.feature_shapes((height, width)) == built.shapes
    assert spec.depth == built.depth + (spec.num_classes == 0)


@given(spec=specs(), channels=st.integers(1, 5), classes=st.integers(0, 6))
@settings(max_examples=30)
def test_params_for_other_channels_and_classes(
    spec: ResNetSpec, channels: int, classes: int, measure: Measure
) -> None:
    other = spec.replace(in_channels=channels, num_classes=classes)
    assert spec.params(channels, classes) == measure(other, (8, 8)).params


def test_counts_by_hand() -> None:
    stem, norm = 3 * 4 * 9, 2 * 4
    first = 2 * (4 * 4 * 9 + 2 * 4)
    second = (4 * 8 * 9 + 2 * 8) + (8 * 8 * 9 + 2 * 8) + (4 * 8 + 2 * 8)  # with a projection
    third = 2 * (8 * 8 * 9 + 2 * 8)
    assert TINY.params() == stem + norm + first + second + third + 8 * 5 + 5
    on_12 = 144 * (3 * 4 * 9 + 2 * 4 * 4 * 9)
    on_6 = 36 * (4 * 8 * 9 + 3 * 8 * 8 * 9 + 4 * 8)
    assert TINY.macs() == on_12 + on_6 + 8 * 5
    assert TINY.depth == 2 + 2 * 3
    assert TINY.num_features == 8


def test_shapes_of_resnet50_are_those_of_table_1() -> None:
    assert ZOO["resnet50"].spec.feature_shapes() == {
        "stem": (64, 56, 56),
        "layer1": (256, 56, 56),
        "layer2": (512, 28, 28),
        "layer3": (1024, 14, 14),
        "layer4": (2048, 7, 7),
    }


def test_size_is_a_side_or_height_and_width_and_defaults_to_the_image_size() -> None:
    assert TINY.macs() == TINY.macs(12) == TINY.macs((12, 12))
    assert TINY.feature_shapes((5, 9)) == {
        "stem": (4, 5, 9),
        "layer1": (4, 5, 9),
        "layer2": (8, 3, 5),
    }
    assert TINY.macs((5, 9)) == TINY.macs((9, 5))


@pytest.mark.parametrize("size", [0, -1, (0, 4), (4, -2)])
def test_sizes_that_are_none(size: int | tuple[int, int]) -> None:
    for count in (TINY.macs, TINY.feature_shapes):
        with pytest.raises(ValueError, match="not an int of at least 1"):
            count(size)


def test_stride_in_the_1x1_saves_work_and_no_parameters() -> None:
    late = ZOO["resnet50"].spec
    early = late.replace(stride_in="1x1")
    assert early.params() == late.params()
    assert early.macs() < late.macs()


# -- structure ------------------------------------------------------------------------------------


@given(specs())
def test_plans_fit_together(spec: ResNetSpec) -> None:
    stages = spec.stages()
    assert [stage.name for stage in stages] == [f"layer{i + 1}" for i in range(len(spec.depths))]
    assert tuple(len(stage.blocks) for stage in stages) == spec.depths
    blocks = [block for stage in stages for block in stage.blocks]
    assert blocks[0].inputs == spec.stem.width
    assert blocks[-1].outputs == spec.num_features
    for before, after in pairwise(blocks):
        assert before.outputs == after.inputs
    for stage in stages:
        assert [block.stride for block in stage.blocks[1:]] == [1] * (len(stage.blocks) - 1)
        assert stage.blocks[0].stride == (1 if stage is stages[0] else 2)


@pytest.mark.parametrize(
    ("option", "opening", "growing", "inside"),
    [
        ("A", "identity", "pad", "identity"),
        ("B", "identity", "projection", "identity"),
        ("C", "projection", "projection", "projection"),
        ("none", "none", "none", "none"),
    ],
)
def test_shortcut_options(option: str, opening: str, growing: str, inside: str) -> None:
    layer1, layer2 = TINY.replace(shortcut=option).stages()
    assert [b.shortcut for b in (*layer1.blocks, *layer2.blocks)] == [opening, growing, inside]


def test_a_bottleneck_projects_in_the_first_stage_where_channels_grow() -> None:
    opening = ZOO["resnet50"].spec.stages()[0].blocks[0]
    assert (opening.shortcut, opening.stride) == ("projection", 1)


@pytest.mark.parametrize(("where", "strides"), [("3x3", [1, 2, 1]), ("1x1", [2, 1, 1])])
def test_stride_of_a_bottleneck(where: str, strides: list[int]) -> None:
    spec = TINY.replace(block="bottleneck", stride_in=where)
    assert [conv.stride for conv in spec.stages()[1].blocks[0].convs] == strides


def test_entries_of_pre_activation_blocks() -> None:
    layer1, layer2 = TINY.replace(order="pre", depths=(2, 2)).stages()
    assert [block.entry for block in layer1.blocks] == ["none", "branch"]
    assert [block.entry for block in layer2.blocks] == ["shared", "branch"]
    assert {b.entry for stage in TINY.stages() for b in stage.blocks} == {"none"}


def test_a_post_activation_projection_is_normalised_and_a_pre_activation_one_is_not() -> None:
    convs = (ConvPlan(2, 3, 3, 2), ConvPlan(3, 3, 3))
    bare = sum(conv.params for conv in convs) + 2 * 3
    assert BlockPlan(convs, "projection", "post", "none").params == bare + 2 * (3 + 3) + 2 * 3
    assert BlockPlan(convs, "projection", "pre", "branch").params == bare + 2 * (2 + 3)
    assert BlockPlan(convs, "projection", "pre", "none").params == bare + 2 * 3


# -- fields, variants, JSON -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block": "wide"}, "block='wide' is not one of: basic, bottleneck"),
        ({"order": "after"}, "order='after' is not one of: post, pre"),
        ({"shortcut": "D"}, "shortcut='D' is not one of: A, B, C, none"),
        ({"stride_in": "5x5"}, "stride_in='5x5' is not one of: 3x3, 1x1"),
        ({"depths": (1,)}, "differ in length"),
        ({"depths": ()}, r"depths=\(\) is not a tuple"),
        ({"depths": [1, 2]}, r"depths=\[1, 2\] is not a tuple"),
        ({"depths": (1, 0)}, "depths=0 is not an int of at least 1"),
        ({"depths": (1, 2.0)}, "depths=2.0 is not an int"),
        ({"widths": (4, -8)}, "widths=-8 is not an int of at least 1"),
        ({"in_channels": 0}, "in_channels=0 is not an int of at least 1"),
        ({"num_classes": -1}, "num_classes=-1 is not an int of at least 0"),
        ({"num_classes": "10"}, "num_classes='10' is not an int"),
        ({"num_classes": True}, "num_classes=True is not an int"),
        ({"image_size": 0}, "image_size=0 is not an int of at least 1"),
        ({"order": "pre", "shortcut": "none"}, "no plain v2 network"),
        ({"shortcut": "A", "widths": (8, 4)}, "only pads, and cannot take channels"),
        ({"shortcut": "A", "widths": (2, 8)}, "only pads, and cannot take channels"),
    ],
)
def test_bad_fields_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        TINY.replace(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "stem width=0"),
        ({"kernel": 4}, "stem kernel=4 is even"),
        ({"kernel": 0}, "stem kernel=0"),
        ({"stride": 0}, "stem stride=0"),
        ({"stride": 1.5}, "stem stride=1.5"),
    ],
)
def test_bad_stems_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stem(**changes)


def test_an_unknown_field_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="widht"):
        TINY.replace(widht=3)


def test_specs_are_values() -> None:
    assert TINY.replace() == TINY
    assert hash(TINY.replace()) == hash(TINY)
    with pytest.raises(dataclasses.FrozenInstanceError):
        TINY.name = "other"  # type: ignore[misc]


def test_the_small_stem_keeps_the_width_and_the_resolution() -> None:
    spec = ZOO["resnet18"].spec
    small = spec.with_small_stem()
    assert spec.stem == IMAGENET_STEM
    assert small.stem == Stem(64, kernel=3, stride=1, pool=False)
    assert small.feature_shapes(32)["layer4"] == (512, 4, 4)
    assert small.replace(stem=spec.stem) == spec


@given(specs())
def test_json_round_trip(spec: ResNetSpec) -> None:
    assert ResNetSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def _without(name: str) -> dict[str, Any]:
    return {k: v for k, v in TINY.to_dict().items() if k != name}


@pytest.mark.parametrize(
    "values",
    [
        {},
        _without("name"),
        _without("depths"),
        _without("stem"),
        TINY.to_dict() | {"colour": "red"},
        TINY.to_dict() | {"stem": None},
        TINY.to_dict() | {"stem": {"kernel": 4}},
        TINY.to_dict() | {"stem": {"depth": 4}},
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
