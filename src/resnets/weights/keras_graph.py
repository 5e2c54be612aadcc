"""A Keras model's configuration against the network that its weights' names and shapes say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from resnets.errors import UserError
from resnets.weights.follow import Mismatch, Op, follow, padding
from resnets.weights.maps import Match
from resnets.weights.readers import Foreign
from resnets.weights.readers.foreign import shown

Layer = Mapping[str, Any]
OLD_NAMES = {"probs": "predictions"}
"""Layers that keras.applications called otherwise when it published its files."""
NUMBERED = re.compile(r"(conv2d|batch_normalization|dense|p_re_lu)(?:_(\d+))?")
PASSED_ON = (
    *("Dropout", "SpatialDropout2D", "GaussianNoise", "Identity"),
    *("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast"),
)
"""What does nothing after training."""


def with_todays_names(foreign: Foreign) -> Foreign:
    """Return a Keras checkpoint with today's names of layers, and with those that Keras numbers
    numbered from 0: in a longer session it goes on counting."""
    owners = dict.fromkeys(name.rpartition("/")[0] for name in foreign.tensors)
    owners |= dict.fromkeys(layer["name"] for layer in foreign.facts.get("layers", ()))
    # A file that has both names means two layers.
    today = {old: new for old, new in OLD_NAMES.items() if new not in owners}
    numbered: dict[str, list[tuple[int, str]]] = {}
    for owner in owners:
        if match := NUMBERED.fullmatch(owner):
            numbered.setdefault(match[1], []).append((int(match[2] or 0), owner))
    for kind, found in numbered.items():
        for place, (_, owner) in enumerate(sorted(found)):
            today[owner] = f"{kind}_{place}" if place else kind
    tensors: dict[str, Tensor] = {}
    for name, value in foreign.tensors.items():
        owner, slash, variable = name.rpartition("/")
        tensors[f"{today.get(owner, owner)}{slash}{variable}"] = value
    layers = [
        {
            **layer,
            "name": today.get(layer["name"], layer["name"]),
            "inputs": [today.get(name, name) for name in layer["inputs"]],
        }
        for layer in foreign.facts.get("layers", ())
    ]
    outputs = [today.get(name, name) for name in foreign.facts.get("outputs", ())]
    facts = {**foreign.facts, "layers": layers, "outputs": outputs} if layers else foreign.facts
    return replace(foreign, tensors=tensors, facts=facts)


def check(foreign: Foreign, match: Match) -> None:
    """Raise UserError where a model's layers compute something other than the network recognised.

    Nothing is checked of a file that holds weights alone.
    """
    layers = foreign.facts.get("layers")
    if not layers:
        return
    try:
        ops, start = _ops(layers)
        found = follow(match.spec, ops, start, foreign.facts["outputs"])
        theirs = match.dialect.layers(match.spec)
        for name, op in found.items():
            if op and op.kind in ("conv", "norm", "linear") and op.name != theirs[name]:
                raise Mismatch(f"{name}: it is {op.name}, and {theirs[name]} elsewhere")
    except Mismatch as mismatch:
        raise UserError(
            f"{foreign.path}: its weights fit {match.spec.name}, and its layers do not, at "
            f"{shown(mismatch)[:300]}"
        ) from None
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise UserError(f"{foreign.path}: damaged (its layers: {shown(repr(error))})") from None


def _ops(layers: list[Layer]) -> tuple[list[Op], str]:
    """Return the operations of a model, and the value that it starts from."""
    ops: list[Op] = []
    same: dict[str, str] = {}
    pads: dict[str, tuple[str, tuple[int, ...]]] = {}
    inputs = [layer["name"] for layer in layers if layer["class"] == "InputLayer"]
    for layer in layers:
        name, kind, config = layer["name"], layer["class"], layer["config"]
        feeds = tuple(same.get(value, value) for value in layer["inputs"])
        act = config.get("activation") or "linear"
        if kind == "InputLayer":
            if feeds:  # of a model within the model
                same[name] = feeds[0]
        elif kind in PASSED_ON or (kind == "Activation" and act == "linear"):
            same[name] = feeds[0]
        elif kind == "ZeroPadding2D":
            pads[name] = feeds[0], _four(config.get("padding"))
        else:
            around = None
            if feeds and feeds[0] in pads:
                source, around = pads[feeds[0]]
                feeds = (source, *feeds[1:])
            settings = SETTINGS.get(kind, _none)(config, around)
            known = settings is not None and config.get("data_format", LAST) == LAST
            word: Any = KINDS.get(kind, kind) if known else kind
            word = ACTS.get(act, act) if kind == "Activation" else word
            fused = act if kind in ("Conv2D", "Dense") and act != "linear" else ""
            out = f"{name}:{kind}" if fused else name
            ops.append(Op(word, name, feeds, out, settings or {}))
            if fused:
                ops.append(Op(ACTS.get(fused, fused), name, (out,), name))
    roots = [name for name in inputs if name not in same] or [layers[0]["name"]]
    first = roots[0] if inputs else ""
    if not inputs and ops:  # an old Sequential without an input layer
        first = "input"
        ops[0] = replace(ops[0], inputs=(first,))
    if len(roots) != 1:
        raise Mismatch(f"{len(roots)} inputs")
    return ops, first


LAST = "channels_last"
ACTS = {"relu": "relu", "softmax": "softmax"}
KINDS = {
    "Conv2D": "conv",
    "BatchNormalization": "norm",
    "Activation": "act",
    "ReLU": "relu",
    "Softmax": "softmax",
    "Add": "add",
    "MaxPooling2D": "max",
    "AveragePooling2D": "avg",
    "GlobalAveragePooling2D": "mean",
    "GlobalMaxPooling2D": "top",
    "Flatten": "reshape",
    "Dense": "linear",
}
Settings = dict[str, Any] | None
Around = tuple[int, ...] | None


def _none(config: Layer, around: Around) -> Settings:
    return {}


def _four(value: Any) -> tuple[int, ...]:
    """Return the padding of a ZeroPadding2D as (top, left, bottom, right)."""
    (top, bottom), (left, right) = [v if isinstance(v, list) else [v, v] for v in _two(value)]
    return top, left, bottom, right


def _two(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value, value]


def _one(value: Any) -> Any:
    """Return the number that both of a pair are, or the pair."""
    pair = _two(value)
    return pair[0] if pair[0] == pair[1] else pair


def _window(config: Layer, kernel: Any, stride: Any, around: Around) -> dict[str, Any]:
    same = config.get("padding", "valid") == "same"
    if not isinstance(kernel, int) or not isinstance(stride, int):
        return {"kernel": kernel, "stride": stride}
    pads: object = padding(kernel, stride, same)
    if around is not None:
        pads = "same, over a padding" if same else around
    return {"kernel": kernel, "stride": stride, "pads": pads}


def _conv(config: Layer, around: Around) -> Settings:
    if _one(config.get("dilation_rate", 1)) != 1:
        return None
    return {
        "outputs": config["filters"],
        "groups": config.get("groups", 1),
        **_window(config, _one(config["kernel_size"]), _one(config.get("strides", 1)), around),
    }


def _norm(config: Layer, around: Around) -> Settings:
    plain = config.get("center", True) and config.get("scale", True)
    axis = _two(config.get("axis", -1))[0]
    return {"eps": config.get("epsilon", 1e-3)} if plain and axis in (-1, 3) else None


def _relu(config: Layer, around: Around) -> Settings:
    bent = (config.get("max_value"), config.get("negative_slope"), config.get("threshold"))
    return {} if not any(value is not None and value != 0 for value in bent) else None


def _max(config: Layer, around: Around) -> Settings:
    window = _pool(config, around)
    return {**window, "border": "infinite" if around is None else "zero"}


def _pool(config: Layer, around: Around) -> dict[str, Any]:
    kernel = _one(config.get("pool_size", 2))
    stride = config.get("strides")
    return _window(config, kernel, kernel if stride is None else _one(stride), around)


SETTINGS: dict[str, Callable[[Layer, Around], Settings]] = {
    "Conv2D": _conv,
    "BatchNormalization": _norm,
    "ReLU": _relu,
    "MaxPooling2D": _max,
    "AveragePooling2D": _pool,
}
"""The settings that decide what a layer computes; None for a layer that no network here has."""
