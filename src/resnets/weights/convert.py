"""From another project's checkpoint to a `Model`: the network, its classes and its photos."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from resnets.data.preprocess import STATISTICS, Preprocess
from resnets.errors import UserError
from resnets.spec import ResNetSpec
from resnets.version import VERSION
from resnets.weights import claims, hub, keras_graph, model_file, origins
from resnets.weights.adapt import adapt
from resnets.weights.dialects import DIALECTS
from resnets.weights.labels import class_names, unnamed
from resnets.weights.maps import Match, recognise, to_ours
from resnets.weights.model_file import Model
from resnets.weights.onnx_graph import match_graph
from resnets.weights.readers import Foreign, read
from resnets.weights.readers.foreign import shown
from resnets.zoo import ZOO, get_spec

Say = Callable[[str], None]


def open_model(
    source: str | Path,
    *,
    arch: str | None = None,
    entry: str | None = None,
    classes: Sequence[str] | None = None,
    preprocess: str | None = None,
    photos: Mapping[str, str] | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    licence: str | None = None,
    say: Say = lambda text: None,
) -> Model:
    """Read a model file, or a checkpoint of another project as one.

    Args:
      source: a model file; or a checkpoint of torchvision, timm, transformers, keras.applications,
        CIFAR's and faces' usual projects, or ONNX, as `read` takes it; or a published name such
        as ``timm/resnet50.a1_in1k`` or ``torchvision/resnet50.v2``, which is fetched.
      arch: the row of the zoo, where names and shapes do not tell.
      entry: which weights, where a training checkpoint has several: ``state_dict_ema``.
      classes: their names; the checkpoint's, ImageNet's for a thousand, or numbers if not given.
      preprocess: whose way to read photos (`origins.ORIGINS`); the checkpoint's own if not given.
      photos: what is different from that way, as text: ``{"resize": "235"}``.
      num_classes, in_channels: for other classes or channels, see `adapt`.
      licence: of the weights; what their publisher says if not given.
      say: told what was recognised and chosen.

    Raises:
      UserError: the file cannot be used; the message says why.
    """
    path = Path(source)
    if hub.is_name(source):
        fetched = hub.fetch(source, say)
        path, licence = fetched.path, licence or fetched.licence
    if is_model_file(path):
        if preprocess or photos or classes is not None:
            raise UserError(f"{path}: a model file, which has its own classes and preprocessing")
        model = model_file.load(path)
        if arch not in (None, model.spec.name):
            raise UserError(f"{path}: a model file of {model.spec.name}, not of {arch}")
    else:
        own = classes if num_classes is None else None
        model = _imported(read(path, entry), arch, own, preprocess, photos or {}, say)
    if licence is not None:
        model = dataclasses.replace(model, licence=licence)
    if num_classes is None and in_channels is None:
        return model
    fresh = num_classes is not None and num_classes != len(model.classes)
    spec, state = adapt(model.weights, model.spec, num_classes, in_channels, say, fresh)
    task, names = model.task, model.classes
    if num_classes is not None and fresh:
        task, names = "classify", unnamed(num_classes)
    if classes is not None:
        names = _distinct(_counted(classes, spec))
    reading = model.preprocess
    if reading.channels != spec.in_channels:
        reading = _for_channels(reading, spec.in_channels)
    # Figures and recipe are of the network as it was.
    return dataclasses.replace(
        model,
        spec=spec,
        task=task,
        weights=state,
        classes=names,
        preprocess=reading,
        metrics={},
        recipe={},
        calibration={},
        unknown=None,
    )


def is_model_file(path: Path) -> bool:
    """Tell whether a file is one of ours, without reading its tensors."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return "resnets" in (file.metadata() or {})
    except (safetensors.SafetensorError, OSError, ValueError):
        return False


def fit(foreign: Foreign, rows: Sequence[ResNetSpec]) -> tuple[Match, dict[str, Tensor]]:
    """Return which of `rows` a checkpoint holds, and its weights in our names.

    Raises:
      UserError: none of them; what is missing, extra or of another shape is listed.
    """
    if foreign.format == "onnx":
        (spec, state), *others = match_graph(foreign.facts, foreign.tensors, foreign.path, rows)
        also = tuple(other.name for other, _ in others)
        return Match(spec, DIALECTS["torchvision"], also), state
    if foreign.format in ("h5", "keras"):
        foreign = keras_graph.with_todays_names(foreign)
    said = claims.of(foreign)
    match = recognise(foreign.tensors, foreign.path, rows)
    alike = (match.spec.name, *match.also)
    if meant := [row for row in rows if row.name in alike and said.allows(row)]:
        match = recognise(foreign.tensors, foreign.path, meant)
    said.check(match)
    if not said.name:  # our own say which spec they are of, and have layers that no other has
        keras_graph.check(foreign, match)
    return match, to_ours(match.dialect, match.spec, foreign.tensors, foreign.path)


def _imported(
    foreign: Foreign,
    arch: str | None,
    classes: Sequence[str] | None,
    preprocess: str | None,
    changes: Mapping[str, str],
    say: Say,
) -> Model:
    rows = [get_spec(arch)] if arch else [row.spec for row in ZOO.values()]
    match, state = fit(foreign, rows)
    say(f"weights  {foreign.path}: {match.spec.name}, in the names of {match.dialect.name}")
    if foreign.facts.get("also"):
        taken = ".".join(foreign.facts["wrappers"])
        others = ", ".join(foreign.facts["also"])
        say(f"         taken from {taken}; it also holds {others} (--entry to choose)")
    if match.also:
        say(f"         the same names and shapes: {', '.join(match.also)}; --arch if it is that")
    if preprocess:
        origin, photos = preprocess, origins.named(preprocess)
    else:
        origin, photos = origins.origin_of(match, foreign.path, foreign.facts)
    photos = origins.changed(photos, changes)
    if photos.channels != match.spec.in_channels:
        photos = _for_channels(photos, match.spec.in_channels)
    say(
        f"photos   as {origin}{' but for what is set' if changes else ''}: {photos.size} px of "
        f"{photos.resize} ({photos.fit}), {photos.interpolation}, {photos.order}; --preprocess for "
        "another way"
    )
    if match.spec.head.pool == "all" and photos.size != match.spec.image_size:
        raise UserError(
            f"{match.spec.name} takes photos of {match.spec.image_size} px, and {origin} gives "
            f"{photos.size}; --preprocess for another way"
        )
    spec = match.spec.replace(image_size=photos.size)
    if not spec.num_classes or (spec.head.norm and classes is None):
        task, names = "embed", tuple[str, ...]()
        size = spec.num_classes or spec.num_features
        say(f"outputs  an embedding of {size} numbers; --num-classes for a classifier")
    else:
        task, names = "classify", _names(classes, spec, match.dialect.name, foreign.facts, say)
    return Model(
        spec=spec,
        task=task,
        classes=names,
        preprocess=photos,
        weights={name: _single(name, value, foreign.path) for name, value in state.items()},
        data={
            "name": foreign.path.name,
            "dialect": match.dialect.name,
            "sha256": _digest(foreign.path),
        },
        licence=claims.licence(foreign),
        versions={"resnets": VERSION, "torch": str(torch.__version__)},
    )


def _single(name: str, value: Tensor, path: Path) -> Tensor:
    """Return a tensor in single precision, in which a model file has all."""
    if not value.is_floating_point():
        return value
    single = value.float()
    if not bool(torch.isfinite(single).all()):  # as the file's own numbers are
        raise UserError(f"{path}: {name} has numbers too large for single precision")
    return single


def _for_channels(photos: Preprocess, channels: int) -> Preprocess:
    if channels not in STATISTICS:
        raise UserError(f"the network takes {channels} channels, and photos are read with 1 or 3")
    mean, std = sum(photos.mean) / len(photos.mean), sum(photos.std) / len(photos.std)
    return dataclasses.replace(
        photos, channels=channels, mean=(mean,) * channels, std=(std,) * channels
    )


def _names(
    classes: Sequence[str] | None,
    spec: ResNetSpec,
    dialect: str,
    facts: Mapping[str, Any],
    say: Say,
) -> tuple[str, ...]:
    config = facts.get("config") or {}
    labels, names = config.get("id2label"), config.get("label_names")
    if isinstance(names, list) and len(names) == spec.num_classes:
        labels = {str(i): name for i, name in enumerate(names)}
    if classes is not None:
        found, whose = _counted(classes, spec), "as given"
    elif isinstance(labels, dict) and set(labels) == {str(i) for i in range(spec.num_classes)}:
        found = tuple(str(labels[str(i)]) for i in range(spec.num_classes))
        whose = "of the configuration"
    else:
        found, whose = class_names(spec.num_classes, dialect)
    names = _distinct(found)
    whose += ", numbered" if names != found else ""
    say(f"classes  {len(names)}, {whose}: {', '.join(map(shown, names[:4]))}, …")
    return names


def _counted(classes: Sequence[str], spec: ResNetSpec) -> tuple[str, ...]:
    if len(classes) != spec.num_classes:
        raise UserError(
            f"{len(classes)} class names for {spec.num_classes} outputs: give as many, or "
            f"--num-classes {len(classes)} for a fresh classifier"
        )
    return tuple(classes)


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names, with numbers before them if two are the same: ImageNet has two cranes."""
    if len(set(names)) == len(names):
        return names
    return tuple(f"{i} {name}" for i, name in enumerate(names))


def _digest(path: Path) -> str:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
