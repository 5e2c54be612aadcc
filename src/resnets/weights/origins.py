"""How those who trained a network read its photos: with other numbers, other answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from math import isclose
from pathlib import Path
from typing import Any

from resnets.data.preprocess import Preprocess
from resnets.errors import UserError, did_you_mean
from resnets.weights.maps import Match
from resnets.weights.torchvision_files import file_name, torchvision_weights

HALF = (0.5, 0.5, 0.5)
BYTES = (1 / 255, 1 / 255, 1 / 255)

ORIGINS: dict[str, Preprocess] = {
    "torchvision": Preprocess(224, 256, fit="short"),
    "torchvision-v2": Preprocess(224, 232, fit="short"),
    "timm": Preprocess(224, 256, interpolation="bicubic", fit="short"),
    "transformers": Preprocess(224, 256, interpolation="bicubic", fit="short-floor"),
    # Big Transfer reads photos of 448 px whole, in -1…1.
    "bit": Preprocess(448, 448, mean=HALF, std=HALF, fit="short"),
    # keras.applications: v1 has Caffe's blue-green-red bytes less their mean, v2 has -1…1.
    "keras": Preprocess(
        224,
        224,
        interpolation="nearest",
        mean=(103.939 / 255, 116.779 / 255, 123.68 / 255),
        std=BYTES,
        fit="stretch",
        order="BGR",
    ),
    "keras-v2": Preprocess(224, 224, interpolation="nearest", mean=HALF, std=HALF, fit="stretch"),
    "cifar": Preprocess(32, 32),
    "cifar-kuangliu": Preprocess(
        32, 32, mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)
    ),
    "cifar-wrn": Preprocess(
        32,
        32,
        mean=(125.3 / 255, 123.0 / 255, 113.9 / 255),
        std=(63.0 / 255, 62.1 / 255, 66.7 / 255),
    ),
    "bytes": Preprocess(32, 32, mean=(0.0, 0.0, 0.0), std=BYTES),
    "faces": Preprocess(112, 112, mean=HALF, std=HALF, fit="stretch"),
}
RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""What transformers' configurations call Pillow's filters."""
READING = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}
"""The only values with which those configurations say how photos are read here."""
BY_ROW = {"resnet8": "bytes"} | {f"iresnet{depth}": "faces" for depth in (18, 34, 50, 100, 200)}
BY_DIALECT = {
    "timm-v2": "timm",
    "transformers": "transformers",
    "wrn": "cifar-wrn",
    "keras-applications": "keras",
    "keras-applications-v2": "keras-v2",
}


def origin_of(match: Match, path: Path, facts: Mapping[str, Any]) -> tuple[str, Preprocess]:
    """Return how the photos of a recognised file are read, and a word for whose way that is.

    What the file, or the configuration beside it, says goes first; then the name under which
    torchvision publishes it; then what its dialect is known for.
    """
    config = facts.get("config") or {}
    if "pretrained_cfg" in config:
        return "timm's configuration", from_timm(config["pretrained_cfg"])
    if "preprocessor" in facts:
        return "transformers' configuration", from_transformers(facts["preprocessor"])
    known = _torchvision(path.name)
    if known:
        return known
    name = _by_kind(match, path)
    return name, ORIGINS[name]


def _by_kind(match: Match, path: Path) -> str:
    spec, dialect = match.spec, match.dialect.name
    if spec.name in BY_ROW:
        return BY_ROW[spec.name]
    if spec.standardized:
        return "bit"
    if dialect in BY_DIALECT:
        return BY_DIALECT[dialect]
    if dialect.startswith("keras"):
        raise UserError(
            f"{path}: how its photos were read is not known; --preprocess, one of: "
            f"{', '.join(ORIGINS)}"
        )
    if spec.image_size <= 48:
        return "cifar-kuangliu" if dialect == "cifar" and spec.shortcut != "A" else "cifar"
    return "torchvision" if f"{spec.name}.v1" in torchvision_weights() else "timm"


def _torchvision(file: str) -> tuple[str, Preprocess] | None:
    """Return the transforms of the published file of this name, such as resnet50-11ad3fa6.pth."""
    weights = next((w for w in torchvision_weights().values() if file_name(w) == file), None)
    if weights is None:
        return None
    transforms = weights.transforms()
    return f"torchvision's {weights.name}", Preprocess(
        transforms.crop_size[0],
        transforms.resize_size[0],
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        fit="short",
    )


def named(name: str) -> Preprocess:
    """Return the preprocessing of an origin. Raises UserError with the near names otherwise."""
    if name not in ORIGINS:
        known = did_you_mean(name, ORIGINS) or f"; there are: {', '.join(ORIGINS)}"
        raise UserError(f"--preprocess {name}: unknown{known}")
    return ORIGINS[name]


def changed(photos: Preprocess, changes: Mapping[str, str]) -> Preprocess:
    """Return a way to read photos with some fields set, from text; numbers of a channel by commas.

    Raises:
      UserError: an unknown field, or a value that it cannot have.
    """
    values: dict[str, Any] = {}
    for field, text in changes.items():
        if field not in FIELDS:
            near = did_you_mean(field, FIELDS) or f"; there are: {', '.join(FIELDS)}"
            raise UserError(f"--set {field}: not of how photos are read{near}")
        try:
            values[field] = FIELDS[field](text)
        except ValueError:
            raise UserError(f"--set {field}={text}: not a number") from None
    try:
        return dataclasses.replace(photos, **values)
    except ValueError as error:
        raise UserError(f"--set: {error}") from None


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


FIELDS: dict[str, Callable[[str], Any]] = {
    "size": int,
    "resize": int,
    "fit": str,
    "interpolation": str,
    "order": str,
    "decode": str,
    "mean": _numbers,
    "std": _numbers,
}
"""What `changed` can set, and how it is read."""


def from_timm(config: Mapping[str, Any]) -> Preprocess:
    """Read timm's ``pretrained_cfg``. Raises UserError for what it cannot mean."""
    try:
        size = int(config["input_size"][-1])
        mode = config.get("crop_mode", "center")
        return Preprocess(
            size,
            int(size / float(config.get("crop_pct", 0.875))),
            channels=int(config["input_size"][0]),
            interpolation=config.get("interpolation", "bicubic"),
            mean=tuple(map(float, config["mean"])),
            std=tuple(map(float, config["std"])),
            fit={"center": "short", "squash": "stretch"}[mode],
        )
    except (KeyError, TypeError, ValueError, IndexError, ArithmeticError) as error:
        raise UserError(f"timm's pretrained_cfg is not one that can be read: {error!r}") from None


def from_transformers(config: Mapping[str, Any]) -> Preprocess:
    """Read transformers' ``preprocessor_config.json``. Raises UserError where it cannot."""
    try:
        for key, usual in READING.items():
            if not isclose(config.get(key, usual), usual, rel_tol=1e-6):
                raise ValueError(f"{key}={config[key]}")
        kind = config.get("image_processor_type", config.get("feature_extractor_type", ""))
        size = config["size"]
        size = {"shortest_edge": size} if isinstance(size, int) else size
        side = int(size.get("shortest_edge", size.get("height", 0)))
        if kind.startswith("Convnext") or kind.startswith("ConvNext"):
            # Below 384 px it scales by the crop and cuts, from there on it stretches.
            resize = int(side / float(config.get("crop_pct") or 224 / 256))
            crop, fit = (side, "short-floor") if side < 384 else (side, "stretch")
            resize = side if fit == "stretch" else resize
        else:
            crop = config.get("crop_size", side) if config.get("do_center_crop") else side
            crop = int(crop["height"] if isinstance(crop, Mapping) else crop)
            resize, fit = side, "short-floor" if "shortest_edge" in size else "stretch"
        return Preprocess(
            crop,
            resize,
            interpolation=RESAMPLING[config.get("resample", 3)],
            mean=tuple(map(float, config["image_mean"])),
            std=tuple(map(float, config["image_std"])),
            fit=fit,
        )
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UserError(
            f"preprocessor_config.json is not one that can be read: {error!r}"
        ) from None
