"""What every project calls the same layers: one table of names for each dialect.

A rule pairs one of our layer names with theirs. ``#`` stands for a number; on their side ``{0}`` is
the first of them, ``{0-}`` one less and ``{0+}`` one more. A layer keeps its own name where no rule
fits. The same table reads and writes, so that a file there and back is the same bits.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from resnets import axes
from resnets.layers import COUNTER, Act, Conv, Layer, Linear, Norm
from resnets.spec import IMAGENET_STEM, ResNetSpec
from resnets.zoo import get_spec

Rules = tuple[tuple[str, str], ...]
Names = dict[str, str]


@dataclass(frozen=True)
class Dialect:
    """How a project names tensors, and lays them out.

    Args:
      name: as ``--from`` and ``--to`` take it.
      layout: see `resnets.weights.layouts`.
      layers: maps a spec to their name for each of our layers.
      speaks: whether the project has networks of such a spec.
    """

    name: str
    layout: str
    layers: Callable[[ResNetSpec], Names]
    speaks: Callable[[ResNetSpec], bool]

    def tensors(self, spec: ResNetSpec) -> dict[str, tuple[str, Layer, str]]:
        """Return, for each tensor of ours: its name in the dialect, its layer, its name there."""
        theirs, tensor_name = self.layers(spec), TENSOR_NAMES[self.layout]
        named = (
            (f"{name}.{tensor}", tensor_name(theirs[name], layer, tensor), layer, tensor)
            for name, layer in spec.plan.layers()
            for tensor in layer.tensors() | layer.buffers()
        )
        return {ours: (name, layer, tensor) for ours, name, layer, tensor in named if name}


def _dotted(owner: str, layer: Layer, tensor: str) -> str:
    return f"{owner}.{tensor}"


def _slashed(owner: str, layer: Layer, tensor: str) -> str:
    """Return Keras' name of a tensor; none for a counter, which Keras does not have."""
    if tensor == COUNTER:
        return ""
    inner = "".join(f"_{part}" for part in tensor.split(".")[:-1])  # as ``fc1`` of an ``se``
    return f"{owner}{inner}/{axes.TENSORS[type(layer)][tensor].name}"


TENSOR_NAMES: Mapping[str, Callable[[str, Layer, str], str]] = {
    "torch": _dotted,
    "torch-conv-head": _dotted,
    "keras": _slashed,
}


def _matcher(rules: Rules) -> list[tuple[re.Pattern[str], str]]:
    return [
        (re.compile(re.escape(ours).replace(r"\#", r"(\d+)")), theirs) for ours, theirs in rules
    ]


def _fill(template: str, numbers: tuple[str, ...]) -> str:
    steps = {"": 0, "-": -1, "+": 1}

    def number(match: re.Match[str]) -> str:
        return str(int(numbers[int(match[1])]) + steps[match[2]])

    return re.sub(r"\{(\d)([-+]?)\}", number, template)


def renamed(*rules: tuple[str, str]) -> Callable[[ResNetSpec], Names]:
    """Return a function that names the layers of a spec by rules, the first that fits."""
    matchers = _matcher(rules)

    def layers(spec: ResNetSpec) -> Names:
        names = {}
        for name, _ in spec.plan.layers():
            fits = ((pattern.fullmatch(name), theirs) for pattern, theirs in matchers)
            found = next(((m.groups(), theirs) for m, theirs in fits if m), None)
            names[name] = _fill(found[1], found[0]) if found else name
        return names

    return layers


def _numbered(spec: ResNetSpec) -> Names:
    """Name layers as Keras does of itself: by kind, counted in the order of their making."""
    kinds = {Conv: "conv2d", Norm: "batch_normalization", Linear: "dense", Act: "p_re_lu"}
    counts: Counter[str] = Counter()
    names = {}
    for name, layer in spec.plan.layers():
        kind = kinds.get(type(layer), "layer")
        names[name] = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += bool(layer.tensors())
    return names


def _underscored(spec: ResNetSpec) -> Names:
    return {name: axes.keras_name(name) for name, _ in spec.plan.layers()}


def _post(spec: ResNetSpec) -> bool:
    return spec.order == "post"


def _pre(spec: ResNetSpec) -> bool:
    return spec.order == "pre" and spec.stem is not None and not spec.stem.norm


def _transformers(spec: ResNetSpec) -> bool:
    """Tell whether transformers' ResNetConfig can say it."""
    return not spec.entries and spec.shares_weights_with(
        ResNetSpec(
            spec.name,
            spec.depths,
            spec.widths,
            spec.block,
            stride_in=spec.stride_in,
            stem=IMAGENET_STEM,
            in_channels=spec.in_channels,
        )
    )


def _transformers_bit(spec: ResNetSpec) -> bool:
    """Tell whether transformers' BitConfig can say it: a BiT of any depth and width."""
    like = get_spec("resnetv2_50x1_bit")
    if spec.stem is None or like.stem is None:
        return False
    names = (field.name for field in dataclasses.fields(spec) if field.name not in SIZES)
    alike = all(getattr(spec, name) == getattr(like, name) for name in names)
    return alike and spec.stem == dataclasses.replace(like.stem, width=spec.stem.width)


SIZES = ("name", "depths", "widths", "in_channels", "num_classes", "image_size", "stem")


def _keras(spec: ResNetSpec) -> bool:
    return spec.name.startswith("keras_")


DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        # torchvision's names, and timm's of what torchvision does not have, are our own.
        Dialect("torchvision", "torch", renamed(), lambda spec: True),
        Dialect(
            "timm-v2",
            "torch-conv-head",
            renamed(
                ("conv1", "stem.conv"),
                ("conv1.0", "stem.conv1"),
                ("conv1.1", "stem.norm1"),
                ("conv1.3", "stem.conv2"),
                ("conv1.4", "stem.norm2"),
                ("conv1.6", "stem.conv3"),
                ("layer#.#.conv#", "stages.{0-}.blocks.{1}.conv{2}"),
                ("layer#.#.bn#", "stages.{0-}.blocks.{1}.norm{2}"),
                ("layer#.#.downsample.#", "stages.{0-}.blocks.{1}.downsample.conv"),
                ("bn", "norm"),
                ("fc", "head.fc"),
            ),
            _pre,
        ),
        Dialect(
            "transformers",
            "torch",
            renamed(
                ("conv1", "resnet.embedder.embedder.convolution"),
                ("bn1", "resnet.embedder.embedder.normalization"),
                *(
                    (
                        f"layer#.#.{ours}#",
                        f"resnet.encoder.stages.{{0-}}.layers.{{1}}.layer.{{2-}}.{theirs}",
                    )
                    for ours, theirs in (("conv", "convolution"), ("bn", "normalization"))
                ),
                *(
                    (
                        f"layer#.#.downsample.{number}",
                        f"resnet.encoder.stages.{{0-}}.layers.{{1}}.shortcut.{theirs}",
                    )
                    for number, theirs in enumerate(("convolution", "normalization"))
                ),
                ("fc", "classifier.1"),
            ),
            _transformers,
        ),
        Dialect(
            "transformers-bit",
            "torch",
            renamed(
                ("conv1", "bit.embedder.convolution"),
                ("layer#.#.conv#", "bit.encoder.stages.{0-}.layers.{1}.conv{2}"),
                ("layer#.#.bn#", "bit.encoder.stages.{0-}.layers.{1}.norm{2}"),
                ("layer#.#.downsample.0", "bit.encoder.stages.{0-}.layers.{1}.downsample.conv"),
                ("bn", "bit.norm"),
                ("fc", "classifier.1"),
            ),
            _transformers_bit,
        ),
        # akamaster's CIFAR nets of option A, and kuangliu's with projections.
        Dialect(
            "cifar",
            "torch",
            renamed(
                ("layer#.#.downsample.#", "layer{0}.{1}.shortcut.{2}"),
                ("fc", "linear"),
            ),
            _post,
        ),
        Dialect(
            "wrn",
            "torch",
            renamed(
                ("layer#.#.downsample.0", "block{0}.layer.{1}.convShortcut"),
                ("layer#.#.conv#", "block{0}.layer.{1}.conv{2}"),
                ("layer#.#.bn#", "block{0}.layer.{1}.bn{2}"),
                ("bn", "bn1"),
            ),
            _pre,
        ),
        Dialect(
            "arcface",
            "torch",
            renamed(("act1", "prelu"), ("layer#.#.act2", "layer{0}.{1}.prelu"), ("bn", "bn2")),
            lambda spec: spec.order == "arcface",
        ),
        Dialect(
            "keras-applications",
            "keras",
            renamed(
                ("conv1", "conv1_conv"),
                ("bn1", "conv1_bn"),
                ("layer#.#.conv#", "conv{0+}_block{1+}_{2}_conv"),
                ("layer#.#.bn#", "conv{0+}_block{1+}_{2}_bn"),
                ("layer#.#.downsample.0", "conv{0+}_block{1+}_0_conv"),
                ("layer#.#.downsample.1", "conv{0+}_block{1+}_0_bn"),
                ("fc", "predictions"),
            ),
            lambda spec: _keras(spec) and spec.order == "post",
        ),
        Dialect(
            "keras-applications-v2",
            "keras",
            renamed(
                ("conv1", "conv1_conv"),
                ("layer#.#.bn1", "conv{0+}_block{1+}_preact_bn"),
                ("layer#.#.conv#", "conv{0+}_block{1+}_{2}_conv"),
                ("layer#.#.bn#", "conv{0+}_block{1+}_{2-}_bn"),
                ("layer#.#.downsample.0", "conv{0+}_block{1+}_0_conv"),
                ("bn", "post_bn"),
                ("fc", "predictions"),
            ),
            lambda spec: _keras(spec) and spec.order == "pre",
        ),
        Dialect("keras", "keras", _underscored, lambda spec: True),
        Dialect("keras-numbered", "keras", _numbered, lambda spec: True),
    )
}
