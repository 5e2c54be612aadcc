"""Model files, Keras' own files and keras.applications: there and back, with the same answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import resnets.keras
from resnets.data.preprocess import Preprocess
from resnets.errors import UserError
from resnets.nn import ResNet
from resnets.weights import model_file
from resnets.weights.convert import open_model
from resnets.weights.export import export
from resnets.weights.model_file import Model
from resnets.zoo import get_spec

Build = Callable[..., ResNet]
# TensorFlow's tensors do not know NumPy 2's `copy` yet, which Keras' writer asks them for.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")


@pytest.fixture
def make(torch_net: Build) -> Callable[..., Model]:
    def model(name: str, classes: int = 3, **changes: Any) -> Model:
        spec = get_spec(name).replace(num_classes=classes, **changes)
        names = tuple(f"class {i}" for i in range(classes))
        spec = spec if spec.head.pool == "all" else spec.replace(image_size=64)
        return Model(spec, names, Preprocess(64, 64), torch_net(spec).state_dict())

    return model


def same_weights(found: Model, expected: Model) -> None:
    assert set(found.weights) == set(expected.weights)
    for name, value in expected.weights.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(found.weights[name], value), name


def test_a_model_file_in_keras_and_back(
    make: Callable[..., Model], assert_same: Callable[..., None], tmp_path: Path
) -> None:
    model = replace(make("resnet18"), calibration={"temperature": 2.0, "split": "val", "n": 99})
    model_file.save(model, tmp_path / "m.safetensors")
    net = resnets.keras.from_model(tmp_path / "m.safetensors")
    assert_same(net, model.network(), 64)
    resnets.keras.save_model(net, tmp_path / "back.safetensors", like=tmp_path / "m.safetensors")
    again = model_file.load(tmp_path / "back.safetensors")
    same_weights(again, model)
    assert again.calibration == {}  # Keras may have trained it further
    assert (again.spec, again.classes, again.preprocess) == (
        *(model.spec, model.classes),
        model.preprocess,
    )


def test_tensorflow_may_come_first(make: Callable[..., Model], tmp_path: Path) -> None:
    """Triton, which torchvision and torch's optimisers load, would crash the process then."""
    torch.save(make("resnet18", 1000).weights, tmp_path / "m.pth")
    script = (
        "import keras, resnets.keras, resnets, torch\n"
        f"resnets.keras.from_model({str(tmp_path / 'm.pth')!r})\n"
        "torch.optim.SGD(resnets.create_model('resnet20').parameters(), 0.1).step()\n"
        "print('from_model' in dir(resnets.keras))"
    )
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


def test_a_file_is_not_taken_for_weights() -> None:
    with pytest.raises(UserError, match=r"read by resnets\.keras\.from_model"):
        resnets.keras.create_model("resnet20", weights="m.safetensors")  # type: ignore[arg-type]


def test_a_keras_model_of_another_network_is_no_such_file(
    make: Callable[..., Model], tmp_path: Path
) -> None:
    model_file.save(make("resnet18"), tmp_path / "m.safetensors")
    net = resnets.keras.create_model("resnet20")
    with pytest.raises(UserError, match="are not those of a resnet18"):
        resnets.keras.save_model(net, tmp_path / "x", like=tmp_path / "m.safetensors")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "seresnet18", "ecaresnet26t", "resnetblur18", "resnet20", "iresnet18"),
        *("plain20", "resnet50_v1"),
    ],
)
def test_a_keras_file_comes_back_as_the_same_bits(
    name: str, make: Callable[..., Model], tmp_path: Path
) -> None:
    model = make(name)
    export(model, "keras", tmp_path / "x.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["x.keras"]
    photos = "faces" if name == "iresnet18" else "torchvision"
    again = open_model(tmp_path / "x.keras", preprocess=photos)
    assert again.spec.name == name
    same_weights(again, model)
    assert again.spec.replace(image_size=1) == model.spec.replace(image_size=1)


def test_weights_alone_come_back_too(make: Callable[..., Model], tmp_path: Path) -> None:
    model = make("resnet20", 10)
    export(model, "keras", tmp_path / "x.weights.h5")
    net = resnets.keras.create_model("resnet20")
    net.load_weights(tmp_path / "x.weights.h5")
    assert np.array_equal(resnets.keras.get_state(net)["fc.bias"], model.weights["fc.bias"].numpy())


@pytest.mark.parametrize("name", ["keras_resnet50", "keras_resnet50v2"])
def test_keras_applications_load_their_rows(
    name: str, make: Callable[..., Model], tmp_path: Path
) -> None:
    model, path = make(name), tmp_path / "x.keras"
    export(model, "keras", path)
    net = keras.saving.load_model(path)
    assert net.name in ("resnet50", "resnet50v2")
    x = np.random.default_rng(0).standard_normal((2, 64, 64, 3)).astype("float32")
    with torch.no_grad():
        expected = model.network()(torch.from_numpy(x).permute(0, 3, 1, 2)).softmax(1).numpy()
    np.testing.assert_allclose(np.asarray(net(x, training=False)), expected, atol=1e-5)
    again = open_model(path)
    assert again.spec.name == name
    same_weights(again, model)
    assert again.preprocess.order == ("BGR" if name == "keras_resnet50" else "RGB")
