"""From a spec to the plan of its network: where every layer stands, and what it is called."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnets.layers import Act, Conv, Flatten, Gate, Layer, Linear, Norm, Pad, Pool
from resnets.plan import BlockPlan, Chain, NetworkPlan, StagePlan

if TYPE_CHECKING:
    from resnets.spec import ResNetSpec, Stem


@dataclass(frozen=True)
class Order:
    """Where norms (``n``) and activations (``a``) stand: before the first convolution of a block,
    between two, after the last, after the addition, after the last stage; and in a projection."""

    first: str
    between: str
    last: str
    after: str
    top: str
    projection: str


ORDERS = {
    "post": Order("", "na", "n", "a", "", "n"),  # v1, Figure 2
    "pre": Order("na", "na", "", "", "na", ""),  # v2, Figure 1b: only additions on the shortcuts
    "arcface": Order("n", "na", "n", "", "n", "n"),  # Deng et al. 2018, arXiv:1801.07698, 3.1
    "inner": Order("", "na", "na", "", "", "n"),  # activated within the branch (DAWNBench's)
    "open": Order("", "na", "n", "", "", "n"),  # v1 without its last activation
}
SHORTCUTS: dict[str, tuple[str | None, ...]] = {
    # option: of a block that changes neither size nor channels, only the size, or the channels
    "A": ("identity", "pad", "pad"),
    "B": ("identity", "projection", "projection"),
    "C": ("projection", "projection", "projection"),
    "D": ("identity", "pooled", "pooled"),
    "slim": ("identity", "pad", "projection"),
    "none": (None, None, None),
}
STRIDE_IN = {  # which convolution of a block, from 0, has the stride
    "3x3": {"basic": 0, "bottleneck": 1},
    "1x1": {"basic": 0, "bottleneck": 0},
    "last": {"basic": 1, "bottleneck": 2},
}
EXPANSION = {"basic": 1, "bottleneck": 4}
WINDOW = {"avg": 2, "blur": 3, "max": 2}


def unroll(spec: ResNetSpec) -> NetworkPlan:
    """Return the plan of a spec."""
    stem = _stem(spec, spec.stem, spec.in_channels)
    channels = spec.stem.width if spec.stem else spec.in_channels
    # Where the stem ends in norm and activation, a pre-activation block need not begin with them.
    activated = spec.stem is not None and spec.stem.norm and spec.stem.act
    stages: list[StagePlan] = []
    for index in range(len(spec.depths)):
        stages.append(_stage(spec, index, channels, activated and index == 0))
        channels = stages[-1].outputs
    top = _norm_act(spec, ORDERS[spec.order].top, channels, "")
    trunk = NetworkPlan(stem, tuple(stages), top, {})
    return NetworkPlan(stem, tuple(stages), top, _head(spec, trunk, channels))


def _conv(
    spec: ResNetSpec,
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    normed: bool = True,
) -> Conv:
    bias = spec.bias == "all" or (spec.bias == "unnormed" and not normed)
    return Conv(inputs, outputs, kernel, stride, groups, bias, spec.padding, spec.standardized)


def _norm_act(spec: ResNetSpec, what: str, channels: int, number: object) -> dict[str, Layer]:
    """Return the norm and the activation that `what` asks for."""
    layers: dict[str, Layer] = {}
    if "n" in what:
        layers[f"bn{number}"] = Norm(channels, spec.norm, spec.norm_eps)
    if "a" in what:
        layers[f"act{number}"] = Act(channels, spec.activation)
    return layers


# -- stem and head ------------------------------------------------------------------------------


def _stem(spec: ResNetSpec, stem: Stem | None, channels: int) -> Chain:
    if stem is None:
        return {}
    chain: dict[str, Layer] = {}
    stride = stem.stride
    for width in stem.hidden:
        triple = (
            _conv(spec, channels, width, stem.kernel, stride),
            Norm(width, spec.norm, spec.norm_eps),
            Act(width, spec.activation),
        )
        chain |= {f"conv1.{len(chain) + i}": layer for i, layer in enumerate(triple)}
        channels, stride = width, 1
    last = f"conv1.{len(chain)}" if stem.hidden else "conv1"
    chain[last] = _conv(spec, channels, stem.width, stem.kernel, stride, normed=stem.norm)
    then = _norm_act(spec, "n" * stem.norm + "a" * stem.act, stem.width, 1)
    pool = _stem_pool(spec, stem.pool, stem.width)
    names = ["maxpool"] if len(pool) == 1 else [f"maxpool.{i}" for i in range(len(pool))]
    return chain | then | dict(zip(names, pool, strict=True))


def _stem_pool(spec: ResNetSpec, kind: str, width: int) -> list[Layer]:
    smooth = {
        "none": [Pool("tf-max" if spec.padding == "tf" else "max", width, 3, 2)],
        "avg": [Pool("avg", width, 2, 2)],
        "blur": [Pool("max", width, 3, 1), Pool("blur", width, 3, 2)],
        "max": [Pool("max", width, 2, 2)],
    }[spec.antialias]
    pools: dict[str, list[Layer]] = {
        "none": [],
        "max": [*smooth],
        "zero-max": [Pool("zero-max", width, 3, 2)],
        "max2": [Pool("max", width, 2, 2)],
        "conv": [
            _conv(spec, width, width, 3, 2),
            Norm(width, spec.norm, spec.norm_eps),
            Act(width, spec.activation),
        ],
    }
    return pools[kind]


def _head(spec: ResNetSpec, trunk: NetworkPlan, features: int) -> Chain:
    head = spec.head
    chain: dict[str, Layer] = {"global_pool": Flatten(head.pool)}
    if head.pool == "all":
        *_, (height, width) = trunk.feature_sides((spec.image_size,) * 2).values()
        features *= height * width
    if spec.num_classes:
        chain["fc"] = Linear(features, spec.num_classes, head.bias, head.scale)
    if spec.num_classes and head.norm:
        chain["features"] = Norm(spec.num_classes, "batch", spec.norm_eps, vector=True)
    return chain


# -- stages and blocks --------------------------------------------------------------------------


def _stage(spec: ResNetSpec, index: int, channels: int, activated: bool) -> StagePlan:
    width, depth = spec.widths[index], spec.depths[index]
    stem = spec.entries[index] if spec.entries else None
    entry = _stem(spec, stem, channels)
    if stem:
        channels, activated = stem.width, stem.norm and stem.act
    stage_stride = spec.strides[index] if spec.strides else (2 if index else 1)
    strided = {"first": 0, "last": depth - 1}[spec.stride_at]
    blocks = []
    for number in range(depth):
        stride = stage_stride if number == strided else 1
        first = number == 0
        blocks.append(_block(spec, channels, width, stride, first, first and activated))
        channels = width * EXPANSION[spec.block]
    return StagePlan(f"layer{index + 1}", entry, tuple(blocks), channels)


def _block(
    spec: ResNetSpec, inputs: int, width: int, stride: int, first: bool, activated: bool
) -> BlockPlan:
    """Return a block; `first` of its stage, and on an input that is normed and activated."""
    order = ORDERS[spec.order]
    outputs = width * EXPANSION[spec.block]
    shortcut = _shortcut(spec, inputs, outputs, stride)
    inner = width * spec.group_width // 64 * spec.groups
    convs = {  # inputs, outputs, kernel, groups
        "basic": [(inputs, width, 3, 1), (width, width, 3, 1)],
        "bottleneck": [
            (inputs, inner, 1, 1),
            (inner, inner, 3, spec.groups),
            (inner, outputs, 1, 1),
        ],
    }[spec.block]
    strided = STRIDE_IN[spec.stride_in][spec.block]
    smooth = spec.antialias != "none" and stride > 1
    pooled = {"aa": _subsample(spec, convs[strided][1], stride)} if smooth else {}
    early = spec.antialias == "max"  # before the norm, which then has a quarter of the work
    at_once, activated_first = (pooled, {}) if early else ({}, pooled)
    entry = "" if activated and order.first == "na" else order.first
    slots = [entry, *[order.between] * (len(convs) - 1), order.last]
    begin = 1 if order.first else 0  # the number of the norm before the first convolution
    branch: dict[str, Layer] = {}
    before: dict[str, Layer] = {}
    # A pre-activation that leads into a projection is shared by both paths (v2, appendix).
    if first and shortcut and "a" in entry:
        before = _norm_act(spec, entry, inputs, begin)
        slots[0] = ""
    for i, (ins, outs, kernel, groups) in enumerate(convs):
        branch |= _norm_act(spec, slots[i], ins, begin + i)
        if i == strided + 1:
            branch |= activated_first
        step = stride if i == strided and not smooth else 1
        normed = "n" in slots[i + 1]
        branch[f"conv{i + 1}"] = _conv(spec, ins, outs, kernel, step, groups, normed)
        if i == strided:
            branch |= at_once
    number = begin + len(convs)
    branch |= _norm_act(spec, order.last, outputs, number)
    if strided + 1 == len(convs):
        branch |= activated_first
    if spec.attention != "none":
        branch["se"] = _gate(spec, outputs)
    return BlockPlan(before, branch, _norm_act(spec, order.after, outputs, number), shortcut)


def _subsample(spec: ResNetSpec, channels: int, stride: int) -> Pool:
    return Pool(spec.antialias, channels, WINDOW[spec.antialias], stride)


def _gate(spec: ResNetSpec, channels: int) -> Gate:
    if spec.attention == "se":
        # A multiple of 8, as timm rounds; the widths of the paper are such multiples anyway.
        return Gate("se", channels, max(8, int(channels * spec.se_ratio + 4) // 8 * 8))
    # The odd number next to (log2 C + 1) / 2: Wang et al. 2019, arXiv:1910.03151, section 3.2.
    size = int((math.log2(channels) + 1) / 2)
    return Gate("eca", channels, max(3, size + 1 - size % 2))


def _shortcut(spec: ResNetSpec, inputs: int, outputs: int, stride: int) -> Chain | None:
    change = 2 if inputs != outputs else 1 if stride > 1 else 0
    kind = SHORTCUTS[spec.shortcut][change]
    normed = bool(ORDERS[spec.order].projection) and not spec.bare_projection
    norm: list[Layer] = [Norm(outputs, spec.norm, spec.norm_eps)] if normed else []
    kind_of_pool = "max" if spec.antialias == "max" else "avg"  # paths cut an odd side alike
    pool: list[Layer] = [Pool(kind_of_pool, inputs, 2, stride)] if stride > 1 else []
    layers: dict[str | None, list[Layer]] = {
        "identity": [],
        "pad": [Pad(inputs, outputs, stride)],
        "projection": [_conv(spec, inputs, outputs, 1, stride, normed=normed), *norm],
        "pooled": [*pool, _conv(spec, inputs, outputs, 1, normed=normed), *norm],
    }
    if kind is None:
        return None
    # timm counts the mean even where there is none, so that the convolution is always number 1.
    start = 1 if kind == "pooled" and not pool else 0
    return {str(start + i): layer for i, layer in enumerate(layers[kind])}
