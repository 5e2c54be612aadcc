"""Graphs that are written from the plan: checked by onnx, computed by ONNX Runtime, read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from resnets.data.preprocess import Preprocess
from resnets.errors import UserError
from resnets.nn import ResNet
from resnets.spec import ResNetSpec
from resnets.weights.convert import open_model
from resnets.weights.export import export
from resnets.weights.model_file import Model
from resnets.weights.onnx_writer import to_onnx
from resnets.zoo import get_spec

Draw = Callable[[nn.Module], None]


def make(spec: ResNetSpec, draw: Draw) -> Model:
    net = ResNet(spec)
    draw(net)
    names = tuple(f"class {i}" for i in range(spec.num_classes))
    size = spec.image_size
    photos: Any = SimpleNamespace(size=size, to_dict=dict)
    if spec.in_channels in (1, 3):
        photos = Preprocess.for_photos(size, size, spec.in_channels)
    return Model(spec, names, photos, net.state_dict())


def computes(model: Model, content: bytes, batch: int = 2) -> None:
    """Assert that ONNX Runtime puts out for a graph what PyTorch does for the model."""
    spec = model.spec
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    shape = (batch, spec.in_channels, spec.image_size, spec.image_size)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.network().double()(x.double()).numpy()
        single = model.network()(x).numpy()
    (found,) = session.run(None, {"images": x.numpy()})
    assert found.shape == expected.shape
    # Standardised weights of a few values magnify what single precision rounds, in PyTorch too.
    rounding = 4 * np.abs(single - expected).max()
    assert np.abs(found - expected).max() < 1e-4 * max(np.abs(expected).max(), 1e-3) + rounding


def test_every_row(row_spec: ResNetSpec, draw: Draw) -> None:
    model = make(row_spec, draw)
    content = to_onnx(model)
    onnx.checker.check_model(content, full_check=True)
    computes(model, content)


@given(spec=st.from_type(ResNetSpec), batch=st.integers(1, 3))
@settings(max_examples=40)
def test_networks_of_every_kind(spec: ResNetSpec, batch: int, draw: Draw) -> None:
    model = make(spec, draw)
    computes(model, to_onnx(model), batch)


def test_what_the_file_says_of_itself(draw: Draw) -> None:
    model = make(get_spec("resnet20"), draw)
    proto = onnx.load_from_string(to_onnx(model))
    said = {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
    assert said == {"classes": list(model.classes), "preprocess": model.preprocess.to_dict()}
    assert [value.name for value in (*proto.graph.input, *proto.graph.output)] == [
        "images",
        "logits",
    ]
    assert not {"BatchNormalization"} & {node.op_type for node in proto.graph.node}


def test_there_and_back(tmp_path: Path, draw: Draw) -> None:
    model = make(get_spec("resnet18").replace(num_classes=3, image_size=64), draw)
    export(model, "onnx", tmp_path / "x.onnx")
    again = open_model(tmp_path / "x.onnx", classes=model.classes)
    assert again.spec.shares_weights_with(model.spec)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, found = model.network()(x), again.network()(x)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4


def test_another_ending(tmp_path: Path, draw: Draw) -> None:
    with pytest.raises(UserError, match=r"x.pth: ONNX is written as .onnx"):
        export(make(get_spec("resnet20"), draw), "onnx", tmp_path / "x.pth")


def test_a_network_that_onnx_cannot_hold() -> None:
    spec = get_spec("resnetv2_152x4_bit")
    model = Model(spec, (), Preprocess.for_photos(224, 224), {})
    with pytest.raises(UserError, match="weights of more than 2 GiB, and ONNX holds no more"):
        to_onnx(model)
