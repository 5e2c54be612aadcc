"""Keras's .h5: a whole model or weights only, as Keras 2 lays them out or as Keras 3 does.

Tensors are named ``<layer>/<variable>``, and ``<model>/<layer>/<variable>`` in a model within the
model. Facts: of a whole model ``layers`` and ``outputs``, as in `keras_config.Network`;
``keras_version`` where it is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from resnets.errors import UserError
from resnets.weights.readers import hdf5, keras_config
from resnets.weights.readers.foreign import Content, Facts, Gathered, parse_json, shown
from resnets.weights.readers.hdf5 import Node
from resnets.weights.readers.hdf5_values import take, text, texts
from resnets.weights.readers.keras_config import LAYERS, Network, snake

BY_GROUP = {snake(kind): weights for kind, weights in LAYERS.items()}
NOT_WEIGHTS = ("seed_generator_state",)


def read(path: Path) -> Content:
    """Read an HDF5 file of Keras. Raises UserError where it is not one, or is not only data."""
    data = path.read_bytes()
    into = Gathered(path, len(data))
    root = hdf5.File(path, data).root
    for marker, take_all in LAYOUTS.items():
        if root.has(marker) or texts(root, marker) is not None:
            return into.tensors, take_all(into, root)
    raise UserError(f"{path}: HDF5, but not as Keras lays out a Functional or Sequential model")


# -- Keras 2's layout, which Keras 3 still writes for a whole model ------------------------------


def _whole_model(into: Gathered, root: Node) -> Facts:
    config = text(root, "model_config")
    network = keras_config.parse(into.path, parse_json(config)) if config else None
    facts = _layers(into, root.child("model_weights"))
    if network is None:
        return facts
    layers = {layer["name"] for layer in network.layers}
    for name in into.tensors:
        if name.rpartition("/")[0] not in layers:
            into.refuse(name, "belongs to no layer of the model's configuration")
    return facts | network.facts()


def _layers(into: Gathered, root: Node) -> Facts:
    """Take ``layer_names``, and of each layer ``weight_names``: paths of datasets below it."""
    for layer in texts(root, "layer_names") or []:
        group = root.child(layer)
        for weight in texts(group, "weight_names") or []:
            scope, _, variable = weight.removesuffix(":0").rpartition("/")
            if variable not in NOT_WEIGHTS:
                take(into, f"{_owner(layer, scope)}/{variable}", group.child(weight))
    version = text(root, "keras_version")
    return {"keras_version": version} if version else {}


def _owner(layer: str, scope: str) -> str:
    """Return the layer that a variable belongs to: in a model within the model, a layer of that."""
    if scope in ("", layer) or scope.endswith(f"/{layer}"):
        return layer
    return scope if scope.startswith(f"{layer}/") else f"{layer}/{scope}"


# -- Keras 3's layout: groups named by class and number (conv2d, conv2d_1, …) --------------------


def take_variables(into: Gathered, root: Node, network: Network) -> None:
    """Take the variables of a known network, in the order of its layers."""
    for layer in network.layers:
        weights = network.weights(layer)
        if weights:
            group = root.child(network.groups[layer["name"]])
            said = _own_name(group)
            if said is not None and said != layer["name"].rpartition("/")[2]:
                raise UserError(
                    f"{into.path}: damaged ({shown(layer['name'])} is stored as {shown(said)})"
                )
            _take(into, group, layer["name"], weights)


def _groups(into: Gathered, root: Node, prefix: str = "") -> Facts:
    """Take the variables of a file that does not say which network it is of.

    Layers of one class come in the order of use; how those of different classes follow one another
    is not stored.
    """
    layers = root.child("layers")
    for key in sorted(layers.addresses, key=_natural):
        group = layers.child(key)
        name = prefix + (_own_name(group) or key)
        if group.has("layers"):
            _groups(into, group, f"{name}/")
        elif stored := _count(group):
            _take(into, group, name, _guess(into, name, key, stored))
    return {}


def _take(into: Gathered, group: Node, layer: str, weights: list[str]) -> None:
    stored = _count(group)
    if stored != len(weights):
        raise UserError(
            f"{into.path}: {shown(layer)} has {stored} variables, and its configuration "
            f"{len(weights)} ({', '.join(weights)})"
        )
    for number, weight in enumerate(weights):
        take(into, f"{layer}/{weight}", group.child(f"vars/{number}"))


def _guess(into: Gathered, layer: str, key: str, stored: int) -> list[str]:
    """Return the names of a layer's variables by their number, where that says which they are."""
    weights = BY_GROUP.get(re.sub(r"_\d+$", "", key))
    if weights is None:
        raise UserError(
            f"{into.path}: {shown(layer)} ({shown(key)}) is no layer that ResNets are made of"
        )
    names = [name for name, _ in weights]
    needed = [name for name, flag in weights if flag is None]
    for guess in (names, needed):
        if len(guess) == stored:
            return guess
    raise UserError(
        f"{into.path}: {shown(layer)} has {stored} of {', '.join(names)}, and weights alone do "
        "not say which; save the whole model as .keras"
    )


def _own_name(group: Node) -> str | None:
    """Return the layer's own name, which newer releases of Keras 3 write beside its variables."""
    return text(group.child("vars"), "name") if group.has("vars") else None


def _count(group: Node) -> int:
    return len(group.child("vars").addresses) if group.has("vars") else 0


def _natural(key: str) -> list[tuple[str, int]]:
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D+)(\d{0,9})", key)]


LAYOUTS: dict[str, Callable[[Gathered, Node], Facts]] = {
    "model_weights": _whole_model,
    "layer_names": _layers,
    "layers": _groups,
}
"""How to read a file, by the group or attribute that tells how it is laid out."""
