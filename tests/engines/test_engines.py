"""Every engine gives every photo the same probabilities, or says clearly why it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import resnets
from resnets import extras
from resnets.data.preprocess import Preprocess
from resnets.engines import ENGINES, open_engine
from resnets.errors import UserError
from resnets.nn import ResNet
from resnets.predict import Predictor
from resnets.spec import ResNetSpec
from resnets.tasks.classify import Classify
from resnets.training.inference import Eager, probabilities
from resnets.training.machine import Machine
from resnets.weights import model_file
from resnets.weights.model_file import Model

Draw = Callable[[nn.Module], None]
CPU = Machine("cpu", "fp32")


@pytest.mark.parametrize("engine", ENGINES)
def test_all_agree_with_the_network_to_a_hundred_thousandth(
    engine: str, model: Model, photos: list[Any], tmp_path: Path
) -> None:
    model_file.save(model, tmp_path / "m.safetensors")
    found = resnets.load(tmp_path / "m.safetensors", "cpu", engine=engine).probabilities(photos)
    prepared = np.array([model.preprocess.prepare(photo) for photo in photos])
    plain = Eager(model.network(), "cpu")
    batch = [((), prepared)]
    [(_, expected)] = probabilities(plain, Classify(model.classes), model.preprocess, batch)
    assert np.abs(found - expected).max() < 1e-5
    assert np.ptp(expected, 0).max() > 0.05  # or agreeing would say little


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_every_row(engine: str, row_spec: ResNetSpec, draw: Draw) -> None:
    torch.manual_seed(0)  # some draws make logits of hundreds, whose rounding shows
    net = ResNet(row_spec)
    draw(net)
    size, classes = row_spec.image_size, tuple(map(str, range(row_spec.num_classes)))
    photos = Preprocess.for_photos(size, size, row_spec.in_channels)
    model = Model(row_spec, classes, photos, net.state_dict())
    x = torch.randn(3, row_spec.in_channels, size, size)
    with torch.no_grad():
        expected = model.network()(x).softmax(1)
    found = open_engine(model, CPU, engine).engine.start(x)().softmax(1)
    assert float((found - expected).abs().max()) < 1e-5


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_bf16_is_done_and_differs_little(engine: str, model: Model, photos: list[Any]) -> None:
    exact = Predictor.of(model, "cpu").probabilities(photos)
    rough = Predictor.of(model, "cpu", engine=engine, precision="bf16")
    assert (rough.ready.name, rough.ready.precision) == (engine, "bf16")
    off = np.abs(rough.probabilities(photos) - exact).max()
    assert 1e-6 < off < 0.1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("number", [0, 1, 16, 17])
def test_any_number_of_photos(engine: str, number: int, model: Model) -> None:
    ready = open_engine(model, CPU, engine)
    x = torch.randn(number, 24, 24, 3).permute(0, 3, 1, 2)
    assert ready.engine.start(x)().shape == (number, 3)
    assert ready.engine.start(x)().dtype == torch.float32


@pytest.mark.parametrize("engine", ENGINES)
def test_batches_that_are_under_way_together_do_not_mix(engine: str, model: Model) -> None:
    ready = open_engine(model, CPU, engine)
    batches = torch.randn(5, 20, 24, 24, 3).permute(0, 1, 4, 2, 3)
    waits = [ready.engine.start(batch) for batch in batches]
    together = [wait().clone() for wait in waits]
    for batch, found in zip(batches, together, strict=True):
        assert torch.equal(ready.engine.start(batch)(), found)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_does_not_decode_has_a_row(engine: str, model: Model, photos: list[Any]) -> None:
    inputs = [photos[0], b"no photo", photos[1], *[b"nor this"] * 70, photos[2]]
    rows = Predictor.of(model, "cpu", engine=engine).predict(inputs)
    read = [i for i, row in enumerate(rows) if row.status == "ok"]
    assert len(rows) == len(inputs)
    assert read == [0, 2, 73]


# -- what cannot be done --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"engine": "openvin"}, "--engine openvin: unknown; did you mean openvino"),
        ({"engine": "tpu"}, "--engine tpu: unknown; one of: auto, torch, openvino, onnxruntime"),
        ({"precision": "fp64"}, "--precision fp64: one of fp32, bf16, int8"),
        ({"precision": "int8"}, "--precision int8: takes a model that is quantised"),
        (
            {"engine": "onnxruntime", "precision": "bf16"},
            "--engine onnxruntime: has no bf16; torch or openvino has",
        ),
        (
            {"engine": "openvino", "device": "cuda"},
            "--engine openvino: computes on the CPU, and not on --device cuda",
        ),
    ],
    ids=str,
)
def test_what_is_refused(options: dict[str, str], problem: str, model: Model) -> None:
    with pytest.raises(UserError) as error:
        Predictor.of(model, **options)
    assert problem in str(error.value)


@pytest.mark.parametrize("name", ["onnx", "openvino", "onnxruntime"])
def test_a_library_that_is_not_there(
    name: str, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    engine = "openvino" if name == "onnx" else name
    with pytest.raises(UserError, match=rf"needs {name}; pip install 'resnets\[export\]'"):
        open_engine(model, CPU, engine)


@pytest.mark.parametrize("there", [None, ModuleType(extras.TELEMETRY)])
def test_importing_a_library_keeps_its_telemetry_out(
    there: ModuleType | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, extras.TELEMETRY, raising=False)
    if there:
        monkeypatch.setitem(sys.modules, extras.TELEMETRY, there)
    seen: list[object] = []
    monkeypatch.setattr(
        extras.importlib, "import_module", lambda name: seen.append(sys.modules[extras.TELEMETRY])
    )
    extras.library("openvino", "export", "a test")
    assert seen == [None]
    assert sys.modules.get(extras.TELEMETRY) is there  # what the user imports is theirs


def test_openvino_and_nncf_work_without_it() -> None:
    code = (
        "import sys\n"
        "from resnets.extras import library\n"
        "library('openvino', 'export', ''), library('nncf', 'export', '')\n"
        "assert not [m for m in sys.modules if m.split('.')[0] == 'openvino_telemetry']\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
