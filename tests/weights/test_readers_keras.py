"""Keras's files, written by Keras itself and, where it no longer does, as it did, by h5py."""

from __future__ import annotations

# TensorFlow and Triton crash where TensorFlow is imported first; torchvision brings Triton.
import torchvision  # noqa: F401

# isort: split
import json
import os
import struct
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from resnets.errors import UserError
from resnets.weights.readers import Foreign, read

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
from keras.src.legacy.saving import legacy_h5_format

# TensorFlow's arrays and NumPy 2, which Keras brings together.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

L = keras.layers
Arrays = dict[str, np.ndarray[Any, Any]]


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    assert len(message) < 800, message
    return message


def arrays(model: Any, prefix: str = "") -> Arrays:
    """Return a model's variables under the names that the reader gives them."""
    found: Arrays = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= arrays(layer, f"{prefix}{layer.name}/")
        else:
            found |= {f"{prefix}{layer.name}/{w.name}": np.array(w) for w in layer.weights}
    return found


def same(found: Foreign, expected: Arrays) -> bool:
    return list(found.tensors) == list(expected) and all(
        str(tensor.dtype) == f"torch.{expected[name].dtype}"
        and np.array_equal(tensor.numpy(), expected[name])
        for name, tensor in found.tensors.items()
    )


def residual() -> Any:
    """A residual net whose layers' own names are in another order than Keras numbers them."""
    x = image = keras.Input((8, 8, 3), name="photo")
    x = L.ZeroPadding2D(1, name="pad")(x)
    x = L.Conv2D(4, 3, strides=2, use_bias=False, name="conv2d_7")(x)
    x = L.BatchNormalization(epsilon=1.001e-5, name="stem_bn")(x)
    y = L.Conv2D(4, 3, padding="same", name="conv2d")(L.ReLU(name="relu")(x))
    y = L.BatchNormalization(scale=False, name="branch")(y)
    x = L.Add(name="sum")([x, y])
    x = L.PReLU(shared_axes=[1, 2], name="slope")(x)
    x = L.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, L.Dense(2, activation="softmax", name="top")(x))


def nested() -> Any:
    """Models within a model, with layers of the same name; an Add that is written ``+``."""
    inner_in = keras.Input((4, 4, 4), name="in")
    inner = keras.Model(inner_in, L.Conv2D(4, 1, name="same")(inner_in), name="inner")
    block = keras.Sequential([keras.Input((4, 4, 4)), L.Conv2D(4, 1, name="same")], name="block")
    x = image = keras.Input((4, 4, 3), name="photo")
    x = L.Conv2D(4, 1, name="same")(x)
    x = block(x) + inner(x)
    x = L.SeparableConv2D(4, 3, name="apart")(x)
    x = L.DepthwiseConv2D(2, name="depth")(x)
    x = L.Conv2D(4, 1, name="last")(L.GroupNormalization(2, name="groups")(x))
    return keras.Model(image, L.Add(name="more")([x, L.Dropout(0.1, name="drop")(x)]))


def sequential() -> Any:
    return keras.Sequential(
        [
            keras.Input((4, 4, 3), name="photo"),
            L.Conv2D(2, 3, name="conv"),
            L.LayerNormalization(name="norm"),
            L.Flatten(name="flat"),
            L.Dense(2, name="top"),
        ]
    )


MODELS = {"residual": residual, "nested": nested, "sequential": sequential}


@cache
def built(name: str) -> Any:
    """Return a model with values of its own in every variable, statistics too."""
    keras.utils.clear_session()
    rng = np.random.default_rng(0)
    model = MODELS[name]()
    model.set_weights([rng.uniform(0.5, 2, w.shape).astype("float32") for w in model.weights])
    return model


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    return built(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.h5"


# -- files of Keras ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_whole_model(model: Any, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"model.{kind}"
    model.save(path)
    found = read(path)
    assert found.format == kind
    assert same(found, arrays(model))
    assert found.facts["keras_version"] == keras.__version__
    json.dumps(found.facts, allow_nan=False)
    shapes = {layer["name"] for layer in found.facts["layers"]}
    assert {name.rpartition("/")[0] for name in found.tensors} <= shapes


def test_a_trained_model_leaves_its_optimizer_behind(tmp_path: Path) -> None:
    model = sequential()
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    for kind in ("keras", "h5"):
        model.save(tmp_path / f"model.{kind}")
        assert same(read(tmp_path / f"model.{kind}"), arrays(model))


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_layers_say_what_they_are_and_what_feeds_them(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"model.{kind}"
    built("residual").save(path)
    facts = read(path).facts
    layers = {layer["name"]: layer for layer in facts["layers"]}
    assert {name: (layer["class"], layer["inputs"]) for name, layer in layers.items()} == {
        "photo": ("InputLayer", []),
        "pad": ("ZeroPadding2D", ["photo"]),
        "conv2d_7": ("Conv2D", ["pad"]),
        "stem_bn": ("BatchNormalization", ["conv2d_7"]),
        "relu": ("ReLU", ["stem_bn"]),
        "conv2d": ("Conv2D", ["relu"]),
        "branch": ("BatchNormalization", ["conv2d"]),
        "sum": ("Add", ["stem_bn", "branch"]),
        "slope": ("PReLU", ["sum"]),
        "pool": ("GlobalAveragePooling2D", ["slope"]),
        "top": ("Dense", ["pool"]),
    }
    assert facts["outputs"] == ["top"]
    conv, norm = layers["conv2d_7"]["config"], layers["stem_bn"]["config"]
    stem = {name: conv[name] for name in ("filters", "kernel_size", "strides", "padding")}
    assert stem == {"filters": 4, "kernel_size": [3, 3], "strides": [2, 2], "padding": "valid"}
    assert (conv["use_bias"], conv["activation"], norm["epsilon"]) == (False, "linear", 1.001e-5)
    assert layers["branch"]["config"]["scale"] is False
    assert layers["top"]["config"]["activation"] == "softmax"
    assert layers["photo"]["config"]["batch_shape"] == [None, 8, 8, 3]
    assert not any("initializer" in name and conv[name] for name in conv)


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_models_within_a_model_are_laid_flat(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"model.{kind}"
    built("nested").save(path)
    facts = read(path).facts
    feeds = {layer["name"]: layer["inputs"] for layer in facts["layers"]}
    assert feeds["inner/in"] == ["same"]
    assert feeds["inner/same"] == ["inner/in"]
    assert feeds["block/same"][0].startswith("block/")
    assert feeds[feeds["block/same"][0]] == ["same"]
    assert feeds["add"] == ["block/same", "inner/same"]
    assert facts["outputs"] == ["more"]


def test_a_sequence_feeds_itself(tmp_path: Path) -> None:
    for kind in ("keras", "h5"):
        built("sequential").save(tmp_path / f"model.{kind}")
        layers = read(tmp_path / f"model.{kind}").facts["layers"]
        assert [layer["inputs"] for layer in layers] == [
            [],
            ["photo"],
            ["conv"],
            ["norm"],
            ["flat"],
        ]


def test_weights_alone_as_keras_3_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "model.weights.h5"
    for model in (built("nested"), built("sequential")):
        model.save_weights(path)
        found, expected = read(path), arrays(model)
        assert (found.format, found.facts) == ("h5", {})
        assert same(found, {name: expected[name] for name in found.tensors})
        assert set(found.tensors) == set(expected)
    built("residual").save_weights(path)
    assert "branch has 3 of gamma, beta" in refused(path)


def test_weights_alone_without_names(path: Path) -> None:
    """Before 3.8 or so, Keras 3 did not write the layers' own names."""
    keras.Sequential([keras.Input((2, 2, 1)), *[L.Conv2D(1, 1) for _ in range(12)]]).save_weights(
        weights := path.with_suffix(".weights.h5")
    )
    with h5py.File(weights, "r+") as file:
        for layer in file["layers"].values():
            del layer["vars"].attrs["name"]
    names = list(read(weights).tensors)
    assert names[:4] == ["conv2d/kernel", "conv2d/bias", "conv2d_1/kernel", "conv2d_1/bias"]
    assert names[-1] == "conv2d_11/bias"


def test_weights_alone_as_keras_2_writes_them(model: Any, path: Path) -> None:
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    found = read(path)
    assert same(found, arrays(model))
    assert found.facts == {"keras_version": keras.__version__}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("kind", ["keras", "weights.h5"])
def test_other_precisions(tmp_path: Path, dtype: str, kind: str) -> None:
    path = tmp_path / f"model.{kind}"
    layers = [keras.Input((4, 4, 3)), L.Conv2D(2, 1, dtype=dtype, name="conv")]
    model = keras.Sequential(layers)
    (model.save if kind == "keras" else model.save_weights)(path)
    kernel = read(path).tensors["conv/kernel"]
    assert str(kernel.dtype) == f"torch.{dtype}"
    stored = np.array(keras.ops.cast(model.layers[0].kernel, "float32"))
    assert np.array_equal(kernel.float().numpy(), stored)


# -- files as Keras 2 wrote them -----------------------------------------------------------------


def keras_2(path: Path, values: Arrays, text: Callable[[list[str]], Any], config: str = "") -> None:
    """Write a file with the names of Keras 2, which end in ``:0``."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if config else file
        if config:
            file.attrs["model_config"] = config.encode()
        layers = list(dict.fromkeys(name.partition("/")[0] for name in values))
        root.attrs["layer_names"] = text([*layers, "relu"])
        root.attrs["keras_version"] = b"2.4.0"
        root.create_group("relu").attrs["weight_names"] = np.array([])  # of floats: no texts
        for layer in layers:
            group = root.create_group(layer)
            own = {name: value for name, value in values.items() if name.startswith(f"{layer}/")}
            group.attrs["weight_names"] = text([f"{name}:0" for name in own])
            for name, value in own.items():
                group[f"{name}:0"] = value


TEXTS: dict[str, Callable[[list[str]], Any]] = {
    "fixed": lambda names: np.array([name.encode() for name in names]),
    "variable": lambda names: names,
    "bytes": lambda names: [name.encode() for name in names],
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_layout_of_keras_2(path: Path, text: Callable[[list[str]], Any]) -> None:
    rng = np.random.default_rng(0)
    dtypes = [">f4", "<f8", "<f2", ">f2", "<f4"]
    # Hundreds of groups make HDF5's trees have levels.
    shapes: dict[str, tuple[int, ...]] = {f"conv_{n}/kernel": (2, n % 4) for n in range(400)}
    shapes |= {"conv_7/bias": (3,), "scalar/kernel": ()}
    values = {
        name: np.asarray(rng.normal(size=shape)).astype(dtypes[place % 5])
        for place, (name, shape) in enumerate(shapes.items())
    }
    values["count/iterations"] = np.array(12_345_678_901, ">i8")
    keras_2(path, values, text)
    found = read(path)
    native = {n: v.astype(v.dtype.newbyteorder("=")) for n, v in values.items()}
    assert {name: native[name] for name in found.tensors}.keys() == native.keys()
    assert same(found, {name: native[name] for name in found.tensors})
    assert list(found.tensors)[7:10] == ["conv_7/kernel", "conv_7/bias", "conv_8/kernel"]
    assert found.facts == {"keras_version": "2.4.0"}


def test_long_lists_of_names_are_cut(path: Path) -> None:
    values = {f"layer_{'x' * 90}_{n}/kernel": np.ones(1, "f4") for n in range(900)}
    keras_2(path, values, lambda names: np.array([name.encode() for name in names[:1]]))
    with h5py.File(path, "r+") as file:
        del file.attrs["layer_names"]
        layers = [name.partition("/")[0].encode() for name in values]
        for part in range(3):
            file.attrs[f"layer_names{part}"] = np.array(layers[300 * part : 300 * part + 300])
    assert same(read(path), values)


def test_the_configuration_of_keras_2(path: Path) -> None:
    def layer(kind: str, name: str, *inputs: str, **config: Any) -> dict[str, Any]:
        nodes = [[[source, 0, 0, {}] for source in inputs]] if inputs else []
        config = {"name": name, "trainable": True, "kernel_initializer": {"a": 1}} | config
        return {"class_name": kind, "name": name, "config": config, "inbound_nodes": nodes}

    inner = [layer("InputLayer", "in"), layer("Conv2D", "conv", "in", filters=2)]
    layers = [
        layer("InputLayer", "input_1", batch_input_shape=[None, 4, 4, 3]),
        layer("Model", "base", "input_1", layers=inner, output_layers=[["conv", 0, 0]]),
        layer("Add", "add", "base", "input_1"),
        layer("Dense", "top", "add", units=2),
    ]
    config = {"class_name": "Model", "config": {"layers": layers, "output_layers": [["top", 0, 0]]}}
    values = {
        "base/conv/kernel": np.ones((1, 1, 3, 2), "f4"),
        "base/conv/bias": np.ones(2, "f4"),
        "top/kernel": np.ones((2, 2), "f4"),
    }
    keras_2(path, values, TEXTS["bytes"], json.dumps(config))
    found = read(path)
    assert same(found, values)
    assert found.facts["layers"][2:] == [
        {"name": "base/conv", "class": "Conv2D", "config": {"filters": 2}, "inputs": ["base/in"]},
        {"name": "add", "class": "Add", "config": {}, "inputs": ["base/conv", "input_1"]},
        {"name": "top", "class": "Dense", "config": {"units": 2}, "inputs": ["add"]},
    ]
    keras_2(path, {"lost/kernel": np.ones(1, "f4")}, TEXTS["bytes"], json.dumps(config))
    assert "tensor lost/kernel belongs to no layer" in refused(path)


# -- code in a configuration ---------------------------------------------------------------------


@keras.saving.register_keras_serializable("mine")
class Conv2D(L.Conv2D):  # type: ignore[misc]
    """A class of one's own with the name of one of Keras's."""


class Subclassed(keras.Model):  # type: ignore[misc]
    """A model that is code."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = L.Conv2D(1, 1)

    def call(self, x: Any) -> Any:
        return self.conv(x)


def _through(*layers: Any) -> Any:
    return keras.Sequential([keras.Input((4, 4, 1)), *layers])


def _shared() -> Any:
    conv = L.Conv2D(1, 1, name="twice")
    return _functional(lambda x: conv(conv(x)))


def _functional(call: Callable[[Any], Any]) -> Any:
    image = keras.Input((4, 4, 1))
    return keras.Model(image, call(image))


CODE = {
    "lambda": (lambda: _through(L.Lambda(lambda x: x, name="run")), "the layer run is a Lambda"),
    "activation": (
        lambda: _through(L.Conv2D(1, 1, name="conv", activation=lambda x: x)),
        "the activation of conv is code",
    ),
    "class": (lambda: _through(Conv2D(1, 1, name="own")), "the layer own is a"),
    "shared": (_shared, "the layer twice is used 2 times"),
    "constant": (lambda: _functional(lambda x: L.Conv2D(1, 1)(x) * 2.0), "takes constants, too"),
    "function": (lambda: _functional(keras.ops.tanh), "is a Tanh: code, or no layer"),
}


@pytest.mark.parametrize(("build", "part"), CODE.values(), ids=CODE)
@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_code_is_refused(tmp_path: Path, build: Callable[[], Any], part: str, kind: str) -> None:
    path = tmp_path / f"model.{kind}"
    model = build()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras's own, about lambdas
        model.save(path)
    assert part in refused(path)


def test_a_model_that_is_code_is_refused(tmp_path: Path) -> None:
    model = Subclassed()
    model(np.zeros((1, 4, 4, 1)))
    model.save(tmp_path / "model.keras")
    assert "a model of class Subclassed, which is code" in refused(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    assert "not as Keras lays out" in refused(tmp_path / "model.weights.h5")


def rewrite(path: Path, change: Callable[[str, bytes], bytes], packing: int = 0) -> None:
    with zipfile.ZipFile(path) as old:
        members = {name: change(name, old.read(name)) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", packing) as new:
        for name, content in members.items():
            new.writestr(name, content)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "model.keras"
    built("residual").save(path)
    return path


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ('"stem_bn"', '"\\u001b[31m\\n"', "damaged"),
        ('"Conv2D"', '"Shell"', "is a Shell: code, or no layer that ResNets are made of"),
        ('"keras.layers"', '"os"', "the layer photo is a InputLayer: code"),
        ('"use_bias": false', '"use_bias": true', "has 1 variables, and its configuration 2"),
        ('"name": "conv2d"', '"name": "pad"', "two layers are named pad"),
        ('["conv2d", 0, 0]', '["nowhere", 0, 0]', "damaged (its configuration: KeyError"),
        ('"inbound_nodes": []', '"inbound_nodes": 3', "damaged (its configuration: TypeError"),
        ('"Functional"', '["Functional"]', "a model of class ['Functional'], which is code"),
        ('"epsilon": 1.001e-05', '"epsilon": NaN', "NaN is not JSON"),
        ("{", "[", "damaged"),
    ],
)
def test_a_changed_configuration(archive: Path, old: str, new: str, part: str) -> None:
    def change(name: str, content: bytes) -> bytes:
        assert name != "config.json" or old.encode() in content
        return content.replace(old.encode(), new.encode()) if name == "config.json" else content

    rewrite(archive, change)
    assert part in refused(archive)


@pytest.mark.parametrize(
    "text", ["{}", "[]", "3", "null", '{"class_name": "Functional"}', "[" * 9999]
)
def test_no_configuration(archive: Path, text: str) -> None:
    rewrite(archive, lambda name, old: text.encode() if name == "config.json" else old)
    assert "damaged" in refused(archive)


# -- zip files -----------------------------------------------------------------------------------


def test_a_packed_archive_is_read(archive: Path) -> None:
    expected = {name: tensor.numpy() for name, tensor in read(archive).tensors.items()}
    rewrite(archive, lambda _, content: content, zipfile.ZIP_DEFLATED)
    assert same(read(archive), expected)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5", "bomb"])
def test_a_zip_bomb(archive: Path, name: str) -> None:
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("bomb", b"")
    bomb = bytes(80 * 2**20)
    rewrite(archive, lambda n, old: bomb if n == name else old, zipfile.ZIP_DEFLATED)
    assert "unpacks to more than such a file can hold" in refused(archive)


@pytest.mark.parametrize("name", ["../out", "/etc/x", "a/../../b", "..\\out", "a\\..\\..\\b"])
def test_members_with_odd_names(archive: Path, name: str) -> None:
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(name, "x")
    assert "a member of the zip file is named" in refused(archive)
    assert list(archive.parent.iterdir()) == [archive]


@pytest.mark.filterwarnings("ignore:Duplicate")
def test_members_of_the_same_name(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("config.json", "{}")
    assert "the same name" in refused(archive)


def test_other_archives(archive: Path, tmp_path: Path) -> None:
    for name in ("config.json", "metadata.json", "model.weights.h5"):
        part = tmp_path / "part.keras"
        with zipfile.ZipFile(archive) as old, zipfile.ZipFile(part, "w") as new:
            for member in old.namelist():
                if member != name:
                    new.writestr(member, old.read(member))
        assert f"it lacks {name}" in refused(part)
    data = archive.read_bytes()
    flags = data.rindex(b"PK\x01\x02") + 8
    archive.write_bytes(data[:flags] + b"\x01" + data[flags + 1 :])
    assert "encrypted" in refused(archive)
    archive.write_bytes(data)
    rewrite(archive, lambda _, content: content, zipfile.ZIP_LZMA)
    assert "packed in a way that is not read" in refused(archive)


# -- HDF5 that leads out of the file, or is not plain --------------------------------------------


def _link(link: Any) -> Callable[[h5py.Group, Path], None]:
    def put(group: h5py.Group, _: Path) -> None:
        group["kernel:0"] = link

    return put


def _external(group: h5py.Group, folder: Path) -> None:
    group.create_dataset("kernel:0", (2,), "f4", external=[(folder / "secret", 0, 8)])


def _virtual(group: h5py.Group, folder: Path) -> None:
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource(folder / "secret.h5", "w", (2,))
    group.create_virtual_dataset("kernel:0", layout)


def _dataset(**options: Any) -> Callable[[h5py.Group, Path], None]:
    return lambda group, _: group.create_dataset("kernel:0", **options)


ODD = {
    "external link": (_link(h5py.ExternalLink("secret.h5", "/w")), "links that may lead out"),
    "soft link": (_link(h5py.SoftLink("/elsewhere")), "kernel:0 is a link, which may lead out"),
    "external data": (_external, "kernel:0 is stored in another file"),
    "virtual data": (_virtual, "stored in pieces or in other files"),
    "group": (lambda group, _: group.create_group("kernel:0"), "kernel:0 is no array"),
    "packed": (_dataset(data=np.ones(9), compression="gzip"), "is packed, which Keras does not"),
    "chunks": (_dataset(data=np.ones(9), chunks=(3,)), "stored in pieces"),
    "compound": (_dataset(data=np.ones(2, [("a", "f4")])), "has dtype compound of 4 bytes"),
    "complex": (_dataset(data=np.ones(2, "c8")), "has dtype compound of 8 bytes"),
    "text": (_dataset(data=np.array([b"abcd"])), "has dtype text of 4 bytes"),
    "objects": (_dataset(data=["abcd"]), "has dtype object of 16 bytes"),
    "opaque": (_dataset(data=np.zeros(2, "V2")), "has dtype opaque of 2 bytes"),
    "unsigned": (_dataset(data=np.ones(2, "u4")), "has dtype integer of 4 bytes"),
    "short": (_dataset(data=np.ones(2, "i2")), "has dtype integer of an odd kind"),
    "enum": (_dataset(data=np.ones(2, "?")), "has dtype object of 1 bytes"),
    "integers": (_dataset(data=np.ones((2, 2), "i8")), "has integers (int64)"),
    "absurd shape": (_dataset(shape=(2**40, 2**20), dtype="f4"), "truncated or damaged"),
    "no values": (_dataset(shape=(20, 20), dtype="f4"), "truncated or damaged"),
    "NaN": (_dataset(data=np.array([1, np.nan])), "tensor conv/kernel holds NaN or infinity"),
    "null": (_dataset(data=h5py.Empty("f4")), None),
}


@pytest.mark.parametrize(("put", "part"), ODD.values(), ids=ODD)
def test_odd_datasets(
    path: Path, put: Callable[[h5py.Group, Path], None], part: str | None
) -> None:
    (path.parent / "secret").write_bytes(np.ones(2, "<f4").tobytes())
    with h5py.File(path.parent / "secret.h5", "w") as file:
        file["w"] = np.ones(2, "f4")
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["conv"]
        group = file.create_group("conv")
        group.attrs["weight_names"] = ["kernel:0"]
        file["elsewhere"] = np.ones(2, "f4")
        put(group, path.parent)
    if part is None:
        assert read(path).tensors["conv/kernel"].shape == (0,)
    else:
        assert part in refused(path)


def test_the_same_data_under_many_names(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["conv"]
        group = file.create_group("conv")
        names = [f"w{n}" for n in range(1000)]
        group.attrs["weight_names"] = names
        group["w0"] = np.ones(10_000, "f4")
        for name in names[1:]:
            group[name] = group["w0"]
    assert "is more than such a file can hold" in refused(path)


@pytest.mark.parametrize("names", [np.ones(3), h5py.Empty("f4"), 3, b"nowhere"])
def test_names_that_are_none(path: Path, names: object) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = names
    refused(path)


@pytest.mark.parametrize("names", [["a", "b", "c"], np.array([b"a", b"b", b"c"])])
def test_a_list_of_names_that_says_it_is_huge(path: Path, names: Any) -> None:
    """The HDF5 library allocates what is declared, and fills it."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = names
    sizes = struct.pack("<BBBB4xQ", 1, 1, 1, 0, 3)  # a dataspace: version, rank, limits, size
    data = path.read_bytes()
    assert data.count(sizes) == 1
    for size in (20, 5_000, 2**40, 2**63):
        path.write_bytes(data.replace(sizes, sizes[:8] + struct.pack("<Q", size)))
        assert "layer_names is too long" in refused(path)


def test_many_references_to_one_text(path: Path) -> None:
    names = ["x" * 20_000, *"abcdefghijklmnopqrstuvwxyz" * 4]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = names
    data = path.read_bytes()
    start = data.index(struct.pack("<I", 20_000))  # the length, the heap and the number in it
    path.write_bytes(data[:start] + data[start : start + 16] * 105 + data[start + 16 * 105 :])
    assert "a text is longer than its place" in refused(path)


def test_a_tree_with_a_loop(path: Path) -> None:
    keras_2(path, {f"conv_{n}/kernel": np.ones(1, "f4") for n in range(400)}, TEXTS["variable"])
    data = bytearray(path.read_bytes())
    first = data.index(b"TREE\x00\x01") + 32  # an address, and a key after each
    data[first + 16 : first + 24] = data[first : first + 8]
    path.write_bytes(data)
    assert "a tree with a loop" in refused(path)


def test_fewer_values_than_the_shape_says(path: Path) -> None:
    keras_2(path, {"conv/kernel": np.ones(77, "f4")}, TEXTS["variable"])
    data = path.read_bytes()
    old, new = struct.pack("<Q", 77), struct.pack("<Q", 78)
    assert data.count(old) == 2  # the shape, and the largest that it may become
    path.write_bytes(data.replace(old, new))
    assert "conv/kernel has not all its values" in refused(path)


def test_other_hdf5(path: Path) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        file["w"] = np.ones(2)
    assert "newer layout" in refused(path)
    with h5py.File(path, "w") as file:
        file["w"] = np.ones(2)
    assert "not as Keras lays out" in refused(path)
    with h5py.File(path, "w") as file:
        file.create_group("layers")
    assert "holds no weights" in refused(path)
    with h5py.File(path, "w", userblock_size=512) as file:
        file["w"] = np.ones(2)
    assert "not a checkpoint" in refused(path)


def test_no_library_of_keras_is_asked(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(keras.saving, "load_model", never)
    monkeypatch.setattr(h5py, "File", never)
    assert torch.isfinite(read(archive).tensors["top/kernel"]).all()
