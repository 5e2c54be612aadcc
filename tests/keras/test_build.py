"""`create_model`: the networks of the zoo, and mixes of it, compute what PyTorch's do."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import keras
import numpy as np
import pytest
import torch
from keras import layers

from resnets.errors import UserError
from resnets.keras import create_model, get_state
from resnets.keras.layers import ReflectionPadding2D, StandardizedConv2D
from resnets.nn import ResNet
from resnets.spec import Head, ResNetSpec, Stem

TINY = ResNetSpec("tiny", (1, 1), (4, 8), stem=Stem(4, 3, 1, "max"), num_classes=3, image_size=8)


MIXES = {
    "max pool over negative values": TINY.replace(stem=Stem(4, 3, 1, "max", act=False)),
    "PReLU before a max pool": TINY.replace(activation="prelu"),
    "blur after a bare stem": TINY.replace(antialias="blur", stem=Stem(4, pool="max", act=False)),
    "strides of 3": TINY.replace(strides=(3, 3), shortcut="D", stem=Stem(4, 5, 3, "none")),
    "pads for all channels": TINY.replace(shortcut="A", widths=(5, 8), strides=(2, 1)),
    "TensorFlow's padding": TINY.replace(padding="tf", standardized=True, stem=Stem(4)),
    "attention in v2": TINY.replace(order="pre", attention="eca", antialias="avg"),
    "every pixel": TINY.replace(head=Head("all", norm=True, scale=3.0)),
    "max pools within": TINY.replace(antialias="max", shortcut="D", strides=(2, 2)),
    "groups on entry": TINY.replace(
        block="bottleneck",
        groups=2,
        group_width=16,
        widths=(8, 16),
        entries=(None, Stem(8, 3, 2, "max2", hidden=(4,))),
        attention="se",
        bias="all",
        head=Head("max", bias=False),
    ),
}


def ours(model: keras.Model) -> set[type]:
    """Return the kinds of layers that do not come with Keras."""
    kinds = {type(layer) for layer in model.layers}
    return {kind for kind in kinds if not kind.__module__.startswith("keras.")}


def test_every_row_computes_what_pytorch_does(
    row_spec: ResNetSpec,
    torch_net: Callable[..., ResNet],
    torch_state: Callable[[ResNet], dict[str, np.ndarray]],
    assert_same: Callable[..., None],
) -> None:
    spec = row_spec
    net = torch_net(spec)
    model = create_model(spec, weights=torch_state(net))
    assert sum(math.prod(value.shape) for value in model.trainable_weights) == spec.params()
    assert ours(model) == {
        kind
        for kind, needed in {
            ReflectionPadding2D: spec.antialias == "blur",
            StandardizedConv2D: spec.standardized,
        }.items()
        if needed
    }
    assert_same(model, net, *((64, 64) if spec.head.pool == "all" else (61, 66)))


@pytest.mark.parametrize("spec", MIXES.values(), ids=MIXES)
def test_mixes_compute_what_pytorch_does(
    spec: ResNetSpec,
    torch_net: Callable[..., ResNet],
    torch_state: Callable[[ResNet], dict[str, np.ndarray]],
    assert_same: Callable[..., None],
) -> None:
    net = torch_net(spec)
    model = create_model(spec, weights=torch_state(net))
    for sides in [(8, 8)] if spec.head.pool == "all" else [(32, 32), (31, 37)]:
        assert_same(model, net, *sides)


@pytest.mark.parametrize("kind", ["max", "avg", "blur", "zero-max"])
@pytest.mark.parametrize("side", range(4, 9))
def test_pools_at_every_size(
    kind: str,
    side: int,
    torch_net: Callable[..., ResNet],
    torch_state: Callable[[ResNet], dict[str, np.ndarray]],
    assert_same: Callable[..., None],
) -> None:
    pool = "zero-max" if kind == "zero-max" else "max"
    antialias = kind if kind in ("avg", "blur") else "none"
    stem = Stem(4, 1, 1, pool, norm=False, act=False)
    spec = TINY.replace(depths=(1,), widths=(4,), stem=stem, antialias=antialias)
    net = torch_net(spec)
    model = create_model(spec, weights=torch_state(net))
    assert_same(model, net, side, side + 1)


# -- names and shapes ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "resnet50_v2", "resnet9", "tutorial_pytorch"])
def test_stages_are_called_as_in_pytorch(
    name: str,
    small: Callable[[str], ResNetSpec],
    torch_net: Callable[..., ResNet],
    torch_state: Callable[[ResNet], dict[str, np.ndarray]],
) -> None:
    net = torch_net(small(name))
    model = create_model(net.spec, weights=torch_state(net))
    photos = torch.randn(1, 3, 40, 33)
    with torch.no_grad():
        expected = net.forward_stages(photos)
    features = keras.Model(model.input, [model.get_layer(name).output for name in expected])
    found = features(photos.permute(0, 2, 3, 1).numpy(), training=False)
    for name, value in zip(expected, found, strict=True):
        wanted = expected[name].permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-4 * abs(wanted).max())


def test_names_of_layers_and_model() -> None:
    model = create_model("resnet50")
    assert model.name == "resnet50"
    names = {layer.name for layer in model.layers}
    assert names > {"conv1", "layer3_5_conv2", "layer4_0_downsample_1", "layer4", "fc"}
    assert model.input_shape == (None, None, None, 3)
    assert model.output_shape == (None, 1000)
    assert create_model(TINY.replace(name="mine/tiny")).name == "mine_tiny"


def test_the_size_is_fixed_where_the_classifier_reads_every_pixel() -> None:
    spec = TINY.replace(head=Head("all"))
    assert create_model(spec).input_shape == (None, 8, 8, 3)


@pytest.mark.parametrize(("classes", "channels"), [(7, 1), (0, 4), (None, None)])
def test_other_classes_and_channels(classes: int | None, channels: int | None) -> None:
    model = create_model(TINY, num_classes=classes, in_channels=channels)
    assert model.input_shape == (None, None, None, channels or 3)
    assert model.output_shape == (None, {None: 3, 0: 8}.get(classes, classes))


def test_an_unknown_name() -> None:
    with pytest.raises(UserError, match=r"unknown model 'resnet5O'; .*resnet50"):
        create_model("resnet5O")


def test_a_network_deeper_than_python_recurses() -> None:
    limit = sys.getrecursionlimit()
    spec = TINY.replace(depths=(170,), widths=(4,), shortcut="none")
    assert len(create_model(spec).layers) > 2 * 3 * 170 > limit
    assert sys.getrecursionlimit() == limit


# -- initialisation, settings, imports -------------------------------------------------------------


def test_initialisation() -> None:
    spec = TINY.replace(
        depths=(2, 1), widths=(32, 64), bias="all", attention="se", activation="prelu"
    )
    state = get_state(create_model(spec.replace(num_classes=400)))
    for name, weight in state.items():
        if name == "fc.weight":
            assert 0.9 * 64**-0.5 < abs(weight).max() <= 64**-0.5
        elif weight.ndim == 4:
            fan_out = weight.shape[0] * weight.shape[2] * weight.shape[3]
            error = 4 * (2 * weight.size) ** -0.5  # four standard errors of a standard deviation
            assert weight.std() == pytest.approx((2 / fan_out) ** 0.5, rel=error)
        elif name.endswith(".bias"):
            assert not weight.any()
    assert (state["act1.weight"] == 0.25).all()
    assert not np.array_equal(state["layer1.0.conv2.weight"], state["layer1.1.conv2.weight"])


def test_channels_are_last_whatever_keras_is_set_to() -> None:
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        for attention in ("se", "eca"):
            model = create_model(TINY.replace(attention=attention, shortcut="A"))
            assert model.get_layer("layer2").output.shape == (None, None, None, 8)
    finally:
        keras.config.set_image_data_format(before)


def test_standardised_weights_in_half_precision() -> None:
    weights = 1e-3 * np.random.default_rng(0).standard_normal((3, 3, 4, 8)).astype("float32")
    photos = np.random.default_rng(1).standard_normal((1, 6, 6, 4)).astype("float32")
    found = {}
    for dtype in ("float32", "float16"):
        conv = StandardizedConv2D(8, 3, use_bias=False, dtype=dtype)
        conv.build(photos.shape)
        conv.set_weights([weights])
        assert conv.compute_dtype == dtype
        found[dtype] = np.asarray(conv(photos), dtype="float32")
    np.testing.assert_allclose(found["float16"], found["float32"], atol=0.05)
    assert found["float32"].std() == pytest.approx(6, rel=0.3)  # √36 values of unit weight


def test_reflection_padding() -> None:
    row = np.arange(4.0).reshape(1, 1, 4, 1) + np.arange(3).reshape(1, 3, 1, 1) * 10
    padding = ReflectionPadding2D.from_config(ReflectionPadding2D(2).get_config())
    found = np.asarray(padding(row))
    assert found[0, 2, :, 0].tolist() == [2, 1, 0, 1, 2, 3, 2, 1]
    assert found[0, :, 2, 0].tolist() == [20, 10, 0, 10, 20, 10, 0]
    symbolic = padding(keras.Input((None, 5, 1)))
    assert symbolic.shape == (None, None, 9, 1)
    assert isinstance(padding, layers.Layer)


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


def test_the_package_alone_does_not_import_keras() -> None:
    assert run("import resnets, resnets.zoo, sys; print('keras' in sys.modules)") == "False"


def test_without_keras_the_message_names_the_extra() -> None:
    message = run(
        "import sys\n"
        "sys.modules['keras'] = None\n"
        "from resnets import UserError\n"
        "try: import resnets.keras\n"
        "except ImportError as error: print(isinstance(error, UserError), error)"
    )
    assert message.startswith("True resnets.keras needs Keras 3 and a backend (")
    assert message.endswith("): pip install 'resnets[keras]'")
