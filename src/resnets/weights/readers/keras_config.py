"""A Keras model's configuration, read as data: a list of layers, and what feeds each.

Nothing is deserialised. Only the layers that ResNets are made of are read: with any other, and with
code (a Lambda, a class or function of one's own), the weights alone are not the network.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from resnets.errors import UserError
from resnets.weights.readers.foreign import Facts, shown

Json: TypeAlias = Any
Weights: TypeAlias = tuple[tuple[str, str | None], ...]
"""Names of variables in the order of storage, each with the setting that says if it is there."""

CONV: Weights = (("kernel", None), ("bias", "use_bias"))
NORM: Weights = (("gamma", "scale"), ("beta", "center"))
SEPARABLE: Weights = (("depthwise_kernel", None), ("pointwise_kernel", None), CONV[1])
LAYERS: dict[str, Weights] = {
    "Conv1D": CONV,
    "Conv2D": CONV,
    "StandardizedConv2D": CONV,
    "ReflectionPadding2D": (),
    "DepthwiseConv2D": CONV,
    "SeparableConv2D": SEPARABLE,
    "Dense": CONV,
    "BatchNormalization": (*NORM, ("moving_mean", None), ("moving_variance", None)),
    "GroupNormalization": NORM,
    "LayerNormalization": NORM,
    "PReLU": (("alpha", None),),
} | dict.fromkeys(
    (
        *("InputLayer", "Activation", "ReLU", "LeakyReLU", "Softmax", "Identity"),
        *("Add", "Multiply", "Concatenate", "Rescaling"),
        *("ZeroPadding2D", "Cropping2D", "MaxPooling2D", "AveragePooling2D"),
        *("GlobalAveragePooling2D", "GlobalMaxPooling2D", "Flatten", "Reshape", "Permute"),
        *("Dropout", "SpatialDropout2D", "GaussianNoise"),
        *("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast"),
    ),
    (),
)
OWN = ("resnets>StandardizedConv2D", "resnets>ReflectionPadding2D")
"""Layers of `resnets.keras`; their names are known here, and their code is not in the file."""
MODELS = ("Functional", "Model", "Sequential")
LIBRARIES = ("keras", "tf_keras")
NO_FACTS = ("name", "trainable", "dtype")


@dataclass
class Network:
    """Layers in the order of use: those of a model within the model are named ``model/layer``.

    `layers` has name, class, config (plain values only) and inputs (names) of each, `outputs` the
    names of those that the network returns, and `groups` where Keras 3 stores each layer's
    variables: under its class's name and number, not its own name.
    """

    path: Path
    name: str = ""
    layers: list[Facts] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)

    def weights(self, layer: Facts) -> list[str]:
        """Return the names of a layer's variables, in the order of storage."""
        stored = LAYERS[layer["class"]]
        return [name for name, flag in stored if flag is None or layer["config"].get(flag, True)]

    def facts(self) -> Facts:
        return {"name": self.name, "layers": self.layers, "outputs": self.outputs}


def parse(path: Path, model: Json) -> Network:
    """Read the object that Keras writes as ``model_config`` or ``config.json``.

    Raises:
      UserError: a layer is code or unknown, is used twice, or the object is not a model.
    """
    network = Network(path)
    try:
        if model["class_name"] not in MODELS or _is_custom(model):
            raise UserError(
                f"{path}: a model of class {shown(model['class_name'])}, which is code; "
                "only Functional and Sequential models are data"
            )
        if isinstance(model["config"], Mapping):  # an old Sequential's is a list
            network.name = str(model["config"].get("name", ""))
        network.outputs = _flatten(network, model, "", "", [])
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"{path}: damaged (its configuration: {shown(repr(error))})") from None
    return network


def _flatten(network: Network, model: Json, prefix: str, group: str, feeds: list[str]) -> list[str]:
    """Add a model's layers to the network; return the names of its outputs.

    `feeds` are the inputs of a model within a model; Sequential's layers feed one another.
    """
    sequential = model["class_name"] == "Sequential"
    config = model["config"]
    entries = config if isinstance(config, list) else config["layers"]
    numbers: Counter[str] = Counter()
    known: dict[str, list[str]] = {}
    last = feeds
    for entry in entries:
        _check(network, entry)
        name = entry["config"]["name"]
        if name in known:
            raise UserError(f"{network.path}: two layers are named {shown(name)}")
        sources = () if sequential else _sources(network, name, entry)
        inputs = last if sequential else [full for local in sources for full in known[local]]
        inner = f"{group}layers/{_numbered(entry, numbers)}"
        if entry["class_name"] in MODELS:
            if len(inputs) > 1:
                raise UserError(f"{network.path}: the model {shown(name)} has several inputs")
            last = _flatten(network, entry, f"{prefix}{name}/", f"{inner}/", inputs)
        else:
            full = prefix + name
            fed = feeds if entry["class_name"] == "InputLayer" else inputs
            network.layers.append(
                {
                    "name": full,
                    "class": entry["class_name"],
                    "config": _plain(network, full, entry["config"]),
                    "inputs": list(fed),
                }
            )
            network.groups[full] = inner
            last = [full]
        known[name] = last
    return last if sequential else [n for o in _outputs(config["output_layers"]) for n in known[o]]


def _check(network: Network, entry: Json) -> None:
    kind = entry["class_name"]
    if kind not in (*LAYERS, *MODELS) or _is_custom(entry):
        raise UserError(
            f"{network.path}: the layer {shown(entry['config']['name'])} is a {shown(kind)}: code, "
            "or no layer that ResNets are made of; nothing is run, so it is not read"
        )
    if not isinstance(entry["config"], Mapping) and kind not in MODELS:
        raise TypeError("a layer without settings")


def _is_custom(entry: Json) -> bool:
    library = (entry.get("module") or "keras").partition(".")[0]
    registered = entry.get("registered_name") or entry["class_name"]
    if registered in OWN:
        return bool(registered != f"resnets>{entry['class_name']}")
    if f"resnets>{entry['class_name']}" in OWN:
        return True
    return library not in LIBRARIES or registered != entry["class_name"]


def _numbered(entry: Json, numbers: Counter[str]) -> str:
    """Return the name of a layer's group: ``conv2d``, ``conv2d_1``, … by the order in a model."""
    if (entry.get("module") or "").startswith("keras.src.ops"):  # `a + b`: no layer, so no group
        return ""
    name = snake(entry["class_name"])
    numbers[name] += 1
    return f"{name}_{numbers[name] - 1}" if numbers[name] > 1 else name


def snake(kind: str) -> str:
    """Return a class's name as Keras turns it into a variable's: ``PReLU`` → ``p_re_lu``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", kind).lower()


def _sources(network: Network, name: str, entry: Json) -> list[str]:
    """Return the layers that feed one: ``inbound_nodes``, in Keras 2's notation or Keras 3's."""
    nodes = entry["inbound_nodes"]
    if len(nodes) > 1:
        raise UserError(f"{network.path}: the layer {shown(name)} is used {len(nodes)} times")
    if not nodes:
        return []
    if isinstance(nodes[0], list):
        return _outputs(nodes[0])
    found = [*_tensors(nodes[0]["args"]), *_tensors(list(nodes[0]["kwargs"].values()))]
    if None in list(_tensors(nodes[0]["args"])):
        raise UserError(f"{network.path}: the layer {shown(name)} takes constants, too")
    return [source for source in found if source is not None]


def _tensors(value: Json) -> Iterator[str | None]:
    """Yield the layer that each tensor in a call comes from, and None for any other value."""
    if isinstance(value, list):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, Mapping) and value.get("class_name") == "__keras_tensor__":
        yield value["config"]["keras_history"][0]
    else:
        yield None


def _outputs(value: Json) -> list[str]:
    """Return the names in ``[name, node, tensor, …]``, or in a list of such."""
    return [value[0]] if isinstance(value[0], str) else [item[0] for item in value]


def _plain(network: Network, name: str, config: Json) -> Facts:
    """Return the settings that are plain values; initialisers and the like are for training."""
    if not isinstance(config.get("activation", ""), str | None):
        raise UserError(f"{network.path}: the activation of {shown(name)} is code or a layer")
    return {k: v for k, v in config.items() if k not in NO_FACTS and _is_plain(v)}


def _is_plain(value: Json) -> bool:
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    return not isinstance(value, Mapping)
