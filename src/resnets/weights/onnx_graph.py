"""Weights from an ONNX graph, whose tensors often have no names to go by: it is followed.

Exporters fold a BatchNorm into the convolution before it. Here the norm comes back with the bias as
its β, mean 0, γ 1 and variance 1 − ε: it computes the same, and can be trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from resnets.errors import UserError
from resnets.layers import COUNTER, Conv, Linear, Norm
from resnets.plan import Chain
from resnets.spec import ResNetSpec
from resnets.weights.follow import Found, Mismatch, Op, follow, padding

Node = Mapping[str, Any]
State = dict[str, Tensor]
NORM = ("weight", "bias", "running_mean", "running_var")
PASSED_ON = ("Identity", "Dropout")
"""What hands its input on; a Cast does, between floating-point types."""
FLOATS = (1, 10, 11, 16)
"""Their numbers in onnx.proto."""
SHAPES = ("Constant", "Shape", "Gather", "Concat", "Unsqueeze", "Slice", "Cast")
"""What computes the shape that a Reshape takes, and nothing else that could be followed."""


@dataclass(frozen=True)
class Graph:
    """Operations, where they start and end, and the tensors that each takes beside its input."""

    ops: tuple[Op, ...]
    start: str
    ends: tuple[str, ...]
    tensors: Mapping[str, tuple[Tensor | None, ...]]

    @classmethod
    def of(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], source: object) -> Graph:
        """Raises UserError where the graph has no single input."""
        same: dict[str, str] = {}
        ops, weights = [], {}
        for number, node in enumerate(facts["nodes"]):
            inputs = [same.get(name, name) for name in node["inputs"]]
            cast = node["op"] == "Cast" and node["attributes"].get("to") in FLOATS
            if (cast or node["op"] in PASSED_ON) and len(node["outputs"]) == 1:
                same[node["outputs"][0]] = inputs[0]
            elif node["op"] not in SHAPES and node["outputs"]:
                name = node["name"] or f"{node['op']} {number}"
                held = tuple(tensors.get(value) for value in inputs[1:] if value)
                make = KINDS.get(node["op"], _other)
                values = tuple(inputs) if node["op"] == "Add" else tuple(inputs[:1])
                op = Op(node["op"], name, values, node["outputs"][0])
                ops.append(make(op, node["attributes"], held))
                weights[node["outputs"][0]] = held
        inputs = [value["name"] for value in facts["inputs"]]
        if len(inputs) != 1:
            raise UserError(f"{source}: a graph of {len(inputs)} inputs, and a ResNet has one")
        ends = tuple(same.get(value["name"], value["name"]) for value in facts["outputs"])
        return cls(tuple(ops), inputs[0], ends, weights)

    def tensor(self, op: Op, index: int) -> Tensor | None:
        """Return an operation's tensor, counted from after its input."""
        held = self.tensors[op.output]
        return held[index] if index < len(held) else None


def match_graph(
    facts: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    source: object,
    rows: Sequence[ResNetSpec],
) -> list[tuple[ResNetSpec, State]]:
    """Return the rows that a graph computes, each with its classes, channels and state dict.

    Raises:
      UserError: no row does; the message says where the graph leaves the nearest one.
    """
    graph = Graph.of(facts, tensors, source)
    found, nearest = [], (Mismatch("", -1), "")
    for row in rows:
        try:
            followed = follow(row, graph.ops, graph.start, graph.ends)
            found.append(_state(graph, row, followed))
        except Mismatch as mismatch:
            if mismatch.depth > nearest[0].depth:
                nearest = mismatch, row.name
    if not found:
        convs = sum(op.kind == "conv" for op in graph.ops)
        raise UserError(
            f"{source}: a graph of {convs} convolutions that is of no row here that is read so; "
            f"it leaves {nearest[1]} at {nearest[0]}"
        )
    return found


def _state(graph: Graph, spec: ResNetSpec, found: Found) -> tuple[ResNetSpec, State]:
    """Return a row with the graph's classes and channels, and its weights."""
    state: State = {}
    channels, classes = spec.in_channels, spec.num_classes
    for prefix, chain in spec.plan.chains():
        for name, layer in chain.items():
            op, full = found[prefix + name], prefix + name
            if isinstance(layer, Conv) and op:
                weight = graph.tensor(op, 0)
                assert weight is not None  # or its settings would not have been read
                channels = weight.shape[1] if not state else channels
                state[f"{full}.weight"] = weight
                _unfold(graph, op, prefix, name, chain, found, state)
            elif isinstance(layer, Norm) and op:
                values = [graph.tensor(op, index) for index in range(4)]
                state |= _named(full, NORM, values)
            elif isinstance(layer, Linear) and op:
                weight, bias = graph.tensor(op, 0), graph.tensor(op, 1)
                assert weight is not None
                weight = weight if op.settings["transposed"] else weight.T.contiguous()
                classes = len(weight)
                state[f"{full}.weight"] = weight
                if layer.bias:
                    state[f"{full}.bias"] = torch.zeros(classes) if bias is None else bias
                elif bias is not None:
                    raise Mismatch(f"{full}: it has a bias", len(found))
    if not (0 < channels < 2**16 and 0 < classes < 2**24):
        raise Mismatch(f"{channels} channels and {classes} classes", len(found))
    fitted = spec.replace(in_channels=int(channels), num_classes=int(classes))
    shapes = fitted.plan.tensors()
    state |= {n: torch.zeros((), dtype=torch.int64) for n in shapes if n.endswith(COUNTER)}
    for name in {**shapes, **state}:
        if name not in state or tuple(state[name].shape) != shapes.get(name):
            raise Mismatch(f"{name}: missing, or of another shape", len(found))
    return fitted, {name: state[name] for name in shapes}


def _unfold(
    graph: Graph, op: Op, prefix: str, name: str, chain: Chain, found: Found, state: State
) -> None:
    """Give a convolution its bias, or the norm behind it that was folded into it."""
    names = list(chain)
    layer, index = chain[name], names.index(name) + 1
    following = names[index] if index < len(names) else ""
    norm = chain.get(following)
    bias = graph.tensor(op, 1)
    assert isinstance(layer, Conv)
    folded = isinstance(norm, Norm) and found[prefix + following] is None
    zeros = torch.zeros(layer.outputs)
    if layer.bias:
        state[f"{prefix}{name}.bias"] = zeros if bias is None else bias
    elif bias is not None and not folded:
        raise Mismatch(f"{prefix}{name}: it has a bias", len(found))
    if folded and isinstance(norm, Norm):
        shift = zeros if bias is None or layer.bias else bias
        variance = torch.full((layer.outputs,), 1 - norm.eps)
        values = [torch.ones(layer.outputs), shift, zeros, variance]
        state |= _named(prefix + following, NORM, values)


def _named(owner: str, names: Sequence[str], values: Sequence[Tensor | None]) -> State:
    return {
        f"{owner}.{name}": value
        for name, value in zip(names, values, strict=True)
        if value is not None
    }


# -- operations -----------------------------------------------------------------------------------

Held = tuple[Tensor | None, ...]


def _as(op: Op, kind: str, **settings: Any) -> Op:
    return replace(op, kind=kind, settings=settings)


def _unknown(held: Held) -> bool:
    """Tell whether a tensor is computed, or from outside."""
    return any(value is None for value in held)


def _other(op: Op, attributes: Node, held: Held) -> Op:
    return op


def _conv(op: Op, attributes: Node, held: Held) -> Op:
    weight = held[0] if held else None
    square = weight is not None and weight.ndim == 4 and weight.shape[2] == weight.shape[3]
    if weight is None or not square or _unknown(held):
        return op
    return _as(
        op,
        "conv",
        outputs=len(weight),
        groups=attributes.get("group", 1),
        **_window(attributes, weight.shape[2]),
    )


def _window(attributes: Node, kernel: int) -> dict[str, Any]:
    """Return kernel, stride and pads; and whatever no window here has, so that none is like it."""
    strides = attributes.get("strides", [1, 1])
    stride = strides[0] if len(set(strides)) == 1 else strides
    auto = attributes.get("auto_pad", "NOTSET")
    pads: object = tuple(attributes.get("pads", [0] * 4))
    if auto in ("SAME_UPPER", "VALID") and isinstance(stride, int):
        pads = padding(kernel, stride, auto == "SAME_UPPER")
    odd = {} if auto in ("NOTSET", "SAME_UPPER", "VALID") else {"auto_pad": auto}
    if set(attributes.get("dilations", [1])) != {1}:
        odd["dilations"] = attributes["dilations"]
    return {"kernel": kernel, "stride": stride, "pads": pads} | odd


def _norm(op: Op, attributes: Node, held: Held) -> Op:
    inference = not attributes.get("training_mode", 0)
    if len(held) != 4 or _unknown(held) or not inference:
        return op
    return _as(op, "norm", eps=attributes.get("epsilon", 1e-5))


def _pool(kind: str) -> Callable[[Op, Node, Held], Op]:
    def make(op: Op, attributes: Node, held: Held) -> Op:
        kernel = attributes.get("kernel_shape", [0])
        if len(set(kernel)) != 1:
            return op
        window = _window(attributes, kernel[0])
        if kind == "avg":  # rounding up is what a plan's pools do, if they count what is there
            counted = attributes.get("count_include_pad", 0) and any(window["pads"])
            return op if counted else _as(op, kind, **window)
        odd = {"ceil_mode": 1} if attributes.get("ceil_mode", 0) else {}
        return _as(op, kind, border="infinite", **window, **odd)

    return make


def _mean(op: Op, attributes: Node, held: Held) -> Op:
    axes = attributes.get("axes")
    if axes is None and held and held[0] is not None:
        axes = held[0].tolist()
    return _as(op, "mean") if axes and {axis % 4 for axis in axes} == {2, 3} else op


def _linear(op: Op, attributes: Node, held: Held) -> Op:
    usual = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    plain = all(attributes.get(name, value) == value for name, value in usual.items())
    weight = held[0] if held else None
    if weight is None or weight.ndim != 2 or _unknown(held) or not plain:
        return op
    return _as(op, "linear", transposed=bool(attributes.get("transB", 0)))


def _plain(kind: str) -> Callable[[Op, Node, Held], Op]:
    return lambda op, attributes, held: _as(op, kind)


KINDS: Mapping[str, Callable[[Op, Node, Held], Op]] = {
    "Conv": _conv,
    "BatchNormalization": _norm,
    "Relu": _plain("relu"),
    "Add": _plain("add"),
    "MaxPool": _pool("max"),
    "AveragePool": _pool("avg"),
    "GlobalAveragePool": _plain("mean"),
    "GlobalMaxPool": _plain("top"),
    "ReduceMean": _mean,
    "Flatten": _plain("reshape"),
    "Reshape": _plain("reshape"),
    "Squeeze": _plain("reshape"),
    "Gemm": _linear,
    "Softmax": _plain("softmax"),
}
"""What each operator is, from its attributes and tensors; any other is of no network here."""
