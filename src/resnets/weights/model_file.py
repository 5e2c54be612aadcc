"""The model file: one `.safetensors` that says everything about the model it holds.

Its header carries, under ``resnets``, a JSON object with the spec, task, class names,
preprocessing, recipe, metrics, data record, licence and versions, and under ``sha256`` the digest
of that object and all tensors. It may also hold what tells unknown photos (`weights.known`).
Reading checks the digest; nothing is ever unpickled, and nothing named in the file is imported.

A model that is quantised to int8 is such a file, too, of a format of its own: in place of weights
it holds what OpenVINO runs (`resnets.weights.quantized`), and a record of how it was made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from resnets.data.preprocess import Preprocess
from resnets.errors import UserError
from resnets.files import atomic
from resnets.layers import COUNTER
from resnets.nn import ResNet
from resnets.spec import ResNetSpec
from resnets.weights import header, quantized
from resnets.weights.known import DISTANCES, FEATURES, Known
from resnets.weights.readers.foreign import shown

FORMAT, INT8 = "1", "1-int8"
IS_INT8 = "is quantised to int8, for predict and evaluate only; use the model it was made from"
UNKNOWN = (FEATURES, DISTANCES)
RECORDS = ("recipe", "metrics", "data", "versions")


@dataclass(frozen=True)
class Model:
    """A network's weights, and all that is needed to use them rightly.

    `task` is ``classify``, or ``embed`` for outputs that are an embedding and have no `classes`.
    `metrics` and `data` are records: what was measured on which split, and which data (with its
    fingerprint and how it was split) the model was trained on.

    `calibration` is empty, or the record of a `temperature` and the photos that it was fitted on:
    probabilities are then softmax(outputs / temperature), whatever computes the outputs.

    `quantization` is empty for weights in float32. For a network in int8 it is the record of how it
    was quantised, and `weights` are those of `resnets.weights.quantized`.

    `unknown` holds the photos that the network knows, by which it tells others; None where nobody
    has fitted it. It is of these very weights: what changes them leaves it out.
    """

    spec: ResNetSpec
    classes: tuple[str, ...]
    preprocess: Preprocess
    weights: Mapping[str, Tensor] = field(repr=False)
    task: str = "classify"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    licence: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    quantization: Mapping[str, Any] = field(default_factory=dict)
    unknown: Known | None = None

    @property
    def temperature(self) -> float:
        """What the outputs are divided by before softmax; 1 if nothing was fitted."""
        return float(self.calibration.get("temperature", 1.0))

    def network(self) -> ResNet:
        """Return the network in evaluation mode, on the CPU; it shares memory with `weights`.

        Raises:
          UserError: it is quantised, and has no weights in float32.
        """
        if self.quantization:
            raise UserError(f"this {self.spec.name} {IS_INT8}")
        with torch.device("meta"):
            net = ResNet(self.spec)
        net.load_state_dict(dict(self.weights), assign=True)
        return net.eval()

    def describe(self) -> dict[str, Any]:
        """Return the JSON object of the header."""
        optional = {"calibration": self.calibration, "quantization": self.quantization}
        optional |= {"unknown": self.unknown.describe()} if self.unknown else {}
        return {
            "format": INT8 if self.quantization else FORMAT,
            "task": self.task,
            "spec": self.spec.to_dict(),
            "classes": list(self.classes),
            "preprocess": self.preprocess.to_dict(),
            "recipe": dict(self.recipe),
            "metrics": dict(self.metrics),
            "data": dict(self.data),
            "licence": self.licence,
            "versions": dict(self.versions),
            **{name: dict(values) for name, values in optional.items() if values},
        }


def save(model: Model, path: Path) -> None:
    """Write the model file, atomically.

    Raises:
      UserError: it cannot be written, or a weight is not a finite number in single precision.
    """
    TENSORS[INT8 if model.quantization else FORMAT](path, model)
    # In ASCII, as a folder's name need not be UTF-8, and JSON then still has an escape for it.
    text = json.dumps(model.describe(), sort_keys=True, allow_nan=False)
    every = {**model.weights, **(model.unknown.tensors() if model.unknown else {})}
    tensors = {name: value.detach().cpu().contiguous() for name, value in every.items()}
    metadata = {"resnets": text, "sha256": _digest(text, tensors)}
    with atomic(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=metadata)
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from None
        header.sort_metadata(temporary)


def load(path: str | Path) -> Model:
    """Read a model file with weights in float32.

    Raises:
      UserError: the file is missing, truncated, changed, of another kind, a pickle, quantised, or
        its weights do not fit its spec.
    """
    model = load_any(path)
    if model.quantization:
        raise UserError(f"{path}: {IS_INT8}")
    return model


def load_any(path: str | Path) -> Model:
    """Read a model file, which may be quantised. Raises UserError as `load` does."""
    path = Path(path)
    header.check_start(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "resnets" not in metadata:
                raise UserError(f"{path}: a safetensors file, but {header.NOT_OURS}")
            # Cloned, as they are views of the file: what overwrites it would change them, too.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: truncated or damaged ({_short(error)})") from None
    text = metadata["resnets"]
    if metadata.get("sha256") != _digest(text, tensors):
        raise UserError(f"{path}: changed since it was written (its SHA-256 does not match)")
    return _build(path, text, tensors)


def _build(path: Path, text: str, tensors: Mapping[str, Tensor]) -> Model:
    try:
        values = json.loads(text)
        written = values["format"]
        if written not in TENSORS:
            raise UserError(
                f"{path}: format {written!r}, and this version reads {FORMAT!r}; "
                "a newer resnets may read it"
            )
        own = {name: value for name, value in tensors.items() if name not in UNKNOWN}
        others = {name: value for name, value in tensors.items() if name in UNKNOWN}
        known = written == FORMAT and "unknown" in values
        model = Model(
            task=header.read_task(values["task"]),
            spec=ResNetSpec.from_dict(values["spec"]),
            classes=header.read_classes(values["classes"]),
            preprocess=Preprocess.from_dict(values["preprocess"]),
            weights=own,
            licence=header.read_as(values, "licence", str),
            **{name: header.read_as(values, name, dict) for name in RECORDS},
            calibration=header.read_calibration(values),
            quantization=header.read_as(values, "quantization", dict) if written == INT8 else {},
            unknown=Known.read(values["unknown"], others) if known else None,
        )
        if others and model.unknown is None:
            raise ValueError(f"{', '.join(others)} without a record")
        if written == INT8 and not model.quantization:
            raise ValueError("quantization is empty")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a complete model file ({_short(error)})") from None
    if len(model.classes) != (model.spec.num_classes if model.task == "classify" else 0):
        raise UserError(
            f"{path}: {len(model.classes)} class names for {model.spec.num_classes} outputs"
        )
    if model.preprocess.channels != model.spec.in_channels:
        raise UserError(
            f"{path}: photos with {model.preprocess.channels} channels "
            f"for a network that takes {model.spec.in_channels}"
        )
    TENSORS[written](path, model)
    if written == FORMAT:
        _check_fit(path, model)
    return model


def _check_floats(path: Path, model: Model) -> None:
    """Raise UserError for weights of which predictions would be of nothing, or fail."""
    for name, value in model.weights.items():
        dtype = torch.int64 if name.endswith(COUNTER) else torch.float32
        if value.dtype != dtype:
            raise UserError(f"{path}: {shown(name)} has dtype {value.dtype}, not {dtype}")
        if not bool(torch.isfinite(value).all()):
            raise UserError(f"{path}: {shown(name)} holds NaN or infinity")


def _check_fit(path: Path, model: Model) -> None:
    # Before building, which takes as long as the network is deep: a block has two or more.
    if 2 * sum(model.spec.depths) > len(model.weights):
        raise UserError(
            f"{path}: weights do not fit the spec (it has more convolutions than there are tensors)"
        )
    try:
        net = model.network()
    except (RuntimeError, TypeError) as error:  # TypeError: a size beyond 64 bits
        raise UserError(f"{path}: weights do not fit the spec ({_short(error)})") from None
    width = getattr(net.get_classifier(), "in_features", net.num_features)
    if model.unknown and model.unknown.features.shape[1] != width:
        raise UserError(f"{path}: {FEATURES} are not of {width} features, as the network's")


def _check_int8(path: Path, model: Model) -> None:
    try:
        quantized.unpack(model.weights, model.spec, model.preprocess)
    except ValueError as error:
        raise UserError(f"{path}: not a quantised network ({_short(error)})") from None


TENSORS: dict[str, Callable[[Path, Model], None]] = {FORMAT: _check_floats, INT8: _check_int8}
"""What raises UserError for tensors that a file of that format may not hold."""


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\n{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
