"""Networks in int8 within a model file: OpenVINO's description of them, and its numbers.

OpenVINO's reader is native code and follows what the text says, so a file that somebody else has
written is looked through first: it must be a network of the kinds of layers that ours consist of,
with our input and output and no way out of the file, and what OpenVINO gets is written anew from
what was understood (https://docs.openvino.ai, "OpenVINO IR format", version 11).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from xml.etree import ElementTree

import torch
from torch import Tensor

from resnets.data.preprocess import Preprocess
from resnets.spec import ResNetSpec

GRAPH, NUMBERS = "openvino.xml", "openvino.bin"
"""The two tensors, uint8, that such a model consists of."""
MAX_GRAPH = 64 * 2**20
MAX_VALUES = 2**27
"""Numbers in one map of one photo: the largest network has 2²² at 448 px."""
LAYERS = frozenset(
    {
        *(("Parameter", "opset1"), ("Const", "opset1"), ("Result", "opset1")),
        *(("Add", "opset1"), ("Subtract", "opset1"), ("Multiply", "opset1")),
        *(("Divide", "opset1"), ("Convert", "opset1"), ("FakeQuantize", "opset1")),
        *(("Convolution", "opset1"), ("GroupConvolution", "opset1"), ("MatMul", "opset1")),
        *(("ReLU", "opset1"), ("PReLU", "opset1"), ("Sigmoid", "opset1")),
        *(("AvgPool", "opset1"), ("MaxPool", "opset8"), ("Pad", "opset12")),
        *(("ReduceMean", "opset1"), ("ReduceMax", "opset1"), ("MVN", "opset6")),
        *(("BatchNormInference", "opset5"), ("Identity", "opset16"), ("Slice", "opset8")),
        *(("Reshape", "opset1"), ("Squeeze", "opset1"), ("Concat", "opset1")),
        *(("Range", "opset4"), ("ShapeOf", "opset3"), ("Broadcast", "opset3")),
        ("VariadicSplit", "opset1"),
    }
)
PORT = ("id", "precision")
WIDTHS = {"f32": 4, "i8": 1, "i64": 8}
"""Bytes of a number, by its type."""


def pack(graph: bytes, numbers: bytes) -> dict[str, Tensor]:
    """Return the tensors of a model file for OpenVINO's two files."""
    return {
        name: torch.frombuffer(bytearray(content), dtype=torch.uint8)
        for name, content in ((GRAPH, graph), (NUMBERS, numbers))
    }


def unpack(
    tensors: Mapping[str, Tensor], spec: ResNetSpec, preprocess: Preprocess
) -> tuple[bytes, bytes]:
    """Return OpenVINO's two files of `pack`'s tensors, the first one written anew.

    Raises:
      ValueError: they are not of a network like ours; the message says why.
    """
    if set(tensors) != {GRAPH, NUMBERS}:
        raise ValueError(f"{sorted(tensors)[:4]} are not {GRAPH} and {NUMBERS}")
    for name, value in tensors.items():
        if value.dtype != torch.uint8 or value.ndim != 1:
            raise ValueError(f"{name} is not a row of bytes")
    if len(tensors[GRAPH]) > MAX_GRAPH:
        raise ValueError(f"a graph of more than {MAX_GRAPH:,} bytes")
    text, numbers = (tensors[name].numpy().tobytes() for name in (GRAPH, NUMBERS))
    if b"<!" in text:  # entities, which can grow without end
        raise ValueError("a graph with declarations")
    try:
        root = ElementTree.fromstring(text.decode())
    except (ElementTree.ParseError, UnicodeDecodeError, ValueError, LookupError) as error:
        raise ValueError(f"its graph is no XML: {error}") from None
    layers, edges = root.find("layers"), root.find("edges")
    if root.tag != "net" or root.get("version") != "11" or layers is None or edges is None:
        raise ValueError("its graph is not OpenVINO's version 11")
    clean = ElementTree.Element("net", {"name": spec.name, "version": "11"})
    clean.append(_layers(layers, len(numbers), spec, preprocess.size))
    clean.append(_edges(edges))
    return ElementTree.tostring(clean), numbers


def _layers(
    layers: ElementTree.Element, available: int, spec: ResNetSpec, size: int
) -> ElementTree.Element:
    clean = ElementTree.Element("layers")
    kinds: list[str] = []
    photos = (-1, spec.in_channels, size, size)
    outputs = (-1, spec.num_classes or spec.num_features)
    entry = {"shape": f"?,{spec.in_channels},{size},{size}", "element_type": "f32"}
    for layer in layers:
        kind = layer.get("type", ""), layer.get("version", "")
        if layer.tag != "layer" or kind not in LAYERS:
            raise ValueError(f"its graph has a layer {kind[0][:40]!r} of {kind[1][:40]!r}")
        kept = {name: layer.get(name, "") for name in ("id", "name", "type", "version")}
        copy = ElementTree.SubElement(clean, "layer", kept)
        found = layer.find("data")
        data = {} if found is None else found.attrib
        if data:
            ElementTree.SubElement(copy, "data", data)
        inputs, results = (_ports(layer, side, copy) for side in ("input", "output"))
        kinds.append(kind[0])
        if kind[0] == "Parameter" and (results != [photos] or data != entry):
            raise ValueError(f"its input is not of the shape {photos}")
        if kind[0] == "Result" and inputs != [outputs]:
            raise ValueError(f"its output is not of the shape {outputs}")
        if kind[0] == "Const":
            _check_numbers(data, available)
    if kinds.count("Parameter") != 1 or kinds.count("Result") != 1:
        raise ValueError("its graph has not one input and one output")
    return clean


def _ports(
    layer: ElementTree.Element, side: str, copy: ElementTree.Element
) -> list[tuple[int, ...]]:
    """Copy the inputs or outputs of a layer, and return their shapes."""
    group = layer.find(side)
    if group is None:
        return []
    shapes, group_copy = [], ElementTree.SubElement(copy, side)
    for port in group:
        kept = {name: value for name, value in port.attrib.items() if name in PORT}
        port_copy = ElementTree.SubElement(group_copy, "port", kept)
        shape = tuple(int(dim.text or "") for dim in port.findall("dim"))
        for value in shape:
            ElementTree.SubElement(port_copy, "dim").text = str(value)
        if min(shape, default=0) < -1 or math.prod(map(abs, shape)) > MAX_VALUES:
            raise ValueError(f"a map of the shape {shape}"[:100])
        shapes.append(shape)
    return shapes


def _check_numbers(data: Mapping[str, str], available: int) -> None:
    """Raise ValueError for a constant that does not lie within the numbers of the file."""
    kind, shape = data.get("element_type", ""), data.get("shape", "")
    offset, size = int(data.get("offset", "-1")), int(data.get("size", "-1"))
    if kind not in WIDTHS:
        raise ValueError(f"numbers of the type {kind[:40]!r}")
    sides = [int(side) for side in shape.split(",")] if shape.strip() else []
    if min([0, *sides]) < 0 or math.prod(sides) * WIDTHS[kind] != size:
        raise ValueError(f"{size} bytes for a constant of the shape {shape[:40]}")
    if not 0 <= offset <= offset + size <= available:
        raise ValueError("a constant beyond the end of its numbers")


def _edges(edges: ElementTree.Element) -> ElementTree.Element:
    clean = ElementTree.Element("edges")
    for edge in edges:
        ends = ("from-layer", "from-port", "to-layer", "to-port")
        ElementTree.SubElement(clean, "edge", {end: str(int(edge.get(end, ""))) for end in ends})
    return clean
