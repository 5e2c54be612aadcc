"""Every kind of layer goes through quantisation, and what OpenVINO writes of it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from resnets.data.preprocess import Preprocess
from resnets.engines import open_engine
from resnets.engines.int8 import quantize
from resnets.engines.openvino import _check_sizes
from resnets.extras import library
from resnets.nn import ResNet
from resnets.spec import ResNetSpec
from resnets.training.machine import Machine
from resnets.weights.model_file import Model

CPU = Machine("cpu", "fp32")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("resnet34_a", "resnet50d", "resnext50_32x4d", "seresnet18", "ecaresnet26t", "resnetaa50"),
        *("resnetblur18", "resnet50_gn", "resnetv2_50x1_bit", "keras_resnet50v2", "iresnet18"),
        *("resnet9", "plain18", "preact_resnet18"),
    ],
)
def test_rows_of_every_kind(
    name: str, small: Callable[[str], ResNetSpec], draw: Callable[[nn.Module], None]
) -> None:
    spec = small(name)
    net = ResNet(spec)
    draw(net)
    size, classes = spec.image_size, tuple(map(str, range(spec.num_classes)))
    photos = Preprocess.for_photos(size, size, spec.in_channels)
    model = Model(spec, classes, photos, net.state_dict())
    x = torch.randn(24, spec.in_channels, size, size, generator=torch.Generator().manual_seed(0))
    tensors, record = quantize(model, x[:8])
    assert set(record["versions"]) == {"nncf", "openvino"}
    made = dataclasses.replace(model, weights=tensors, quantization=record)
    found = open_engine(made, CPU, "openvino", "int8").engine.start(x)()
    with torch.no_grad():
        expected = model.network()(x)
    # Drawn weights and noise are coarse to quantise; a graph gone wrong is far off.
    assert np.corrcoef(found.flatten(), expected.flatten())[0, 1] > 0.97
    weights = sum(value.numel() * value.element_size() for value in model.weights.values())
    assert len(tensors["openvino.bin"]) < 0.6 * weights


@pytest.mark.parametrize(("sides", "message"), [((1, 2**20, 256), "has the shape"), ((), "")])
def test_a_layer_that_computes_more_than_it_says_is_refused(
    sides: tuple[int, ...], message: str
) -> None:
    ops = pytest.importorskip("openvino.opset13")
    openvino = library("openvino", "export", "a test")
    photos = ops.parameter([-1, 4], np.float32, "photos")
    top = photos
    if sides:
        large = ops.broadcast(ops.constant(np.float32(1)), ops.constant(np.array(sides)))
        top = ops.add(photos, ops.reduce_mean(large, ops.constant(np.array([0, 1, 2]))))
    network = openvino.Model([top], [photos], "hostile")
    if not message:
        _check_sizes(network)
        return
    with pytest.raises(ValueError, match=message):
        _check_sizes(network)
