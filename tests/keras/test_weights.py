"""State dicts to and from Keras, bit for bit; what does not fit; and keras.applications."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import torch

from resnets.errors import UserError
from resnets.keras import create_model, get_state, set_state
from resnets.nn import ResNet
from resnets.spec import Head, ResNetSpec, Stem
from resnets.zoo import get_spec

TINY = ResNetSpec("tiny", (1, 1), (4, 8), stem=Stem(4, 3, 1, "max"), num_classes=3, image_size=8)
EVERYTHING = {
    "v1": TINY.replace(bias="all"),
    "v2": TINY.replace(order="pre"),
    "groups": TINY.replace(block="bottleneck", groups=2, attention="se"),
    "group norm": TINY.replace(
        widths=(32, 64), stem=Stem(32), norm="group", standardized=True, attention="eca"
    ),
    "faces": TINY.replace(order="arcface", activation="prelu", head=Head("all", norm=True)),
    "entries": TINY.replace(entries=(None, Stem(6, 3, 1, "conv", hidden=(2,)))),
}
State = dict[str, np.ndarray]


def assert_holds(found: State, expected: State) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert found[name].flags["C_CONTIGUOUS"]
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("spec", EVERYTHING.values(), ids=EVERYTHING)
def test_there_and_back_is_bit_identical(
    spec: ResNetSpec, torch_net: Callable[..., ResNet], torch_state: Callable[[ResNet], State]
) -> None:
    net = torch_net(spec)
    state = torch_state(net)
    found = get_state(create_model(spec, weights=state))
    assert_holds(found, state)
    assert {name: value.shape for name, value in found.items()} == {
        name: shape for name, shape in spec.plan.tensors().items() if "num_batches" not in name
    }
    back = torch_net(spec, seed=1)
    back.load_state_dict({name: torch.from_numpy(value) for name, value in found.items()}, False)
    assert_holds(torch_state(back), state)


def test_counts_of_batches_are_not_read(torch_net: Callable[..., ResNet]) -> None:
    state = {name: value.numpy() for name, value in torch_net(TINY).state_dict().items()}
    assert state["bn1.num_batches_tracked"].shape == ()
    assert "bn1.num_batches_tracked" not in get_state(create_model(TINY, weights=state))


def test_a_state_and_a_model_share_no_memory() -> None:
    model = create_model(TINY)
    state = get_state(model)
    before = {name: value.copy() for name, value in state.items()}
    for value in state.values():
        value += 1
    assert_holds(get_state(model), before)
    set_state(model, state)
    after = {name: value.copy() for name, value in state.items()}
    for value in state.values():
        value += 1
    assert_holds(get_state(model), after)


def test_a_mismatch_lists_what_it_is_and_changes_nothing() -> None:
    model = create_model(TINY)
    before = get_state(model)
    state = {name: value + 1 for name, value in before.items()}
    state["layer9.0.conv1.weight"] = state.pop("layer1.0.conv1.weight")
    state["fc.weight"] = state["fc.weight"].T
    message = (
        "weights do not fit tiny: 1 missing: layer1.0.conv1.weight; "
        "1 extra: layer9.0.conv1.weight; 1 of another shape: fc.weight [8, 3] for [3, 8]"
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        set_state(model, state)
    assert_holds(get_state(model), before)
    with pytest.raises(UserError, match=re.escape(message)):
        create_model(TINY, weights=state)


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_weights_saved_by_keras_fit_a_model_built_anew(tmp_path: Path) -> None:
    first, second = create_model(TINY), create_model(TINY)
    first.save_weights(tmp_path / "tiny.weights.h5")
    second.load_weights(tmp_path / "tiny.weights.h5")
    assert_holds(get_state(second), get_state(first))


# -- keras.applications ----------------------------------------------------------------------------

PARTS = {  # of a block, by the name of its layer: in v1, in v2
    "preact_bn": ("", "bn1"),
    "0_conv": ("downsample.0", "downsample.0"),
    "0_bn": ("downsample.1", ""),
    "1_conv": ("conv1", "conv1"),
    "1_bn": ("bn1", "bn2"),
    "2_conv": ("conv2", "conv2"),
    "2_bn": ("bn2", "bn3"),
    "3_conv": ("conv3", "conv3"),
    "3_bn": ("bn3", ""),
}
OTHERS = {"conv1_conv": "conv1", "conv1_bn": "bn1", "post_bn": "bn", "predictions": "fc"}


def canonical(layer: str, v2: bool) -> str:
    """Return our name of a layer of keras.applications: ``conv3_block2_1_bn``."""
    block = re.fullmatch(r"conv(\d)_block(\d+)_(.+)", layer)
    if block is None:
        return OTHERS[layer]
    stage, number, part = block.groups()
    return f"layer{int(stage) - 1}.{int(number) - 1}.{PARTS[part][v2]}"


def application_state(model: keras.Model, v2: bool) -> State:
    """Return the weights of a network of keras.applications under our names."""
    state = {}
    for name, value in get_state(model).items():
        layer, _, tensor = name.rpartition(".")
        state[f"{canonical(layer.replace('.', '_'), v2)}.{tensor}"] = value
    return state


def application(depth: int, v2: bool) -> keras.Model:
    kind = getattr(keras.applications, f"ResNet{depth}{'V2' * v2}")
    model = kind(weights=None, input_shape=(64, 64, 3), classifier_activation=None)
    random = np.random.default_rng(depth)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for value, low, high in (
                (layer.gamma, 0.2, 0.6),
                (layer.beta, -0.2, 0.2),
                (layer.moving_mean, -0.2, 0.2),
                (layer.moving_variance, 0.5, 1.5),
            ):
                value.assign(random.uniform(low, high, value.shape))
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(random.uniform(-0.1, 0.1, layer.bias.shape))
    return model


@pytest.mark.parametrize("v2", [False, True], ids=["v1", "v2"])
def test_keras_applications_50(v2: bool, assert_same: Callable[..., None]) -> None:
    peer = application(50, v2)
    state = application_state(peer, v2)
    spec = get_spec(f"keras_resnet50{'v2' * v2}")
    model = create_model(spec, weights=state)
    photos = np.random.default_rng(0).standard_normal((2, 64, 64, 3)).astype("float32")
    expected = keras.ops.convert_to_numpy(peer(photos, training=False))
    found = keras.ops.convert_to_numpy(model(photos, training=False))
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * max(1, abs(expected).max()))
    net = ResNet(spec).eval()
    net.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()}, False)
    assert_same(model, net, 64)


@pytest.mark.parametrize("v2", [False, True], ids=["v1", "v2"])
@pytest.mark.parametrize("depth", [101, 152])
def test_keras_applications_in_names_and_shapes(depth: int, v2: bool) -> None:
    peer = getattr(keras.applications, f"ResNet{depth}{'V2' * v2}")(weights=None)
    spec = get_spec(f"keras_resnet{depth}{'v2' * v2}")
    assert {name: value.shape for name, value in application_state(peer, v2).items()} == {
        name: shape for name, shape in spec.plan.tensors().items() if "num_batches" not in name
    }
    trainable = sum(int(np.prod(value.shape)) for value in peer.trainable_weights)
    assert trainable == spec.params()
