"""A network as data: chains of layers in blocks, blocks in stages; and the arithmetic on them.

A *chain* maps names to layers in the order of use. A dotted name (``conv1.0``) is a layer within a
sequence (``conv1``). Names are those that weights are stored under: torchvision's, and timm's for
what torchvision does not have. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from resnets.layers import Conv, Layer, Shapes

Chain: TypeAlias = Mapping[str, Layer]
Sides: TypeAlias = tuple[int, int]
Sized: TypeAlias = tuple[Layer, Sides]


@dataclass(frozen=True)
class BlockPlan:
    """One block, unrolled: ``x = before(x); y = after(branch(x) + shortcut(x))``.

    `shortcut` is empty for the identity, and None in a plain net, which adds nothing.
    """

    before: Chain
    branch: Chain
    after: Chain
    shortcut: Chain | None

    def chains(self) -> Iterator[tuple[str, Chain]]:
        """Yield the chains with the prefix of their weights' names."""
        yield from (("", self.before), ("", self.branch), ("", self.after))
        yield "downsample.", self.shortcut or {}


@dataclass(frozen=True)
class StagePlan:
    """A stage: a chain on entry (mostly empty), then blocks; it puts out `outputs` channels."""

    name: str
    entry: Chain
    blocks: tuple[BlockPlan, ...]
    outputs: int

    def chains(self) -> Iterator[tuple[str, Chain]]:
        yield f"{self.name}.entry.", self.entry
        for number, block in enumerate(self.blocks):
            for prefix, chain in block.chains():
                yield f"{self.name}.{number}.{prefix}", chain

    def path(self) -> list[Chain]:
        """Return the chains that lie one after another, the shortcuts left out."""
        blocks = [(block.before, block.branch, block.after) for block in self.blocks]
        return [self.entry, *(chain for block in blocks for chain in block)]


@dataclass(frozen=True)
class NetworkPlan:
    """The whole network: `stem`, `stages`, `top` (over the last feature map) and `head`."""

    stem: Chain
    stages: tuple[StagePlan, ...]
    top: Chain
    head: Chain

    def chains(self) -> Iterator[tuple[str, Chain]]:
        yield "", self.stem
        for stage in self.stages:
            yield from stage.chains()
        yield from (("", self.top), ("", self.head))

    def layers(self) -> Iterator[tuple[str, Layer]]:
        """Yield every layer under its full name."""
        for prefix, chain in self.chains():
            for name, layer in chain.items():
                yield prefix + name, layer

    def tensors(self) -> Shapes:
        """Return name and shape of everything that a state dict of the network holds."""
        return {
            f"{name}.{tensor}": shape
            for name, layer in self.layers()
            for tensor, shape in (layer.tensors() | layer.buffers()).items()
        }

    @property
    def depth(self) -> int:
        """Layers with weights on the longest path: the convolutions of it, and the classifier."""
        chains = [self.stem, *(chain for stage in self.stages for chain in stage.path())]
        return 1 + sum(isinstance(layer, Conv) for chain in chains for layer in chain.values())

    # -- sizes: sides are height and width in pixels --------------------------------------------

    def parts(self, sides: Sides) -> Iterator[tuple[str, list[Sized]]]:
        """Yield ``stem``, each stage and ``head`` with their layers, each with the sides of its
        output, for the sides of the photo."""
        layers, sides = _walk([self.stem], sides)
        yield "stem", layers
        for stage in self.stages:
            layers, sides = _walk([stage.entry], sides)
            for block in stage.blocks:
                layers += _walk([block.shortcut or {}], sides)[0]
                path, sides = _walk([block.before, block.branch, block.after], sides)
                layers += path
            yield stage.name, layers
        yield "head", _walk([self.top, self.head], sides)[0]

    def sized(self, sides: Sides) -> Iterator[Sized]:
        """Yield every layer with the sides of its output, for the sides of the photo."""
        for _, layers in self.parts(sides):
            yield from layers

    def feature_sides(self, sides: Sides) -> dict[str, Sides]:
        """Return the sides after the ``stem`` and after each stage."""
        _, sides = _walk([self.stem], sides)
        found = {"stem": sides}
        for stage in self.stages:
            _, sides = _walk(stage.path(), sides)
            found[stage.name] = sides
        return found

    def reaches(self) -> dict[str, tuple[int, int]]:
        """Return receptive field and stride, in pixels, after the ``stem`` and each stage."""
        field, stride = _reach([self.stem], 1, 1)
        found = {"stem": (field, stride)}
        for stage in self.stages:
            field, stride = _reach(stage.path(), field, stride)
            found[stage.name] = (field, stride)
        return found


def macs(layers: Iterable[Sized]) -> int:
    """Count the multiply-adds of layers for one image."""
    return sum(layer.macs(height * width) for layer, (height, width) in layers)


def activations(layers: Iterable[Sized]) -> int:
    """Count the values that the convolutions among layers put out for one image."""
    return sum(
        layer.outputs * height * width
        for layer, (height, width) in layers
        if isinstance(layer, Conv)
    )


def _walk(chains: Iterable[Chain], sides: Sides) -> tuple[list[Sized], Sides]:
    """Return every layer of chains in a row with the sides of its output, and the last of them."""
    layers = []
    for chain in chains:
        for layer in chain.values():
            sides = layer.out(sides[0]), layer.out(sides[1])
            layers.append((layer, sides))
    return layers, sides


def _reach(chains: Iterable[Chain], field: int, stride: int) -> tuple[int, int]:
    for chain in chains:
        for layer in chain.values():
            kernel, step = layer.reach
            field += (kernel - 1) * stride
            stride *= step
    return field, stride
