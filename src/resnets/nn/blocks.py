"""The blocks, composed when they are built: no `forward` here asks what kind of block it is.

Every block of the family is the same three chains of layers around one addition:

    x = before(x);  y = after(branch(x) + shortcut(x))

    order  entry   before    branch                          after
    post   –       –         conv1 bn1 act1 conv2 bn2        act2     (v1, equations 1 and 2)
    pre    branch  –         bn1 act1 conv1 bn2 act2 conv2   –        (v2, equation 5)
    pre    shared  bn1 act1  conv1 bn2 act2 conv2            –        (v2, appendix)
    pre    none    –         conv1 bn2 act2 conv2            –        (the stem ends in BN–ReLU)

Layer names are torchvision's (``conv1``, ``bn1``, ``downsample.0``), so weights map by name.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from resnets.spec import BlockPlan, ConvPlan

Layers = Mapping[str, nn.Module]


def conv(plan: ConvPlan) -> nn.Conv2d:
    """Return the bias-free convolution of a plan, padded so that stride 1 keeps the size."""
    return nn.Conv2d(
        plan.inputs, plan.outputs, plan.kernel, plan.stride, plan.kernel // 2, bias=False
    )


class PadShortcut(nn.Module):
    """Option A: subsample, and pad the missing channels with zeros on both sides (v1, 3.3).

    The paper does not say where the zeros go; half on either side is what published CIFAR weights
    of this kind expect. Raises ValueError where channels would have to be dropped.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        if outputs < inputs:
            raise ValueError(f"shortcut A cannot take {inputs} channels to {outputs}: it only pads")
        self.stride = stride
        before = (outputs - inputs) // 2
        self.padding = (0, 0, 0, 0, before, outputs - inputs - before)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], self.padding)


def _projection(plan: BlockPlan) -> nn.Module:
    norm = {"post": [nn.BatchNorm2d(plan.outputs)], "pre": []}[plan.order]
    return nn.Sequential(conv(plan.projection), *norm)


SHORTCUTS = {
    "identity": lambda plan: nn.Identity(),
    "pad": lambda plan: PadShortcut(plan.inputs, plan.outputs, plan.stride),
    "projection": _projection,
}


class Block(nn.Module):
    """A residual block. Input ``N inputs H W``; output ``N outputs H/stride W/stride``."""

    def __init__(self, before: Layers, branch: Layers, after: Layers, shortcut: nn.Module) -> None:
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


def _post_activation(plan: BlockPlan) -> tuple[Layers, Layers, Layers]:
    branch: dict[str, nn.Module] = {}
    for i, layer in enumerate(plan.convs, 1):
        branch[f"conv{i}"] = conv(layer)
        branch[f"bn{i}"] = nn.BatchNorm2d(layer.outputs)
        branch[f"act{i}"] = nn.ReLU(inplace=True)
    last = f"act{len(plan.convs)}"
    return {}, branch, {last: branch.pop(last)}


def _pre_activation(plan: BlockPlan) -> tuple[Layers, Layers, Layers]:
    entry: dict[str, nn.Module] = {}
    branch: dict[str, nn.Module] = {}
    norms = iter(plan.norms)
    for i, layer in enumerate(plan.convs, 1):
        activation = entry if i == 1 else branch
        if i > 1 or plan.entry != "none":
            activation[f"bn{i}"] = nn.BatchNorm2d(next(norms))
            activation[f"act{i}"] = nn.ReLU(inplace=True)
        branch[f"conv{i}"] = conv(layer)
    if plan.entry == "shared":
        return entry, branch, {}
    return {}, {**entry, **branch}, {}


LAYERS = {"post": _post_activation, "pre": _pre_activation}


def build_block(plan: BlockPlan) -> nn.Module:
    """Return the module of a plan; without a shortcut it is a chain of conv–BN–ReLU (v1, 3.3)."""
    before, branch, after = LAYERS[plan.order](plan)
    if plan.shortcut == "none":
        chain = nn.Sequential()
        for name, layer in {**before, **branch, **after}.items():
            chain.add_module(name, layer)
        return chain
    return Block(before, branch, after, SHORTCUTS[plan.shortcut](plan))
