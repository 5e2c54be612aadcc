"""`ResNetSpec`: one residual network as data, and the arithmetic on it.

A spec unrolls into *plans* (`ConvPlan`, `BlockPlan`, `StagePlan`) that name every convolution and
norm of the network. Counting walks the plans; the builders walk the same plans. Standard library
only, so that `resnets models` and `resnets describe` answer without loading a framework.

References:
  He et al. 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385 (v1)
  He et al. 2016, "Identity Mappings in Deep Residual Networks", arXiv:1603.05027 (v2)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self

BLOCKS = ("basic", "bottleneck")
ORDERS = ("post", "pre")
SHORTCUTS = ("A", "B", "C", "none")
STRIDES = ("3x3", "1x1")
EXPANSION = {"basic": 1, "bottleneck": 4}


def _check_int(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r} is not an int of at least {least}")


@dataclass(frozen=True)
class ConvPlan:
    """One bias-free convolution with 'same' padding: `kernel` × `kernel`, `inputs` → `outputs`."""

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1

    @property
    def params(self) -> int:
        return self.inputs * self.outputs * self.kernel**2


@dataclass(frozen=True)
class Stem:
    """What comes before the first stage: a convolution, and a 3×3 stride-2 max pool or none.

    Raises:
      ValueError: a field is out of range, or the kernel is even and so has no centre to pad about.
    """

    width: int = 64
    kernel: int = 7
    stride: int = 2
    pool: bool = True

    def __post_init__(self) -> None:
        for name in ("width", "kernel", "stride"):
            _check_int(f"stem {name}", getattr(self, name), 1)
        if self.kernel % 2 == 0:
            raise ValueError(f"stem kernel={self.kernel} is even: 'same' padding needs an odd one")


IMAGENET_STEM = Stem()
"""7×7 stride 2 and max pool, a quarter of the resolution (v1, Table 1)."""


@dataclass(frozen=True)
class BlockPlan:
    """One block, unrolled.

    `shortcut` is ``identity``, ``pad`` (option A), ``projection`` or ``none`` (a plain net).
    `entry` is where a pre-activation block applies its first BN and ReLU: ``branch`` (on the
    residual branch), ``shared`` (before the two paths split) or ``none`` (the stem has done it);
    a post-activation block has ``none``.
    """

    convs: tuple[ConvPlan, ...]
    shortcut: str
    order: str
    entry: str

    @property
    def inputs(self) -> int:
        return self.convs[0].inputs

    @property
    def outputs(self) -> int:
        return self.convs[-1].outputs

    @property
    def stride(self) -> int:
        return max(conv.stride for conv in self.convs)

    @property
    def projection(self) -> ConvPlan:
        """The 1×1 convolution of a ``projection`` shortcut."""
        return ConvPlan(self.inputs, self.outputs, 1, self.stride)

    @property
    def norms(self) -> tuple[int, ...]:
        """Channels of every BatchNorm on the residual branch, in order of use."""
        if self.order == "post":
            return tuple(conv.outputs for conv in self.convs)
        skipped = 1 if self.entry == "none" else 0
        return tuple(conv.inputs for conv in self.convs[skipped:])

    @property
    def params(self) -> int:
        count = sum(conv.params for conv in self.convs) + 2 * sum(self.norms)
        if self.shortcut == "projection":
            # A v1 projection is normalised; a v2 one is a bare convolution, so that nothing but
            # additions lies on the shortcut path.
            count += self.projection.params + (2 * self.outputs if self.order == "post" else 0)
        return count


@dataclass(frozen=True)
class StagePlan:
    name: str
    blocks: tuple[BlockPlan, ...]

    @property
    def outputs(self) -> int:
        return self.blocks[-1].outputs


@dataclass(frozen=True)
class ResNetSpec:
    """A residual network, completely described.

    Args:
      name: the row of the zoo it is, or comes from.
      depths: blocks in each stage.
      widths: channels of the 3×3 convolutions in each stage; a bottleneck block puts out four
        times as many (v1, section 4.1).
      block: ``basic`` (two 3×3) or ``bottleneck`` (1×1, 3×3, 1×1).
      order: ``post`` (conv–BN–ReLU, v1) or ``pre`` (BN–ReLU–conv, v2).
      shortcut: ``A`` (zero-padded identity where channels grow), ``B`` (1×1 projection there, and
        identity elsewhere), ``C`` (projection everywhere) or ``none`` (a plain net).
      stride_in: which convolution of a bottleneck has the stride: ``3x3`` (as all frameworks ship
        it, also called v1.5) or ``1x1`` (the first one, as in the paper).
      stem, in_channels, num_classes: as they say; `num_classes` 0 leaves the classifier out.
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
    stride_in: str = "3x3"
    stem: Stem = field(default=IMAGENET_STEM)
    in_channels: int = 3
    num_classes: int = 1000
    image_size: int = 224

    def __post_init__(self) -> None:
        allowed = {"block": BLOCKS, "order": ORDERS, "shortcut": SHORTCUTS, "stride_in": STRIDES}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                choices = ", ".join(values)
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of: {choices}")
        for name, least in {"in_channels": 1, "num_classes": 0, "image_size": 1}.items():
            _check_int(name, getattr(self, name), least)
        for name in ("depths", "widths"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or not values:
                raise ValueError(f"{name}={values!r} is not a tuple with a number for each stage")
            for value in values:
                _check_int(name, value, 1)
        if len(self.depths) != len(self.widths):
            raise ValueError(f"depths {self.depths} and widths {self.widths} differ in length")
        if self.order == "pre" and self.shortcut == "none":
            raise ValueError("shortcut='none' needs order='post': there is no plain v2 network")
        channels = (self.stem.width, *(width * EXPANSION[self.block] for width in self.widths))
        if self.shortcut == "A" and any(after < before for before, after in pairwise(channels)):
            raise ValueError(f"shortcut='A' only pads, and cannot take channels through {channels}")

    # -- structure ------------------------------------------------------------------------------

    @property
    def stem_conv(self) -> ConvPlan:
        return ConvPlan(self.in_channels, self.stem.width, self.stem.kernel, self.stem.stride)

    def stages(self) -> tuple[StagePlan, ...]:
        """Return the stages ``layer1``, ``layer2``, …, unrolled into block plans."""
        plans = []
        channels = self.stem.width
        for index, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            blocks = []
            for number in range(depth):
                stride = 2 if number == 0 and index > 0 else 1
                first = number == 0
                blocks.append(self._block(channels, width, stride, first, first and index == 0))
                channels = blocks[-1].outputs
            plans.append(StagePlan(f"layer{index + 1}", tuple(blocks)))
        return tuple(plans)

    def _block(self, inputs: int, width: int, stride: int, first: bool, opens: bool) -> BlockPlan:
        outputs = width * EXPANSION[self.block]
        at_1x1, at_3x3 = (stride, 1) if self.stride_in == "1x1" else (1, stride)
        convs = {
            "basic": (ConvPlan(inputs, width, 3, stride), ConvPlan(width, width, 3)),
            "bottleneck": (
                ConvPlan(inputs, width, 1, at_1x1),
                ConvPlan(width, width, 3, at_3x3),
                ConvPlan(width, outputs, 1),
            ),
        }[self.block]
        changes = stride > 1 or inputs != outputs
        shortcut = {
            "A": "pad" if changes else "identity",
            "B": "projection" if changes else "identity",
            "C": "projection",
            "none": "none",
        }[self.shortcut]
        entry = "shared" if first else "branch"
        if self.order == "post" or opens:
            entry = "none"
        return BlockPlan(convs, shortcut, self.order, entry)

    @property
    def num_features(self) -> int:
        """Channels of the last feature map, which the classifier reads."""
        return self.widths[-1] * EXPANSION[self.block]

    @property
    def depth(self) -> int:
        """Layers with weights on the longest path, as the papers count them (projections not)."""
        return 2 + sum(len(block.convs) for stage in self.stages() for block in stage.blocks)

    # -- arithmetic -----------------------------------------------------------------------------

    def params(self, in_channels: int | None = None, num_classes: int | None = None) -> int:
        """Count the trainable parameters: weights, biases, and the γ and β of every norm."""
        spec = self.replace(
            in_channels=self.in_channels if in_channels is None else in_channels,
            num_classes=self.num_classes if num_classes is None else num_classes,
        )
        stem = spec.stem_conv.params + 2 * spec.stem.width
        stages = sum(block.params for stage in spec.stages() for block in stage.blocks)
        last_norm = 2 * spec.num_features if spec.order == "pre" else 0
        return stem + stages + last_norm + (spec.num_features + 1) * spec.num_classes

    def weights(self) -> int:
        """Count the parameters with the norms left out, as some papers do."""
        convs = sum(conv.params for conv, _ in self._convs(self._pair(None)))
        return convs + (self.num_features + 1) * self.num_classes

    def macs(self, size: int | tuple[int, int] | None = None) -> int:
        """Count multiply-adds of one image (`size`: side, or height and width, in pixels).

        Convolutions and the classifier count, norms, activations and pooling do not: the count
        that the papers call FLOPs and that torchvision and timm publish.

        Raises:
          ValueError: a side is not positive.
        """
        total = sum(
            conv.params * height * width for conv, (height, width) in self._convs(self._pair(size))
        )
        return total + self.num_features * self.num_classes

    def feature_shapes(
        self, size: int | tuple[int, int] | None = None
    ) -> dict[str, tuple[int, int, int]]:
        """Return channels, height and width after the stem and after each stage."""
        height, width = self._after_stem(self._pair(size))
        shapes = {"stem": (self.stem.width, height, width)}
        for stage in self.stages():
            for block in stage.blocks:
                height, width = _strided(height, block.stride), _strided(width, block.stride)
            shapes[stage.name] = (stage.outputs, height, width)
        return shapes

    def _pair(self, size: int | tuple[int, int] | None) -> tuple[int, int]:
        size = self.image_size if size is None else size
        height, width = (size, size) if isinstance(size, int) else size
        _check_int("height", height, 1)
        _check_int("width", width, 1)
        return height, width

    def _after_stem(self, size: tuple[int, int]) -> tuple[int, int]:
        strides = (self.stem.stride, 2 if self.stem.pool else 1)
        height, width = size
        for stride in strides:
            height, width = _strided(height, stride), _strided(width, stride)
        return height, width

    def _convs(self, size: tuple[int, int]) -> Iterator[tuple[ConvPlan, tuple[int, int]]]:
        """Yield every convolution with the height and width of its output."""
        stem = self.stem_conv
        yield stem, (_strided(size[0], stem.stride), _strided(size[1], stem.stride))
        height, width = self._after_stem(size)
        for stage in self.stages():
            for block in stage.blocks:
                for conv in block.convs:
                    height, width = _strided(height, conv.stride), _strided(width, conv.stride)
                    yield conv, (height, width)
                if block.shortcut == "projection":
                    yield block.projection, (height, width)

    # -- variants and JSON ----------------------------------------------------------------------

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed; raises TypeError for an unknown field."""
        return dataclasses.replace(self, **changes)

    def with_small_stem(self) -> Self:
        """Return the variant for small photos: a 3×3 stride-1 stem without pooling (v1, 4.2)."""
        return self.replace(stem=Stem(self.stem.width, kernel=3, stride=1, pool=False))

    def shares_weights_with(self, other: ResNetSpec) -> bool:
        """Tell whether the two differ at most in name, classes and the size of the photos."""
        return self == other.replace(
            name=self.name, num_classes=self.num_classes, image_size=self.image_size
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` reads them back to an equal spec."""
        values = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a spec from `to_dict`'s values. Raises ValueError for what is no spec."""
        try:
            fields: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
            }
            return cls(**{**fields, "stem": Stem(**fields["stem"])})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a ResNetSpec: {error}") from None


def _strided(side: int, stride: int) -> int:
    """Output side of an odd kernel with padding kernel // 2: the side over the stride, up."""
    return -(-side // stride)
