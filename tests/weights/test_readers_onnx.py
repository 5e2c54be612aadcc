"""ONNX models, made by its own helpers."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from resnets.errors import UserError
from resnets.weights.readers import read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model"


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    assert len(message) < 800, message
    return message


def stem(*extra: Any, **graph: Any) -> Any:
    """Return a small model; `extra` are more initialisers."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(4, 3, 3, 3)).astype("f4")
    nodes = [
        helper.make_node(
            "Constant", [], ["shape"], value=numpy_helper.from_array(np.array([0, 4]))
        ),
        helper.make_node(
            "Conv", ["x", "conv.weight", "conv.bias"], ["a"], name="conv", pads=[1] * 4, group=1
        ),
        helper.make_node("LeakyRelu", ["a"], ["b"], alpha=0.25),
        helper.make_node("GlobalAveragePool", ["b"], ["c"], name="pool"),
        helper.make_node("Reshape", ["c", "shape"], ["y"]),
        helper.make_node("Pad", ["y"], ["z"], mode="constant", names=["a", "b"], scales=[0.5, 2.0]),
    ]
    built = helper.make_graph(
        nodes,
        "stem",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8]),
            helper.make_tensor_value_info("conv.weight", TensorProto.FLOAT, [4, 3, 3, 3]),
        ],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 4])],
        [
            numpy_helper.from_array(kernel, "conv.weight"),
            numpy_helper.from_array(np.ones(4, "f4"), "conv.bias"),
            *extra,
        ],
        **graph,
    )
    model = helper.make_model(built, producer_name="maker", producer_version="1.2")
    helper.set_model_props(model, {"author": "me"})
    return model


def test_a_graph(path: Path) -> None:
    model = stem()
    onnx.save(model, path)
    found = read(path)
    assert found.format == "onnx"
    assert list(found.tensors) == ["conv.weight", "conv.bias", "shape"]
    stored = torch.from_numpy(numpy_helper.to_array(model.graph.initializer[0]).copy())
    assert torch.equal(found.tensors["conv.weight"], stored)
    assert found.tensors["shape"].tolist() == [0, 4]
    facts = found.facts
    assert facts["nodes"][1] == {
        "op": "Conv",
        "name": "conv",
        "inputs": ["x", "conv.weight", "conv.bias"],
        "outputs": ["a"],
        "attributes": {"pads": [1, 1, 1, 1], "group": 1},
    }
    assert [node["op"] for node in facts["nodes"]] == [
        *("Constant", "Conv", "LeakyRelu", "GlobalAveragePool", "Reshape", "Pad")
    ]
    assert facts["nodes"][2]["attributes"] == {"alpha": 0.25}
    assert facts["nodes"][5]["attributes"] == {
        "mode": "constant",
        "names": ["a", "b"],
        "scales": [0.5, 2.0],
    }
    assert facts["inputs"] == [{"name": "x", "shape": [None, 3, 8, 8]}]
    assert facts["outputs"] == [{"name": "z", "shape": [None, 4]}]
    assert facts["opsets"] == {"ai.onnx": model.opset_import[0].version}
    assert (facts["producer"], facts["metadata"]) == ("maker 1.2", {"author": "me"})
    json.dumps(facts, allow_nan=False)


KINDS = {
    "float": (TensorProto.FLOAT, torch.float32),
    "double": (TensorProto.DOUBLE, torch.float64),
    "float16": (TensorProto.FLOAT16, torch.float16),
    "bfloat16": (TensorProto.BFLOAT16, torch.bfloat16),
    "int32": (TensorProto.INT32, torch.int32),
    "int64": (TensorProto.INT64, torch.int64),
}


@pytest.mark.parametrize(("kind", "dtype"), KINDS.values(), ids=KINDS)
def test_both_ways_to_store_values(path: Path, kind: int, dtype: torch.dtype) -> None:
    values = [-3, 0, 1, 2, 70]
    typed = helper.make_tensor("typed", kind, [5], values)
    raw_bytes = torch.tensor(values).to(dtype).view(torch.uint8).numpy().tobytes()
    raw = helper.make_tensor("raw", kind, [5], raw_bytes, raw=True)
    none = helper.make_tensor("none", kind, [0], [])
    onnx.save(stem(typed, raw, none), path)
    found = read(path).tensors
    for name in ("typed", "raw"):
        assert found[name].dtype == dtype
        assert found[name].tolist() == values
    assert found["none"].shape == (0,)


def test_operators_of_other_domains_say_so(path: Path) -> None:
    model = stem()
    model.graph.node.append(helper.make_node("Magic", ["z"], ["q"], domain="com.acme"))
    onnx.save(model, path)
    assert read(path).facts["nodes"][-1]["op"] == "com.acme.Magic"


def external(location: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        weight = model.graph.initializer[0]
        onnx.external_data_helper.set_external_data(weight, location)
        weight.ClearField("raw_data")

    return change


def add(tensor: Any) -> Callable[[Any], None]:
    return lambda model: model.graph.initializer.append(tensor)


def _subgraph(model: Any) -> None:
    branch = helper.make_graph([], "then", [], [])
    model.graph.node.append(
        helper.make_node("If", ["c"], ["d"], name="if", then_branch=branch, else_branch=branch)
    )


def _function(model: Any) -> None:
    model.functions.append(helper.make_function("own", "f", [], [], [], []))


def _sparse(model: Any) -> None:
    values = numpy_helper.from_array(np.ones(1, "f4"), "w")
    places = numpy_helper.from_array(np.zeros(1, "i8"), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [9]))


def _tensor_attribute(model: Any) -> None:
    value = numpy_helper.from_array(np.ones(1, "f4"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["s"], ["t"], value=value))


def _dims(*dims: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        model.graph.initializer[0].dims[:] = dims

    return change


def _nan(model: Any) -> None:
    add(numpy_helper.from_array(np.array([1, np.nan], "f4"), "w"))(model)


EXTERNAL = "which is no file beside model; no other is opened"
ODD = {
    "data outside": (external("../secret"), EXTERNAL),
    "data anywhere": (external("/etc/passwd"), EXTERNAL),
    "data in a folder": (external("sub/secret"), EXTERNAL),
    "data that is not there": (external("absent"), EXTERNAL),
    "graph in a graph": (_subgraph, "If if has an attribute else_branch"),
    "function": (_function, "functions of its own"),
    "sparse": (_sparse, "has sparse weights"),
    "tensor attribute": (_tensor_attribute, "has an attribute value that is neither"),
    "absurd shape": (_dims(2**40, 2**20), "is more than such a file can hold"),
    "negative shape": (_dims(-1, 3), "tensor conv.weight has shape [-1, 3]"),
    "other shape": (_dims(4, 3, 3), "of shape [4, 3, 3] has 108 values"),
    "no values": (lambda model: model.graph.initializer[0].ClearField("raw_data"), "has 0 values"),
    "twice": (add(numpy_helper.from_array(np.ones(1, "f4"), "conv.bias")), "comes twice"),
    "int8": (add(numpy_helper.from_array(np.ones(1, "i1"), "w")), "tensor w has dtype number 3"),
    "complex": (add(numpy_helper.from_array(np.ones(1, "c8"), "w")), "w has dtype number 14"),
    "text": (add(helper.make_tensor("w", TensorProto.STRING, [1], [b"x"])), "dtype number 8"),
    "integers": (add(numpy_helper.from_array(np.ones((2, 2), "i8"), "w")), "w has integers"),
    "NaN": (_nan, "tensor w holds NaN"),
    "no graph": (lambda model: model.ClearField("graph"), "no graph"),
    "no version": (lambda model: model.ClearField("opset_import"), "of no version"),
}


@pytest.mark.parametrize(("change", "part"), ODD.values(), ids=ODD)
def test_odd_models(path: Path, change: Callable[[Any], None], part: str) -> None:
    (path.parent / "secret").write_bytes(np.ones(108, "<f4").tobytes())
    model = stem()
    change(model)
    path.write_bytes(model.SerializeToString())
    assert part in refused(path)


def test_data_in_a_file_beside_as_onnx_saves_it(path: Path) -> None:
    onnx.save(stem(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    data = path.parent / "w.bin"
    stored = torch.from_numpy(numpy_helper.to_array(stem().graph.initializer[0]).copy())
    assert torch.equal(read(path).tensors["conv.weight"], stored)
    data.write_bytes(data.read_bytes()[:100])
    assert "has 25 values (damaged)" in refused(path)
    data.rename(path.parent / "elsewhere.bin")
    data.symlink_to(path.parent / "elsewhere.bin")
    assert EXTERNAL in refused(path)


def test_a_model_without_weights(path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    onnx.save(helper.make_model(graph), path)
    assert "holds no weights" in refused(path)


def test_without_the_package(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(stem(), path)

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert "reading it needs onnx; pip install 'resnets[export]'" in refused(path)
