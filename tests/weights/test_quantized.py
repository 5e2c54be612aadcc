"""OpenVINO's files within a model file: looked through before OpenVINO sees them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from resnets.data.preprocess import Preprocess
from resnets.engines.openvino import open_engine
from resnets.errors import UserError
from resnets.extras import library
from resnets.nn import ResNet
from resnets.spec import ResNetSpec, Stem
from resnets.training.machine import Machine
from resnets.weights import model_file, quantized
from resnets.weights.model_file import Model, load, load_any, save
from resnets.weights.onnx_writer import to_onnx
from resnets.weights.quantized import GRAPH, NUMBERS, pack, unpack

TINY = ResNetSpec("tiny", (1,), (2,), stem=Stem(2, 3, 1, "none"), num_classes=2, image_size=8)
openvino = library("openvino", "export", "the test")  # as it is imported without telemetry
PHOTOS = Preprocess.for_photos(8, 9)
Draw = Callable[[nn.Module], None]


@pytest.fixture(scope="module")
def plain(draw: Draw) -> Model:
    net = ResNet(TINY)
    draw(net)
    return Model(TINY, ("a", "b"), PHOTOS, net.state_dict())


@pytest.fixture(scope="module")
def files(plain: Model, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Return what OpenVINO itself writes for a network (here in float32)."""
    xml = tmp_path_factory.mktemp("ir") / "m.xml"
    openvino.serialize(openvino.Core().read_model(to_onnx(plain)), str(xml))
    return xml.read_bytes(), xml.with_suffix(".bin").read_bytes()


@pytest.fixture(scope="module")
def model(plain: Model, files: tuple[bytes, bytes]) -> Model:
    return dataclasses.replace(plain, weights=pack(*files), quantization={"engine": "openvino"})


def test_there_and_back(model: Model, plain: Model, tmp_path: Path) -> None:
    save(model, tmp_path / "m.safetensors")
    again = load_any(tmp_path / "m.safetensors")
    assert again.describe() == model.describe()
    assert again.quantization == {"engine": "openvino"}
    x = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        expected = plain.network()(x)
    found = open_engine(again, Machine("cpu", "fp32"), "int8").start(x)()
    assert torch.allclose(found, expected, atol=0.05 * float(expected.abs().max()))


def test_what_is_written_anew_says_the_same(files: tuple[bytes, bytes]) -> None:
    once = unpack(pack(*files), TINY, PHOTOS)
    assert unpack(pack(*once), TINY, PHOTOS) == once
    assert b"rt_info" not in once[0]


def test_it_is_for_use_only(model: Model, tmp_path: Path) -> None:
    save(model, tmp_path / "m.safetensors")
    with pytest.raises(UserError, match=r"m.safetensors: is quantised to int8, for predict and"):
        load(tmp_path / "m.safetensors")
    with pytest.raises(UserError, match="this tiny is quantised to int8"):
        model.network()


def test_an_older_version_refuses_it(model: Model) -> None:
    assert model.describe()["format"] != model_file.FORMAT


# -- files that others have written ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b'type="ReLU"', b'type="ReadValue"', "has a layer 'ReadValue' of 'opset1'"),
        (b'type="ReLU"', b'type="Loop"', "has a layer 'Loop'"),
        (b'type="ReLU" version="opset1"', b'type="ReLU" version="mine"', "'ReLU' of 'mine'"),
        (b"<layers>", b"<layers><body />", "has a layer ''"),
        (b'version="11"', b'version="10"', "is not OpenVINO's version 11"),
        (b"<edges>", b"<edgy>", "its graph is no XML"),
        (b'<?xml version="1.0"?>', b'<!DOCTYPE n [<!ENTITY a "b">]>', "with declarations"),
        (b'shape="?,3,8,8"', b'shape="?,3,9,8"', "its input is not of the shape"),
        (b'shape="?,3,8,8"', b'shape="...,3,8,8"', "its input is not of the shape"),
        (b'offset="0"', b'offset="99999999"', "beyond the end of its numbers"),
        (b'offset="0"', b'offset="-4"', "beyond the end of its numbers"),
        (b'offset="0"', b'offset="' + b"9" * 5000 + b'"', "integer string conversion"),
        (b'element_type="f32" shape="2, 3, 3, 3"', b'element_type="f32" shape="2, 3"', "constant"),
        (b'element_type="f32" shape="2, ', b'element_type="string" shape="2, ', "'string'"),
        (b"<dim>8</dim>", b"<dim>8000000000</dim>", "a map of the shape"),
        (b"<dim>8</dim>", b"<dim>-7</dim>", "a map of the shape"),
        (b"<dim>8</dim>", b"<dim>eight</dim>", "invalid literal"),
        (b'from-layer="0"', b'from-layer="../x"', "invalid literal"),
        (b'type="Result"', b'type="Sigmoid"', "not one input and one output"),
    ],
    ids=lambda value: value.decode()[:40] if isinstance(value, bytes) else "",
)
def test_what_is_no_network_of_ours(
    old: bytes, new: bytes, problem: str, files: tuple[bytes, bytes], model: Model, tmp_path: Path
) -> None:
    assert old in files[0]
    text = forged(model, pack(files[0].replace(old, new), files[1]), tmp_path)
    assert "not a quantised network (" in text
    assert problem in text


def forged(model: Model, tensors: dict[str, Tensor], folder: Path, **changes: object) -> str:
    """Write a file with a right digest, whatever is in it, and return how it is refused."""
    text = json.dumps(model.describe() | changes)
    header = {"resnets": text, "sha256": model_file._digest(text, tensors)}
    save_file(tensors, folder / "m", metadata=header)
    with pytest.raises(UserError) as error:
        load_any(folder / "m")
    return str(error.value)


def test_other_tensors(model: Model, files: tuple[bytes, bytes], tmp_path: Path) -> None:
    good = pack(*files)
    for tensors in (
        {GRAPH: good[GRAPH]},
        good | {"more": good[GRAPH].clone()},
        good | {GRAPH: good[GRAPH].float()},
        good | {NUMBERS: good[NUMBERS][None]},
    ):
        assert "not a quantised network (" in forged(model, tensors, tmp_path)


def test_a_record_that_is_none(model: Model, files: tuple[bytes, bytes], tmp_path: Path) -> None:
    for value in ({}, [], "int8", None):
        text = forged(model, pack(*files), tmp_path, quantization=value)
        assert "not a complete model file (quantization is" in text


def test_float_weights_that_say_they_are_int8(plain: Model, tmp_path: Path) -> None:
    changes = {"format": model_file.INT8, "quantization": {"engine": "openvino"}}
    text = forged(plain, dict(plain.weights), tmp_path, **changes)
    assert "not a quantised network (" in text


def test_a_graph_that_is_too_large(
    files: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantized, "MAX_GRAPH", 100)
    with pytest.raises(ValueError, match="a graph of more than 100 bytes"):
        unpack(pack(*files), TINY, PHOTOS)


def test_ends_that_openvino_reads_otherwise(
    plain: Model, model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, draw: Draw
) -> None:
    net = ResNet(TINY.replace(num_classes=3))
    draw(net)
    other = dataclasses.replace(plain, spec=net.spec, weights=net.state_dict())
    xml = tmp_path / "m.xml"
    openvino.serialize(openvino.Core().read_model(to_onnx(other)), str(xml))
    files = xml.read_bytes(), xml.with_suffix(".bin").read_bytes()
    monkeypatch.setattr(quantized, "unpack", lambda *_: files)
    with pytest.raises(UserError, match=r"cannot compute this tiny \(its input is .*, its output"):
        open_engine(model, Machine("cpu", "fp32"), "int8")
