"""Following the graph of another framework along a plan: is it that network, and what is what?

Names and shapes cannot tell what lies between the weights, nor two convolutions of one shape from
each other. Here every operation has to be the plan's, fed by the plan's, with nothing left over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose
from typing import Any, TypeAlias

from resnets.layers import Act, Conv, Flatten, Layer, Linear, Norm, Pad, Pool
from resnets.plan import BlockPlan, Chain
from resnets.spec import ResNetSpec

SAME = "same"
"""Padding as TensorFlow's 'same' for a stride, which is not centred."""


@dataclass(frozen=True)
class Op:
    """One operation of a graph, in words that frameworks share.

    `kind` is ``conv``, ``norm``, ``relu``, ``max``, ``avg``, ``mean`` (of all pixels), ``top``
    (their maximum), ``reshape``, ``linear``, ``add``, ``softmax``, or what no network here has;
    `settings` are those that decide what is computed; `inputs` and `output` name values.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    output: str
    settings: Mapping[str, Any] = field(default_factory=dict)


class Mismatch(Exception):
    """Where a graph leaves the plan, in a few words; `depth` layers were found before."""

    def __init__(self, message: str, depth: int = 0) -> None:
        super().__init__(message)
        self.depth = depth


Found: TypeAlias = dict[str, Op | None]
"""The operation of each layer of a plan; None for a norm that is folded into the convolution."""


def follow(spec: ResNetSpec, ops: Sequence[Op], start: str, ends: Sequence[str]) -> Found:
    """Return the operation of each layer.

    Args:
      ops: the graph, without what changes nothing (dropout, say).
      start, ends: the value that is put in, and those that come out.

    Raises:
      Mismatch: the graph computes something else.
    """
    walk = _Walk(spec, ops)
    value = walk.chain(spec.plan.stem, "", start)
    for stage in spec.plan.stages:
        value = walk.chain(stage.entry, f"{stage.name}.entry.", value)
        for number, block in enumerate(stage.blocks):
            value = walk.block(block, f"{stage.name}.{number}.", value)
    value = walk.chain(spec.plan.head, "", walk.chain(spec.plan.top, "", value))
    value = walk.past(walk.past(value, "reshape"), "softmax")
    if list(ends) != [value]:
        raise walk.mismatch("it goes on after the classifier")
    if extra := [op.name for op in ops if id(op) not in walk.passed]:
        raise walk.mismatch(f"{extra[0]} is of no layer")
    return walk.found


class _Walk:
    def __init__(self, spec: ResNetSpec, ops: Sequence[Op]) -> None:
        self.found: Found = {}
        self.passed: set[int] = set()
        self._side = list(spec.feature_shapes().values())[-1][-1]
        self._users: dict[str, list[Op]] = defaultdict(list)
        for op in ops:
            for value in op.inputs:
                self._users[value].append(op)

    def chain(self, chain: Chain, prefix: str, value: str) -> str:
        """Follow layers in a row from a value; return what they put out."""
        before: Layer | None = None
        for name, layer in chain.items():
            value = self._layer(prefix + name, layer, value, before)
            before = layer
        return value

    def block(self, plan: BlockPlan, prefix: str, value: str) -> str:
        value = self.chain(plan.before, prefix, value)
        branch = self.chain(plan.branch, prefix, value)
        if plan.shortcut is not None:
            shortcut = self.chain(plan.shortcut, f"{prefix}downsample.", value)
            sums = [op for op in self._users[branch] if {*op.inputs} == {branch, shortcut}]
            if [op.kind for op in sums] != ["add"] or len(sums[0].inputs) != 2:
                raise self.mismatch(f"{prefix}add: the branch and the shortcut are not added")
            branch = self._take(sums[0])
        return self.chain(plan.after, prefix, branch)

    def past(self, value: str, kind: str) -> str:
        """Go past an operation of a kind, if one is there."""
        ops = [op for op in self._users[value] if op.kind == kind]
        return self._take(ops[0]) if len(ops) == 1 else value

    def _layer(self, name: str, layer: Layer, value: str, before: Layer | None) -> str:
        if isinstance(layer, Linear):
            value = self.past(value, "reshape")
        fits = ACCEPTED.get(type(layer))
        users = self._users[value]
        ops = [op for op in users if fits and fits(layer, op, before, self._side)]
        if not ops and isinstance(layer, Norm) and isinstance(before, Conv):
            self.found[name] = None
            return value
        if len(ops) != 1:
            there = ", ".join(f"{op.name} ({op.kind})" for op in users) or "nothing"
            raise self.mismatch(f"{name}: {'several are it' if ops else 'it is not'} {there}")
        self.found[name] = ops[0]
        return self._take(ops[0])

    def _take(self, op: Op) -> str:
        self.passed.add(id(op))
        return op.output

    def mismatch(self, message: str) -> Mismatch:
        return Mismatch(message, len(self.found))


def centred(kernel: int) -> tuple[int, int, int, int]:
    """Return the padding (top, left, bottom, right) that centres an odd kernel on a pixel."""
    return (kernel // 2 if kernel % 2 else 0,) * 4


def padding(kernel: int, stride: int, same: bool) -> tuple[int, int, int, int] | str:
    """Return what TensorFlow's 'same' (or 'valid') is for a convolution or pool."""
    if not same:
        return (0,) * 4
    return SAME if stride > 1 and kernel > 1 else centred(kernel)


def _conv(layer: Conv, op: Op, before: Layer | None, side: int) -> bool:
    same = layer.padding == "tf"
    return op.kind == "conv" and op.settings == {
        "outputs": layer.outputs,
        "kernel": layer.kernel,
        "stride": layer.stride,
        "groups": layer.groups,
        "pads": padding(layer.kernel, layer.stride, True) if same else (layer.pad,) * 4,
    }


def _norm(layer: Norm, op: Op, before: Layer | None, side: int) -> bool:
    eps = op.settings.get("eps")
    numeric = isinstance(eps, int | float) and isclose(eps, layer.eps, rel_tol=1e-3)
    return op.kind == "norm" and layer.kind == "batch" and numeric


def _act(layer: Act, op: Op, before: Layer | None, side: int) -> bool:
    return op.kind == layer.kind == "relu"


def _pool(layer: Pool, op: Op, before: Layer | None, side: int) -> bool:
    pads = {"avg": (0,) * 4, "tf-max": padding(layer.kernel, layer.stride, True)}
    expected = {
        "kernel": layer.kernel,
        "stride": layer.stride,
        "pads": pads.get(layer.kind, centred(layer.kernel)),
    }
    if layer.kind == "avg" or expected["pads"] == (0,) * 4 or layer.kind == "tf-max":
        borders: tuple[str, ...] = ("none", "infinite")
    elif isinstance(before, Act):  # behind a ReLU, zeros and −∞ are the same border
        borders = ("zero", "infinite")
    else:
        borders = ("zero",) if layer.kind == "zero-max" else ("infinite",)
    kind = "avg" if layer.kind == "avg" else "max"
    found = dict(op.settings)
    border = found.pop("border", "none")
    return layer.kind != "blur" and op.kind == kind and found == expected and border in borders


def _pad(layer: Pad, op: Op, before: Layer | None, side: int) -> bool:
    """Accept every so many pixels of the same channels, which a pool of one pixel is."""
    settings = {name: op.settings.get(name) for name in ("kernel", "stride")}
    pixels = settings == {"kernel": 1, "stride": layer.stride}
    return op.kind in ("max", "avg") and pixels and layer.inputs == layer.outputs


def _flatten(layer: Flatten, op: Op, before: Layer | None, side: int) -> bool:
    whole = {"kernel": side, "stride": side, "pads": (0,) * 4}
    if layer.kind == "avg":
        return op.kind == "mean" or (op.kind == "avg" and op.settings == whole)
    return layer.kind == "max" and op.kind == "top"


def _linear(layer: Linear, op: Op, before: Layer | None, side: int) -> bool:
    return op.kind == "linear" and layer.scale == 1


ACCEPTED: dict[type[Layer], Callable[[Any, Op, Layer | None, int], bool]] = {
    Conv: _conv,
    Norm: _norm,
    Act: _act,
    Pool: _pool,
    Pad: _pad,
    Flatten: _flatten,
    Linear: _linear,
}
"""Whether an operation is a layer's, after the layer before it, for a last map of so many pixels.
Layers that are missing here, such as gates, are followed in no graph."""
