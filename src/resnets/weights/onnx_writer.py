"""A network as an ONNX graph, written from its plan: nothing is traced, and any batch fits.

The input ``images`` is ``N C size size``, normalised as the model says; the output ``logits`` is
``N classes``. A BatchNorm that follows a convolution is in its weights. Nodes are those of opset 18
(https://onnx.ai/onnx/operators); all sides are known, so every padding is written as numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from resnets import layers
from resnets.errors import UserError
from resnets.extras import library
from resnets.layers import Layer
from resnets.nn import ResNet
from resnets.nn.folding import fold_batchnorm
from resnets.plan import BlockPlan, Chain
from resnets.version import VERSION
from resnets.weights.model_file import Model

OPSET, IR_VERSION = 18, 9
MAX_BYTES = 2**31 - 2**20
"""Protobuf's limit, less what the graph itself takes."""
GROUPS = 32
TINY = float(np.finfo(np.float32).tiny)


def to_onnx(model: Model) -> bytes:
    """Return an ONNX file of a model, with its classes and preprocessing among the metadata.

    Raises:
      UserError: onnx is not installed, or the weights are more than the 2 GiB that a file may hold.
    """
    onnx = library("onnx", "export", "writing ONNX")
    if 4 * model.spec.params() > MAX_BYTES:
        raise UserError(f"{model.spec.name}: weights of more than 2 GiB, and ONNX holds no more")
    net = model.network()
    fold_batchnorm(net)
    graph = Graph(onnx, net, model.preprocess.size)
    proto = onnx.helper.make_model(
        graph.build(),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="resnets",
        producer_version=VERSION,
    )
    values = {"classes": list(model.classes), "preprocess": model.preprocess.to_dict()}
    onnx.helper.set_model_props(proto, {k: json.dumps(v) for k, v in values.items()})
    content: bytes = proto.SerializeToString()
    return content


class Graph:
    """The nodes so far, for photos of one size; `side` is that of the map that is worked on."""

    def __init__(self, onnx: Any, net: ResNet, size: int) -> None:
        self.onnx, self.net, self.size = onnx, net, size
        self.nodes: list[Any] = []
        self.tensors: dict[str, Any] = {}

    def build(self) -> Any:
        """Return the graph of the whole network."""
        plan, spec = self.net.spec.plan, self.net.spec
        x, side = self.chain("", plan.stem, "images", self.size)
        for stage in plan.stages:
            x, side = self.chain(f"{stage.name}.entry.", stage.entry, x, side)
            for number, block in enumerate(stage.blocks):
                x, side = self.block(f"{stage.name}.{number}.", block, x, side)
        for chain in (plan.top, plan.head):
            x, side = self.chain("", chain, x, side)
        self.nodes.append(self.onnx.helper.make_node("Identity", [x], ["logits"]))
        value = self.onnx.helper.make_tensor_value_info
        float32 = self.onnx.TensorProto.FLOAT
        sides = ["batch", spec.in_channels, self.size, self.size]
        return self.onnx.helper.make_graph(
            self.nodes,
            spec.name,
            [value("images", float32, sides)],
            [value("logits", float32, ["batch", spec.num_classes or spec.num_features])],
            list(self.tensors.values()),
        )

    def block(self, prefix: str, plan: BlockPlan, x: str, side: int) -> tuple[str, int]:
        x, side = self.chain(prefix, plan.before, x, side)
        y, after = self.chain(prefix, plan.branch, x, side)
        if plan.shortcut is not None:
            shortcut, _ = self.chain(f"{prefix}downsample.", plan.shortcut, x, side)
            y = self.add("Add", prefix + "add", y, shortcut)
        return self.chain(prefix, plan.after, y, after)

    def chain(self, prefix: str, chain: Chain, x: str, side: int) -> tuple[str, int]:
        for name, layer in chain.items():
            write = WRITERS[type(layer)]
            module = self.net.get_submodule(prefix + name)
            x = write(self, prefix + name, layer, module, x, side)
            side = layer.out(side)
        return x, side

    def add(self, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Append a node, and return the name of its output, which is also its own."""
        node = self.onnx.helper.make_node(op, list(inputs), [name], name=name, **attributes)
        self.nodes.append(node)
        return name

    def hold(self, name: str, value: Tensor | NDArray[Any] | list[int] | float) -> str:
        """Store a tensor, and return its name."""
        array = value.detach().numpy() if isinstance(value, Tensor) else np.array(value)
        self.tensors[name] = self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def weights(self, name: str, module: nn.Module, *names: str) -> list[str]:
        """Store those tensors of a module that it has, and return their names."""
        there: Mapping[str, Tensor] = dict(module.named_parameters()) | dict(module.named_buffers())
        return [self.hold(f"{name}.{n}", there[n]) for n in names if n in there]


def same(side: int, kernel: int, stride: int, begin: int) -> tuple[int, int]:
    """Return the padding before and after for ⌈side / stride⌉ windows that begin `begin` early."""
    return begin, max((-(-side // stride) - 1) * stride + kernel - side - begin, 0)


def tf_same(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's padding: the odd pixel is at the end."""
    total = sum(same(side, kernel, stride, 0))
    return same(side, kernel, stride, total // 2)


def _square(sides: tuple[int, int]) -> list[int]:
    return [sides[0], sides[0], sides[1], sides[1]]


def _conv(g: Graph, name: str, plan: layers.Conv, module: nn.Conv2d, x: str, side: int) -> str:
    pads = tf_same(side, plan.kernel, plan.stride) if plan.padding == "tf" else (plan.pad,) * 2
    return g.add(
        "Conv",
        name,
        x,
        *g.weights(name, module, "weight", "bias"),
        kernel_shape=[plan.kernel] * 2,
        strides=[plan.stride] * 2,
        pads=_square(pads),
        group=plan.groups,
    )


def _norm(g: Graph, name: str, plan: layers.Norm, module: nn.Module, x: str, side: int) -> str:
    if isinstance(module, nn.Identity):  # folded
        return x
    if plan.kind == "batch":
        held = g.weights(name, module, "weight", "bias", "running_mean", "running_var")
        return g.add("BatchNormalization", name, x, *held, epsilon=plan.eps)
    # Each group as one channel, its pixels in a row; then as they were, with γ and β.
    grouped = g.hold(f"{name}.grouped", [0, GROUPS, -1])
    whole = g.hold(f"{name}.whole", [-1, plan.channels, side, side])
    ones, zeros = np.ones(GROUPS, np.float32), np.zeros(GROUPS, np.float32)
    unit = g.hold(f"{name}.ones", ones), g.hold(f"{name}.zeros", zeros)
    y = g.add("Reshape", f"{name}.groups", x, grouped)
    y = g.add("InstanceNormalization", f"{name}.unit", y, *unit, epsilon=plan.eps)
    y = g.add("Reshape", f"{name}.map", y, whole)
    pixel = [module.get_parameter(key).view(1, -1, 1, 1) for key in ("weight", "bias")]
    scale, shift = g.hold(f"{name}.weight", pixel[0]), g.hold(f"{name}.bias", pixel[1])
    return g.add("Add", name, g.add("Mul", f"{name}.scaled", y, scale), shift)


def _act(g: Graph, name: str, plan: layers.Act, module: nn.Module, x: str, side: int) -> str:
    if plan.kind == "relu":
        return g.add("Relu", name, x)
    slope = g.hold(f"{name}.weight", module.get_parameter("weight").view(-1, 1, 1))
    return g.add("PRelu", name, x, slope)


def _pool(g: Graph, name: str, plan: layers.Pool, module: nn.Module, x: str, side: int) -> str:
    kernel, stride = plan.kernel, plan.stride
    half = kernel // 2
    pads = (half, half) if kernel % 2 else (0, 0)
    op, options = "MaxPool", dict[str, Any]()
    if plan.kind == "tf-max":
        pads = tf_same(side, kernel, stride)
    elif plan.kind == "avg":
        op, options, pads = "AveragePool", {"count_include_pad": 0}, same(side, kernel, stride, 0)
    elif plan.kind == "zero-max":
        # ONNX Runtime would hand zeros on to the pool, which pads with −∞: so a little more.
        x = _padded(g, f"{name}.padded", x, [0, 0, half, half] * 2, value=TINY)
        pads = 0, 0
    elif plan.kind == "blur":
        x = _padded(g, f"{name}.padded", x, [0, 0, 1, 1] * 2, mode="reflect")
        x = g.add("AveragePool", f"{name}.first", x, kernel_shape=[2, 2])
        op, kernel, pads = "AveragePool", 2, (0, 0)
    options |= {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": _square(pads)}
    return g.add(op, name, x, **options)


def _padded(
    g: Graph, name: str, x: str, pads: list[int], value: float = 0.0, mode: str = "constant"
) -> str:
    """Pad the sides of ``N C H W``: the beginnings of all four, then the ends."""
    held = g.hold(f"{name}.pads", pads), g.hold(f"{name}.value", np.array(value, np.float32))
    return g.add("Pad", name, x, *held, mode=mode)


def _pad(g: Graph, name: str, plan: layers.Pad, module: nn.Module, x: str, side: int) -> str:
    if plan.stride > 1:
        steps = [plan.stride] * 2
        numbers = {"starts": [0, 0], "ends": [side] * 2, "axes": [2, 3], "steps": steps}
        held = [g.hold(f"{name}.{key}", value) for key, value in numbers.items()]
        x = g.add("Slice", f"{name}.subsampled", x, *held)
    before = (plan.outputs - plan.inputs) // 2
    after = plan.outputs - plan.inputs - before
    return _padded(g, name, x, [0, before, 0, 0, 0, after, 0, 0])


def _gate(g: Graph, name: str, plan: layers.Gate, module: nn.Module, x: str, side: int) -> str:
    y = g.add("GlobalAveragePool", f"{name}.mean", x)
    if plan.kind == "se":
        fc1, fc2 = module.get_submodule("fc1"), module.get_submodule("fc2")
        y = g.add("Conv", f"{name}.fc1", y, *g.weights(f"{name}.fc1", fc1, "weight", "bias"))
        y = g.add("Relu", f"{name}.act", y)
        y = g.add("Conv", f"{name}.fc2", y, *g.weights(f"{name}.fc2", fc2, "weight", "bias"))
    else:  # the channels as the pixels of a column
        column, pixel = [-1, 1, plan.channels, 1], [-1, plan.channels, 1, 1]
        weight = g.hold(f"{name}.conv.weight", module.get_parameter("conv.weight").unsqueeze(-1))
        pads = [plan.size // 2, 0, plan.size // 2, 0]
        y = g.add("Reshape", f"{name}.column", y, g.hold(f"{name}.column.shape", column))
        y = g.add("Conv", f"{name}.conv", y, weight, pads=pads)
        y = g.add("Reshape", f"{name}.pixel", y, g.hold(f"{name}.pixel.shape", pixel))
    return g.add("Mul", name, x, g.add("Sigmoid", f"{name}.gate", y))


def _linear(g: Graph, name: str, plan: layers.Linear, module: nn.Module, x: str, side: int) -> str:
    held = [g.hold(f"{name}.{key}", value * plan.scale) for key, value in module.named_parameters()]
    return g.add("Gemm", name, x, *held, transB=1)


FLATTENS = {"avg": "GlobalAveragePool", "max": "GlobalMaxPool", "all": "Identity"}


def _flatten(g: Graph, name: str, plan: layers.Flatten, module: nn.Module, x: str, _: int) -> str:
    return g.add("Flatten", name, g.add(FLATTENS[plan.kind], f"{name}.pixel", x))


WRITERS: dict[type[Layer], Callable[..., str]] = {
    layers.Conv: _conv,
    layers.Norm: _norm,
    layers.Act: _act,
    layers.Pool: _pool,
    layers.Pad: _pad,
    layers.Gate: _gate,
    layers.Linear: _linear,
    layers.Flatten: _flatten,
}
