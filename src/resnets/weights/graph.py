"""Weights from an ONNX graph, whose tensors often have no names to go by: their order counts.

Exporters fold a BatchNorm into the convolution before it. Here the norm comes back with the bias as
its β, mean 0, γ 1 and variance 1 − ε: it computes the same, and can be trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

import torch
from torch import Tensor

from resnets.errors import UserError
from resnets.layers import COUNTER, Conv, Layer, Linear, Norm
from resnets.plan import Chain
from resnets.spec import ResNetSpec

Node = Mapping[str, Any]
State = dict[str, Tensor]
OPERATORS = {
    *("Conv", "BatchNormalization", "Relu", "Add", "Gemm", "Identity", "Constant", "Dropout"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean", "Flatten", "Reshape"),
    *("Shape", "Gather", "Concat", "Unsqueeze", "Squeeze", "Cast"),
}
"""What ResNets without attention are made of; another operator is another network."""
NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Graph:
    """The convolutions, norms and classifier of a graph, in order, and how to get a tensor."""

    convs: tuple[Node, ...]
    norms: tuple[Node, ...]
    linears: tuple[Node, ...]
    additions: int
    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, nodes: Sequence[Node], tensors: Mapping[str, Tensor], source: object) -> Graph:
        def ops(*names: str) -> tuple[Node, ...]:
            return tuple(
                node
                for node in nodes
                if node["op"] in names and any(name in tensors for name in node["inputs"][1:])
            )

        convs, norms = ops("Conv"), ops("BatchNormalization")
        strange = sorted({node["op"] for node in nodes} - OPERATORS)
        if strange:
            raise UserError(f"{source}: has {', '.join(strange)}, as no row here that is read so")
        additions = sum(node["op"] == "Add" for node in nodes)
        return cls(convs, norms, ops("Gemm"), additions, tensors)

    def tensor(self, node: Node, index: int) -> Tensor | None:
        inputs = node["inputs"]
        return self.tensors.get(inputs[index]) if index < len(inputs) else None


def match_graph(
    nodes: Sequence[Node], tensors: Mapping[str, Tensor], source: object, rows: Sequence[ResNetSpec]
) -> list[tuple[ResNetSpec, State]]:
    """Return the rows whose convolutions are those of a graph, in order, each with its state dict.

    Raises:
      UserError: no row is; the message says what the graph has.
    """
    graph = Graph.of(nodes, tensors, source)
    found = []
    for row in rows:
        for order in (_branch_first, _shortcut_first):
            state = _state(graph, row, order)
            if state is not None:
                found.append(state)
                break
    if not found:
        shapes = [graph.tensor(node, 1) for node in graph.convs[:2]]
        first = ", ".join(str([*shape.shape]) for shape in shapes if shape is not None)
        raise UserError(
            f"{source}: a graph of {len(graph.convs)} convolutions ({first}, …), "
            f"{len(graph.norms)} norms and {len(graph.linears)} linear layers, as no row of "
            "`resnets models` has them"
        )
    return found


Chains = list[tuple[str, Chain]]


def _branch_first(spec: ResNetSpec) -> Chains:
    return list(spec.plan.chains())


def _shortcut_first(spec: ResNetSpec) -> Chains:
    """Return the chains with each block's projection before its branch."""
    chains = list(spec.plan.chains())
    for index in range(len(chains)):
        if chains[index][0].endswith("downsample."):  # after before, branch and after
            chains.insert(index - 3, chains.pop(index))
    return chains


def _state(
    graph: Graph, spec: ResNetSpec, order: Callable[[ResNetSpec], Chains]
) -> tuple[ResNetSpec, State] | None:
    """Return a row with the graph's classes and channels, and its weights; None if it differs."""
    chains = order(spec)
    layers = [(prefix + name, layer) for prefix, chain in chains for name, layer in chain.items()]
    convs = [(name, layer) for name, layer in layers if isinstance(layer, Conv)]
    norms = [(name, layer) for name, layer in layers if isinstance(layer, Norm)]
    linears = [(name, layer) for name, layer in layers if isinstance(layer, Linear)]
    folded = not graph.norms
    if spec.attention != "none" or spec.activation != "relu" or spec.norm != "batch":
        return None
    if (len(convs), len(linears)) != (len(graph.convs), len(graph.linears)):
        return None
    if (graph.additions == 0) != (spec.shortcut == "none"):
        return None
    if not folded and len(norms) != len(graph.norms):
        return None
    state: State = {}
    for (name, layer), node in zip(convs, graph.convs, strict=True):
        weight = graph.tensor(node, 1)
        if weight is None or not _same(layer, weight, node, first=layer is convs[0][1]):
            return None
        state[f"{name}.weight"] = weight
    if folded:
        biases = {
            name: graph.tensor(node, 2) for (name, _), node in zip(convs, graph.convs, strict=True)
        }
        if not _unfold(chains, biases, state):
            return None
    else:
        for (name, _), node in zip(norms, graph.norms, strict=True):
            if not isclose(node["attributes"].get("epsilon", 1e-5), spec.norm_eps, rel_tol=1e-3):
                return None
            for index, tensor in enumerate(NORM, 1):
                value = graph.tensor(node, index)
                if value is None:
                    return None
                state[f"{name}.{tensor}"] = value
    classes = spec.num_classes
    for (name, _), node in zip(linears, graph.linears, strict=True):
        weight = graph.tensor(node, 1)
        if weight is None or weight.ndim != 2:
            return None
        weight = weight if node["attributes"].get("transB") else weight.T.contiguous()
        bias = graph.tensor(node, 2)
        state[f"{name}.weight"], classes = weight, len(weight)
        state[f"{name}.bias"] = torch.zeros(classes) if bias is None else bias
    channels = state[f"{convs[0][0]}.weight"].shape[1]
    fitted = spec.replace(in_channels=int(channels), num_classes=int(classes))
    shapes = fitted.plan.tensors()
    state |= {n: torch.zeros((), dtype=torch.int64) for n in shapes if n.endswith(COUNTER)}
    fits = all(tuple(value.shape) == shapes.get(name) for name, value in state.items())
    return (fitted, state) if fits else None


def _same(layer: Conv, weight: Tensor, node: Node, first: bool) -> bool:
    """Tell whether a convolution is that of a plan; the first may read other channels."""
    shape = layer.tensors()["weight"]
    attributes = node["attributes"]
    strides = attributes.get("strides", [1, 1])
    centred = [layer.kernel // 2] * 4
    if layer.padding != "same" or attributes.get("pads", [0] * 4) != centred:
        return False
    if set(attributes.get("dilations", [1])) != {1} or attributes.get("group", 1) != layer.groups:
        return False
    same = tuple(weight.shape)[1:] == shape[1:] or (first and weight.shape[2:] == shape[2:])
    return same and len(weight) == shape[0] and strides == [layer.stride] * 2


def _unfold(
    chains: Sequence[tuple[str, Chain]], biases: Mapping[str, Tensor | None], state: State
) -> bool:
    """Give every convolution its bias, or the norm after it; False where neither can take it."""
    for prefix, chain in chains:
        names = list(chain)
        for index, name in enumerate(names):
            layer = chain[name]
            if not isinstance(layer, Conv):
                continue
            bias = biases[prefix + name]
            following: Layer | None = chain[names[index + 1]] if index + 1 < len(names) else None
            if layer.bias:
                state[f"{prefix}{name}.bias"] = torch.zeros(layer.outputs) if bias is None else bias
            elif bias is not None and not isinstance(following, Norm):
                return False
            if isinstance(following, Norm):
                shift = torch.zeros(layer.outputs) if bias is None or layer.bias else bias
                values = (
                    torch.ones(layer.outputs),
                    shift,
                    torch.zeros(layer.outputs),
                    torch.full((layer.outputs,), 1 - following.eps),
                )
                for tensor, value in zip(NORM, values, strict=True):
                    state[f"{prefix}{names[index + 1]}.{tensor}"] = value
    return True
