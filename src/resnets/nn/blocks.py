"""The blocks, composed when they are built: no `forward` here asks what kind of block it is.

Every block of the family is the same three chains of layers around one addition:

    x = before(x);  y = after(branch(x) + shortcut(x))

    order    before    branch                               after
    post     –         conv1 bn1 act1 conv2 bn2             act2    (v1, equations 1 and 2)
    pre      –         bn1 act1 conv1 bn2 act2 conv2        –       (v2, equation 5)
    pre      bn1 act1  conv1 bn2 act2 conv2                 –       (v2, appendix: it projects)
    pre      –         conv1 bn2 act2 conv2                 –       (the stem ends in BN–ReLU)
    arcface  –         bn1 conv1 bn2 act2 conv2 bn3         –       (arXiv:1801.07698, 3.1)
    inner    –         conv1 bn1 act1 conv2 bn2 act2        –       (DAWNBench's ResNet-9)
    open     –         conv1 bn1 act1 conv2 bn2             –       (activation forgotten)

Layer names are torchvision's (``conv1``, ``bn1``, ``downsample.0``), so weights map by name.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from resnets.nn.layers import build_chain
from resnets.plan import BlockPlan, Chain, StagePlan

Modules = Mapping[str, nn.Module]


class Block(nn.Module):
    """A residual block. Input ``N inputs H W``; output ``N outputs H/stride W/stride``."""

    def __init__(
        self, before: Modules, branch: Modules, after: Modules, shortcut: nn.Module
    ) -> None:
        super().__init__()
        for name, layer in {**before, **branch, **after}.items():
            self.add_module(name, layer)
        self.downsample = shortcut
        self._before, self._branch, self._after = tuple(before), tuple(branch), tuple(after)

    def branch(self) -> dict[str, nn.Module]:
        """Return the layers of the residual branch F by name, in order of use."""
        return {name: getattr(self, name) for name in self._branch}

    def _through(self, names: tuple[str, ...], x: Tensor) -> Tensor:
        for name in names:
            x = getattr(self, name)(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = self._through(self._before, x)
        return self._through(self._after, self._through(self._branch, x) + self.downsample(x))


def _sequence(chain: Chain) -> nn.Sequential:
    sequence = nn.Sequential()
    for name, module in build_chain(chain).items():
        sequence.add_module(name, module)
    return sequence


def build_block(plan: BlockPlan) -> nn.Module:
    """Return the module of a plan; without a shortcut it is a chain of conv–BN–ReLU (v1, 3.3)."""
    if plan.shortcut is None:
        return _sequence({**plan.before, **plan.branch, **plan.after})
    before, branch, after = (build_chain(c) for c in (plan.before, plan.branch, plan.after))
    shortcut = _sequence(plan.shortcut) if plan.shortcut else nn.Identity()
    return Block(before, branch, after, shortcut)


def build_stage(plan: StagePlan) -> nn.Sequential:
    """Return a stage: its entry, where there is one, and its blocks."""
    stage = nn.Sequential()
    if plan.entry:
        stage.add_module("entry", _sequence(plan.entry))
    for number, block in enumerate(plan.blocks):
        stage.add_module(str(number), build_block(block))
    return stage
