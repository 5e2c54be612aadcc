"""A model file for another project, so that its own code loads it and gives the same answers."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from resnets.data.preprocess import Preprocess
from resnets.errors import UserError, did_you_mean
from resnets.files import as_usual, atomic
from resnets.spec import ResNetSpec
from resnets.weights.dialects import DIALECTS
from resnets.weights.maps import to_theirs
from resnets.weights.model_file import Model
from resnets.weights.onnx_writer import to_onnx
from resnets.weights.origins import RESAMPLING
from resnets.zoo import ZOO, imagenet

# timm has no name for a square that is scaled, or for a margin that is rounded down: it scales the
# whole and crops, by less than a pixel.
CROPS = {"short": "center", "short-floor": "center", "square": "center", "stretch": "squash"}
STATE_DICTS = (".safetensors", ".pth", ".pt")
KERAS_FILES = (".keras", ".weights.h5")
WEIGHTS = "model.safetensors"
NOT_TIMMS = re.compile(r"(plain|keras_).*|.*(_v1|_v2|_a|_c)")
TIMM = frozenset(row.spec.name for row in imagenet.rows() if not NOT_TIMMS.fullmatch(row.spec.name))


def export(
    model: Model,
    to: str,
    path: Path,
    force: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Write a model for ``torchvision``, ``timm``, ``transformers``, ``keras`` or ``onnx``.

    torchvision gets a state dict (``.safetensors`` or ``.pth``); timm and transformers a folder
    that ``timm.create_model("local-dir:…")`` and ``from_pretrained`` open, with how photos are
    read; Keras a ``.keras`` model, or ``.weights.h5``: of keras.applications for its rows, else of
    `resnets.keras`; ONNX a graph from normalised photos to logits (`onnx_writer`). With `force` the
    files of a folder that exists are replaced.

    Raises:
      UserError: an unknown project, one that has no such network, or a file that cannot be written.
    """
    check_target(to)
    if model.preprocess.mirrored:
        say(
            f"{to} answers to the photo alone, where this model takes the mean over it and its "
            "mirror image: its users have to do so"
        )
    WRITERS[to](model, path, force)


def check_target(to: str) -> None:
    """Raise UserError, with the near names or all, for what is no project to write for."""
    if to not in WRITERS:
        known = did_you_mean(to, WRITERS) or f"; one of: {', '.join(WRITERS)}"
        raise UserError(f"--to {to}: unknown{known}")


def _is_row(spec: ResNetSpec) -> bool:
    """Tell whether a spec is the row of its name, but for its classes, channels and size."""
    if spec.name not in ZOO:
        return False
    return spec.shares_weights_with(ZOO[spec.name].spec.replace(in_channels=spec.in_channels))


def _row(model: Model, peer: str, known: Container[str]) -> str:
    """Return the name of the row that a model is of. Raises UserError if `peer` has no such."""
    if model.spec.name in known and _is_row(model.spec):
        return model.spec.name
    raise UserError(f"{peer} has no network that is this {model.spec.name}; keras can have any")


def _torchvision(model: Model, path: Path, force: bool) -> None:
    from torchvision.models import list_models

    _row(model, "torchvision", list_models())
    ending = path.suffix.lower()
    if ending not in STATE_DICTS:
        raise UserError(f"{path}: a state dict is written as {', '.join(STATE_DICTS)}")
    state = to_theirs(DIALECTS["torchvision"], model.spec, model.weights)
    try:
        with atomic(path) as temporary:
            if ending == ".safetensors":
                save_file(state, temporary, metadata={"license": model.licence})
            else:
                torch.save(state, temporary)
    except (RuntimeError, SafetensorError) as error:
        raise UserError(f"cannot write {path}: {error}") from None


def _timm(model: Model, path: Path, force: bool) -> None:
    row, spec = _row(model, "timm", TIMM), model.spec
    dialect = "timm-v2" if row.startswith("resnetv2_") else "torchvision"
    config = {
        "architecture": row,
        "num_classes": spec.num_classes,
        "num_features": spec.num_features,
        "pretrained_cfg": {**_photos(model), "num_classes": spec.num_classes},
        "label_names": list(model.classes),
    }
    state = to_theirs(DIALECTS[dialect], spec, model.weights)
    _folder(path, state, {"config.json": config}, force)


def _check_order(photos: Preprocess, peer: str) -> None:
    if photos.order != "RGB":
        raise UserError(f"{peer} reads RGB, and this model {photos.order}")


def _photos(model: Model) -> dict[str, Any]:
    """Return timm's words for how photos are read."""
    photos = model.preprocess
    _check_order(photos, "timm")
    return {
        "input_size": [photos.channels, photos.size, photos.size],
        "crop_pct": _part(photos.size, photos.resize),
        "crop_mode": CROPS[photos.fit],
        "interpolation": photos.interpolation,
        "mean": list(photos.mean),
        "std": list(photos.std),
        "license": model.licence,
    }


def _part(size: int, resize: int) -> float:
    """Return the fraction that, when `size` is divided by it and rounded down, gives `resize`."""
    part = size / resize
    while int(size / part) < resize:
        part = math.nextafter(part, 0)
    return part


def _transformers(model: Model, path: Path, force: bool) -> None:
    spec, photos = model.spec, model.preprocess
    name = next((name for name in TRANSFORMERS if DIALECTS[name].speaks(spec)), None)
    if name is None:
        raise UserError(f"transformers' ResNet and BiT cannot be a {spec.name}")
    _check_order(photos, "transformers")
    numbered = {str(i): label for i, label in enumerate(model.classes)}
    config = TRANSFORMERS[name](spec) | {
        "num_channels": spec.in_channels,
        "embedding_size": spec.stem.width if spec.stem else spec.in_channels,
        "hidden_sizes": [stage.outputs for stage in spec.stages()],
        "depths": list(spec.depths),
        "id2label": numbered,
        "label2id": {label: int(i) for i, label in numbered.items()},
        "torch_dtype": "float32",
        "license": model.licence,
    }
    sides = {"height": photos.resize, "width": photos.resize}
    reading = {
        # Of all their processors, the one that scales and then crops whatever it is told to.
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": photos.channels == 3,
        "do_resize": True,
        "size": sides if photos.fit == "stretch" else {"shortest_edge": photos.resize},
        "resample": RESAMPLING_CODES[photos.interpolation],
        "do_center_crop": True,
        "crop_size": {"height": photos.size, "width": photos.size},
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": list(photos.mean),
        "image_std": list(photos.std),
    }
    state = to_theirs(DIALECTS[name], spec, model.weights)
    files = {"config.json": config, "preprocessor_config.json": reading}
    _folder(path, state, files, force)


def _resnet_config(spec: ResNetSpec) -> dict[str, Any]:
    return {
        "model_type": "resnet",
        "architectures": ["ResNetForImageClassification"],
        "layer_type": spec.block,
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": spec.stride_in == "1x1",
    }


def _bit_config(spec: ResNetSpec) -> dict[str, Any]:
    return {
        "model_type": "bit",
        "architectures": ["BitForImageClassification"],
        "layer_type": "preactivation",
        "global_padding": None,
        "num_groups": 32,
        "width_factor": 1,  # the sizes are as they are, not factors of a narrower network's
    }


TRANSFORMERS = {"transformers": _resnet_config, "transformers-bit": _bit_config}


def _folder(path: Path, state: Mapping[str, Tensor], files: Mapping[str, Any], force: bool) -> None:
    if path.suffix.lower() in STATE_DICTS:
        raise UserError(f"{path}: a folder is written here; name one without {path.suffix}")
    if path.exists():
        others = {p.name for p in path.iterdir()} - {*files, WEIGHTS} if path.is_dir() else {""}
        if others or not force:  # files of two models must not mix
            more = f" and holds {sorted(others)[0]}" if force and path.is_dir() else ""
            raise UserError(f"{path} exists{more}: name a folder that does not")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as parent:
            draft = Path(parent) / path.name
            draft.mkdir()
            for name, value in files.items():
                text = json.dumps(value, indent=2) + "\n"
                (draft / name).write_text(text, encoding="utf-8")
            save_file(dict(state), draft / WEIGHTS, metadata={"format": "pt"})
            as_usual(draft / WEIGHTS)
            path.mkdir(exist_ok=True)
            for file in draft.iterdir():
                file.replace(path / file.name)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {path}: {error}") from None


def _keras(model: Model, path: Path, force: bool) -> None:
    name = path.name.lower()  # Keras knows its endings in this case only
    if not name.endswith(KERAS_FILES):
        raise UserError(f"{path}: Keras' files end in {' or '.join(KERAS_FILES)}")
    from resnets.keras import applications, create_model

    spec = model.spec
    dialect = next((d for d in KERAS_OWN if DIALECTS[d].speaks(spec)), None)
    if dialect and _is_row(spec):
        state = to_theirs(DIALECTS[dialect], spec, model.weights)
        net = applications.build(spec, {name: value.numpy() for name, value in state.items()})
    else:
        arrays = {name: value.numpy() for name, value in model.weights.items()}
        net = create_model(spec, weights=arrays)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / name
        save = net.save if draft.suffix == ".keras" else net.save_weights
        save(draft)
        draft.replace(path)


KERAS_OWN = ("keras-applications", "keras-applications-v2")
RESAMPLING_CODES = {name: code for code, name in RESAMPLING.items()}


def _onnx(model: Model, path: Path, force: bool) -> None:
    if path.suffix.lower() != ".onnx":
        raise UserError(f"{path}: ONNX is written as .onnx")
    content = to_onnx(model)
    with atomic(path) as temporary:
        temporary.write_bytes(content)


WRITERS: dict[str, Callable[[Model, Path, bool], None]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "transformers": _transformers,
    "keras": _keras,
    "onnx": _onnx,
}
