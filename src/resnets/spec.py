"""`ResNetSpec`: one residual network as data, and the arithmetic on it.

A spec unrolls into a plan that names every layer of the network. Counting walks the plan; the
builders walk the same plan. Standard library only, so that `resnets models` and `resnets describe`
answer without loading a framework.

References:
  He et al. 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385 (v1)
  He et al. 2016, "Identity Mappings in Deep Residual Networks", arXiv:1603.05027 (v2)
  He et al. 2018, "Bag of Tricks for Image Classification", arXiv:1812.01187 (tricks)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any, Self

from resnets.checks import check_bool, check_choice, check_int, check_ints, check_number
from resnets.errors import did_you_mean
from resnets.layers import Norm
from resnets.plan import NetworkPlan, StagePlan, activations, macs
from resnets.unroll import EXPANSION, ORDERS, SHORTCUTS, STRIDE_IN, unroll

POOLS = ("max", "zero-max", "max2", "conv", "none")
HEAD_POOLS = ("avg", "max", "all")
CHOICES: Mapping[str, Iterable[str]] = {
    "block": EXPANSION,
    "order": ORDERS,
    "shortcut": SHORTCUTS,
    "stride_in": STRIDE_IN,
    "stride_at": ("first", "last"),
    "norm": ("batch", "group"),
    "activation": ("relu", "prelu"),
    "bias": ("none", "unnormed", "all"),
    "padding": ("same", "tf"),
    "antialias": ("none", "avg", "blur", "max"),
    "attention": ("none", "se", "eca"),
}
MOST_BLOCKS = 4096
"""More are a mistake, or a file made to exhaust memory."""


class Replaceable:
    """A dataclass of which copies with other values are made by name."""

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed; raises TypeError for an unknown field."""
        known = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        for name in changes:
            if name not in known:
                near = did_you_mean(name, known) or f"; there are: {', '.join(known)}"
                raise TypeError(f"{type(self).__name__} has no field {name!r}{near}")
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


@dataclass(frozen=True)
class Stem(Replaceable):
    """What comes before the first stage, or on entry to one: convolutions and a pooling.

    Args:
      width, kernel, stride: of the last (mostly the only) convolution; with `hidden` ones, the
        first of them has the stride.
      hidden: widths of the convolutions before it, each with norm and activation.
      pool: ``max`` (3×3, stride 2), ``zero-max`` (the same over a border of zeros, as BiT and
        Keras' v2 have it), ``max2`` (2×2, stride 2), ``conv`` (a 3×3 stride-2 convolution with
        norm and activation) or ``none``.
      norm, act: whether these follow the last convolution.

    Raises:
      ValueError: a field is out of range.
    """

    width: int = 64
    kernel: int = 7
    stride: int = 2
    pool: str = "max"
    hidden: tuple[int, ...] = ()
    norm: bool = True
    act: bool = True

    def __post_init__(self) -> None:
        for name in ("width", "kernel", "stride"):
            check_int(f"stem {name}", getattr(self, name), 1)
        check_choice("stem pool", self.pool, POOLS)
        check_ints("stem hidden", self.hidden, 1)
        for name in ("norm", "act"):
            check_bool(f"stem {name}", getattr(self, name))


IMAGENET_STEM = Stem()
"""7×7 stride 2 and max pool, a quarter of the resolution (v1, Table 1)."""


@dataclass(frozen=True)
class Head(Replaceable):
    """The classifier: pooling, a linear layer with or without `bias`, times `scale`.

    `pool` is ``avg``, ``max``, or ``all`` for no pooling: the linear layer then reads every pixel,
    and the network takes photos of one size only. `norm` adds a BatchNorm over the outputs.
    """

    pool: str = "avg"
    bias: bool = True
    scale: float = 1.0
    norm: bool = False

    def __post_init__(self) -> None:
        check_choice("head pool", self.pool, HEAD_POOLS)
        check_number("head scale", self.scale)
        for name in ("bias", "norm"):
            check_bool(f"head {name}", getattr(self, name))


@dataclass(frozen=True)
class ResNetSpec(Replaceable):
    """A residual network, completely described.

    Args:
      name: the row of the zoo it is, or comes from.
      depths: blocks in each stage.
      widths: channels of the 3×3 convolutions in each stage; a bottleneck block puts out four
        times as many (v1, section 4.1).
      block: ``basic`` (two 3×3) or ``bottleneck`` (1×1, 3×3, 1×1).
      order: ``post`` (conv–BN–ReLU, v1), ``pre`` (BN–ReLU–conv, v2) or another of `ORDERS`.
      shortcut: ``A`` (zero-padded identity where channels grow), ``B`` (1×1 projection there, and
        identity elsewhere), ``C`` (projection everywhere), ``D`` (as B, over the mean of the pixels
        that a stride would skip), ``slim`` (as B, but no projection where only the size changes)
        or ``none`` (a plain net).
      bare_projection: leaves the norm of a projection out.
      strides: of each stage; 1 for the first and 2 for the others if empty.
      stride_in: which convolution of a block has it: ``3x3`` (the first one of a bottleneck's,
        as all frameworks ship it, also called v1.5), ``1x1`` (the first, as in the paper) or
        ``last``.
      stride_at: which block of a stage has it, ``first`` or ``last``.
      groups, group_width: of the 3×3 convolution of a bottleneck, `groups` of
        `group_width` channels where the stage is 64 wide (arXiv:1611.05431, 1605.07146).
      norm, norm_eps: ``batch`` or ``group`` (of 32 groups), and its ε.
      activation: ``relu`` or ``prelu``.
      bias: which convolutions have one: ``none``, ``unnormed`` (those that no norm follows) or
        ``all``.
      padding: ``same`` or ``tf``, see `resnets.layers.Conv`.
      standardized: convolutions normalise their weights before use.
      antialias: what subsamples in place of a stride: ``none``, ``avg`` (2×2), ``blur``, or
        ``max`` (2×2, right behind the convolution; the last pixel of an odd side is left out, so
        that a shortcut has to be ``D``, which then pools by the maximum too).
      attention, se_ratio: channel attention at the end of a branch, ``none``, ``se`` or ``eca``;
        hidden channels of ``se`` as a fraction.
      stem: before the first stage; None for none.
      entries: on entry to each stage, a `Stem` or None; empty for none at all.
      head: see `Head`.
      in_channels, num_classes: as they say; `num_classes` 0 leaves the classifier out.
      image_size: the side in pixels for which the network is meant (and published).

    Raises:
      ValueError: a field is out of range; the message names it.
    """

    name: str
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    block: str = "basic"
    order: str = "post"
    shortcut: str = "B"
    bare_projection: bool = False
    strides: tuple[int, ...] = ()
    stride_in: str = "3x3"
    stride_at: str = "first"
    groups: int = 1
    group_width: int = 64
    norm: str = "batch"
    norm_eps: float = 1e-5
    activation: str = "relu"
    bias: str = "none"
    padding: str = "same"
    standardized: bool = False
    antialias: str = "none"
    attention: str = "none"
    se_ratio: float = 1 / 16
    stem: Stem | None = field(default=IMAGENET_STEM)
    entries: tuple[Stem | None, ...] = ()
    head: Head = field(default=Head())
    in_channels: int = 3
    num_classes: int = 1000
    image_size: int = 224

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ValueError(f"name={self.name!r} is not a name")
        for name, choices in CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        least = {"in_channels": 1, "num_classes": 0, "image_size": 1, "groups": 1, "group_width": 1}
        for name, value in least.items():
            check_int(name, getattr(self, name), value)
        for name in ("bare_projection", "standardized"):
            check_bool(name, getattr(self, name))
        for name in ("norm_eps", "se_ratio"):
            check_number(name, getattr(self, name))
        if not isinstance(self.entries, tuple):
            raise ValueError(f"entries={self.entries!r} is not a tuple")
        for name, value in {"depths": 0 if self.entries else 1, "widths": 1, "strides": 1}.items():
            check_ints(name, getattr(self, name), value)
        if not self.depths:
            raise ValueError("depths=() has no stage")
        for name in ("widths", "strides", "entries"):
            values = getattr(self, name)
            if len(values) != len(self.depths) and (values or name == "widths"):
                raise ValueError(f"depths {self.depths} and {name} {values} differ in length")
        for name, stems in {"stem": (self.stem,), "entries": self.entries}.items():
            for stem in stems:
                if not isinstance(stem, Stem | None):
                    raise ValueError(f"{name}: {stem!r} is neither a Stem nor None")
        if not isinstance(self.head, Head):
            raise ValueError(f"head={self.head!r} is not a Head")
        self._check_mix()

    def _check_mix(self) -> None:
        """Refuse fields that contradict each other."""
        if sum(self.depths) > MOST_BLOCKS:
            raise ValueError(f"depths={self.depths} are more than {MOST_BLOCKS} blocks")
        if self.order == "pre" and self.shortcut == "none":
            raise ValueError("shortcut='none' needs order='post': there is no plain v2 network")
        if self.antialias == "max" and self.shortcut not in ("D", "none"):
            raise ValueError("antialias='max' needs shortcut='D': others keep an odd side's end")
        if self.block != "bottleneck" and (self.groups, self.group_width) != (1, 64):
            raise ValueError("groups and group_width need block='bottleneck'")
        if min(self.widths) * self.group_width < 64:
            raise ValueError(
                f"group_width={self.group_width} leaves no channels in a stage that is "
                f"{min(self.widths)} wide"
            )
        if self.shortcut == "A":
            inputs = self.stem.width if self.stem else self.in_channels
            entries = self.entries or (None,) * len(self.depths)
            for stem, depth, width in zip(entries, self.depths, self.widths, strict=True):
                inputs = stem.width if stem else inputs
                outputs = width * EXPANSION[self.block] if depth else inputs
                if outputs < inputs:
                    raise ValueError(
                        f"shortcut='A' only pads, and cannot take {inputs} channels to {outputs}"
                    )
                inputs = outputs
        if self.norm == "group":
            for name, layer in self.plan.layers():
                if isinstance(layer, Norm) and layer.kind == "group" and layer.channels % 32:
                    raise ValueError(
                        f"norm='group' needs a multiple of 32 channels, and {name} has "
                        f"{layer.channels}"
                    )

    # -- structure and arithmetic ---------------------------------------------------------------

    @cached_property
    def plan(self) -> NetworkPlan:
        """Every layer of the network by its name, in order."""
        return unroll(self)

    def stages(self) -> tuple[StagePlan, ...]:
        """Return the stages ``layer1``, ``layer2``, …, unrolled into block plans."""
        return self.plan.stages

    @property
    def num_features(self) -> int:
        """Channels of the last feature map."""
        return self.stages()[-1].outputs

    @property
    def depth(self) -> int:
        """Layers with weights on the longest path, as the papers count them (projections not)."""
        return self.plan.depth

    def params(self, in_channels: int | None = None, num_classes: int | None = None) -> int:
        """Count the trainable parameters: weights, biases, and the γ and β of every norm."""
        changes = {"in_channels": in_channels, "num_classes": num_classes}
        spec = self.replace(**{k: v for k, v in changes.items() if v is not None})
        return sum(layer.params for _, layer in spec.plan.layers())

    def weights(self) -> int:
        """Count the parameters with the norms left out, as some papers do."""
        return sum(layer.weights for _, layer in self.plan.layers())

    def macs(self, size: int | tuple[int, int] | None = None) -> int:
        """Count multiply-adds of one image (`size`: side, or height and width, in pixels).

        Convolutions, attention and the classifier count; norms, activations and pooling do not:
        the count that the papers call FLOPs and that torchvision publishes.

        Raises:
          ValueError: a side is not positive.
        """
        return macs(self.plan.sized(self._sides(size)))

    def activations(self, size: int | tuple[int, int] | None = None) -> int:
        """Count the values that the convolutions put out for one image: what training has to keep
        grows with it (Radosavovic et al. 2020, arXiv:2003.13678, section 3.1)."""
        return activations(self.plan.sized(self._sides(size)))

    def feature_shapes(
        self, size: int | tuple[int, int] | None = None
    ) -> dict[str, tuple[int, int, int]]:
        """Return channels, height and width after the stem (or of the photo, where there is none)
        and after each stage."""
        channels = {"stem": self.stem.width if self.stem else self.in_channels}
        channels |= {stage.name: stage.outputs for stage in self.stages()}
        sides = self.plan.feature_sides(self._sides(size))
        return {name: (count, *sides[name]) for name, count in channels.items()}

    @cached_property
    def smallest(self) -> int:
        """The least side of a photo, pixels, that leaves something of every map."""
        return next(
            side
            for side in count(1)
            if all(min(left) > 0 for _, left in self.plan.sized((side, side)))
        )

    def _sides(self, size: int | tuple[int, int] | None) -> tuple[int, int]:
        size = self.image_size if size is None else size
        height, width = (size, size) if isinstance(size, int) else size
        check_int("height", height, 1)
        check_int("width", width, 1)
        if self.head.pool == "all" and (height, width) != (self.image_size,) * 2:
            raise ValueError(f"{self.name} takes photos of {self.image_size} px only")
        return height, width

    # -- variants and JSON ----------------------------------------------------------------------

    def with_small_stem(self) -> Self:
        """Return the variant for small photos, ``NAME_small``: a 3×3 stride-1 stem without pooling
        (v1, 4.2)."""
        stem = self.stem or Stem(self.widths[0])
        return self.replace(
            name=f"{self.name.removesuffix('_small')}_small",
            stem=dataclasses.replace(stem, kernel=3, stride=1, pool="none", hidden=()),
        )

    @property
    def stem_pools(self) -> bool:
        """Whether the stem ends in a pooling."""
        return self.stem is not None and self.stem.pool != "none"

    def shares_weights_with(self, other: ResNetSpec) -> bool:
        """Tell whether the two differ at most in name, classes and the size of the photos; the last
        only where the classifier reads pooled features."""
        size = other.image_size if self.head.pool == "all" else self.image_size
        return self == other.replace(name=self.name, num_classes=self.num_classes, image_size=size)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` reads them back to an equal spec."""
        return _plain(dataclasses.asdict(self))  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a spec from `to_dict`'s values. Raises ValueError for what is no spec."""
        try:
            fields: dict[str, Any] = _tuples(values)
            entries = tuple(
                entry if entry is None else Stem(**entry) for entry in fields["entries"]
            )
            stem = fields["stem"] if fields["stem"] is None else Stem(**fields["stem"])
            return cls(
                **fields | {"stem": stem, "entries": entries, "head": Head(**fields["head"])}
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a ResNetSpec: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    """Return JSON values with tuples for lists, at any depth."""
    if isinstance(value, Mapping):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
