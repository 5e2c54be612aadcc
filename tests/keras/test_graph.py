"""Keras models of other people's making: recognised, followed, and refused where they differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import torch
from keras import layers

from resnets.errors import UserError
from resnets.weights.convert import open_model
from resnets.weights.keras_graph import with_todays_names
from resnets.weights.readers import Foreign

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Tensor = Any
Layer = Callable[[Tensor], Tensor]


def relu() -> Layer:
    return layers.Activation("relu")  # type: ignore[no-any-return]


def norm() -> Layer:
    return layers.BatchNormalization()  # type: ignore[no-any-return]


def downsampling(width: int) -> Layer:
    return layers.Conv2D(width, 3, 2, "same")  # type: ignore[no-any-return]


def mean(x: Tensor) -> Tensor:
    return layers.Flatten()(layers.AveragePooling2D(x.shape[1])(x))


def tiny(
    start: Layer = lambda x: x,
    act: Callable[[], Layer] = relu,
    down: Callable[[int], Layer] = downsampling,
    pool: Layer = mean,
    projected: Callable[[Tensor], Tensor] = lambda x: x,
) -> keras.Model:
    """Build MLPerf Tiny's ResNet-8 as its script does; the arguments put something in its place."""
    image = keras.Input((32, 32, 3))
    x = act()(norm()(layers.Conv2D(16, 3, padding="same")(start(image))))
    for number, width in enumerate((16, 32, 64)):
        y = down(width)(x) if number else layers.Conv2D(width, 3, padding="same")(x)
        y = layers.Conv2D(width, 3, padding="same")(act()(norm()(y)))
        y = norm()(y)
        x = projected(layers.Conv2D(width, 1, 2, "same")(x)) if number else x
        x = act()(layers.Add()([x, y]))
    model = keras.Model(image, layers.Dense(10, activation="softmax")(pool(x)))
    random = np.random.default_rng(0)
    for value in model.weights:
        spread = random.normal(0, 0.15, value.shape)
        value.assign(abs(spread) + 0.5 if value.path.endswith("variance") else spread)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.gamma.assign(random.uniform(0.5, 1.5, layer.gamma.shape))
    return model


@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_a_network_of_numbered_layers(kind: str, tmp_path: Path) -> None:
    keras.Sequential([keras.Input((4,)), layers.Dense(1)])  # numbers go on from model to model
    peer, path = tiny(), tmp_path / f"x.{kind}"
    peer.save(path)
    model = open_model(path)
    assert model.spec.name == "resnet8"
    x = np.random.default_rng(1).normal(size=(3, 32, 32, 3)).astype("float32")
    with torch.no_grad():
        found = model.network()(torch.from_numpy(x).permute(0, 3, 1, 2)).softmax(1).numpy()
    np.testing.assert_allclose(found, np.asarray(peer(x, training=False)), atol=1e-5)


def centred(width: int) -> Layer:
    """Convolve as PyTorch pads, one pixel on every side."""
    return lambda x: layers.Conv2D(width, 3, 2)(layers.ZeroPadding2D(1)(x))  # type: ignore[no-any-return]


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "leaky": ({"act": lambda: layers.LeakyReLU()}, "(LeakyReLU)"),
    "relu6": ({"act": lambda: layers.ReLU(max_value=6)}, "act1: it is not"),
    "no activation": ({"act": lambda: layers.Activation("linear")}, "act1: it is not"),
    "swish": ({"act": lambda: layers.Activation("swish")}, "(silu)"),
    "scaled": ({"start": layers.Rescaling(1 / 255)}, "conv1: it is not rescaling"),
    "maximum": ({"pool": layers.GlobalMaxPooling2D()}, "(top)"),
    "padding": ({"down": centred}, "layer2.0.conv1: it is not"),
    "activated shortcut": ({"projected": lambda x: relu()(x)}, "are not added"),
}


@pytest.mark.parametrize(("changes", "message"), OTHERS.values(), ids=OTHERS)
def test_what_the_weights_cannot_tell(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    tiny(**changes).save(tmp_path / "x.keras")
    with pytest.raises(UserError) as caught:
        open_model(tmp_path / "x.keras")
    assert "its weights fit resnet8, and its layers do not, at " in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.filterwarnings("ignore")  # Keras' own, of the format
def test_files_with_the_name_that_the_classifier_had(tmp_path: Path) -> None:
    """keras.applications' published files call it ``probs``."""
    peer, path = keras.applications.ResNet50(weights=None, classes=3), tmp_path / "x.h5"
    peer.save_weights(tmp_path / "x.weights.h5")
    peer.save(path)
    with h5py.File(path, "r+") as file:
        weights = file["model_weights"]
        names = [n if n != "predictions" else "probs" for n in weights.attrs["layer_names"]]
        weights.attrs["layer_names"] = np.array(names, "S")
        weights.move("predictions", "probs")
        group = weights["probs"]
        group.move("predictions", "probs")
        parts = [w.replace("predictions", "probs") for w in group.attrs["weight_names"]]
        group.attrs["weight_names"] = np.array(parts, "S")
        file.attrs["model_config"] = file.attrs["model_config"].replace("predictions", "probs")
    model = open_model(path)
    assert model.spec.name == "keras_resnet50"
    kernel = np.asarray(peer.get_layer("predictions").kernel)
    assert np.array_equal(model.weights["fc.weight"].numpy(), kernel.T)


def test_names_are_changed_only_where_nothing_else_has_them() -> None:
    names = ("probs/kernel", "conv2d_9/kernel", "conv2d_12/kernel", "dense/kernel")
    held = {name: torch.zeros(number) for number, name in enumerate(names)}
    one = Foreign(Path("x.h5"), "h5", held, {})
    renamed = with_todays_names(one).tensors
    assert list(renamed) == [
        *("predictions/kernel", "conv2d/kernel", "conv2d_1/kernel", "dense/kernel")
    ]
    both = Foreign(Path("x.h5"), "h5", held | {"predictions/kernel": torch.ones(9)}, {})
    assert set(with_todays_names(both).tensors) >= {"probs/kernel", "predictions/kernel"}


def test_keras_applications_own_v2_is_followed(tmp_path: Path) -> None:
    keras.applications.ResNet50V2(weights=None, classes=3).save(tmp_path / "x.keras")
    assert open_model(tmp_path / "x.keras").spec.name == "keras_resnet50v2"
