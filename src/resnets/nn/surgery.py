"""Tricks, as functions applied to a built network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from resnets.errors import UserError, did_you_mean
from resnets.nn.blocks import Block
from resnets.nn.layers import PadShortcut
from resnets.nn.resnet import ResNet

WHITENING_FLOOR = 5e-4
"""Added to the variances that whitening divides by: directions of almost no variance are noise."""
STEPS = (nn.Conv2d, nn.BatchNorm2d, nn.GroupNorm, nn.ReLU, nn.PReLU)


def zero_init_residual(net: nn.Module) -> None:
    """Start every residual block as the identity: γ = 0 in the last BN of its branch.

    Goyal et al. 2017, arXiv:1706.02677, section 5.1. Branches that end in a convolution, as those
    of pre-activation blocks do, or in an activation are left as they are.
    """
    for block in net.modules():
        if isinstance(block, Block):
            steps = [layer for layer in block.branch().values() if isinstance(layer, STEPS)]
            # Behind a γ of 0 a ReLU would pass no gradient, and the branch never wake up.
            if isinstance(steps[-1], nn.BatchNorm2d | nn.GroupNorm):
                nn.init.zeros_(steps[-1].weight)


def first_conv(net: nn.Module) -> nn.Conv2d:
    """Return the convolution that reads the photo."""
    return next(module for module in net.modules() if isinstance(module, nn.Conv2d))


@torch.no_grad()
def whiten_stem(net: ResNet, photos: Tensor) -> None:
    """Let the first convolution decorrelate the pixels of `photos`, ``N C H W``, normalised.

    Its filters become the principal directions of patches, scaled to variance 1, each with both
    signs, so that an activation after them loses nothing. Page 2019, "How to train your ResNet 8:
    Bag of tricks".

    Raises:
      ValueError: the convolution has an odd number of filters, or more than there are directions.
    """
    conv = first_conv(net)
    patch = conv.weight[0].numel()
    if conv.out_channels % 2 or conv.out_channels > 2 * patch:
        raise ValueError(
            f"whitening needs an even number of filters, at most {2 * patch}, and the first "
            f"convolution of {net.spec.name} has {conv.out_channels}"
        )
    # Patches that do not overlap, and no border.
    side = conv.kernel_size[0]
    patches = torch.nn.functional.unfold(photos, side, stride=side)
    rows = patches.transpose(1, 2).reshape(-1, patch).double()
    variances, directions = torch.linalg.eigh(rows.T @ rows / len(rows))
    scaled = (directions / (variances + WHITENING_FLOOR).sqrt()).T.flip(0)
    filters = scaled[: conv.out_channels // 2].reshape(-1, *conv.weight.shape[1:])
    conv.weight.copy_(torch.cat([filters, -filters]))


@torch.no_grad()
def pass_through(net: ResNet) -> None:
    """Let every kernel of 3×3 and more begin by passing its input on, as far as its channels go.

    The other filters keep their values. Zagoruyko & Komodakis 2017, "DiracNets", arXiv:1706.00388.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size[0] > 1 and module.groups == 1:
            nn.init.dirac_(module.weight[: module.in_channels])


# -- maps of features ---------------------------------------------------------------------------


class Features(nn.Module):
    """A network that returns some of its feature maps, ``N C H W`` each, in a list."""

    def __init__(self, net: ResNet, stages: Sequence[str]) -> None:
        super().__init__()
        self.net = net
        self.stages = tuple(stages)
        by_name = dict(zip(("stem", *net.stages), net.feature_info, strict=True))
        self.feature_info = [by_name[name] for name in self.stages]

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.net.forward_stages(x)
        return [maps[name] for name in self.stages]


def features(net: ResNet, stages: Sequence[str] | None = None) -> Features:
    """Return `net` without its head: it puts out the maps of ``stem``, ``layer1``, … in a list.

    Args:
      net: used as it is, not copied.
      stages: their names; all if None.

    Raises:
      UserError: there is no such stage.
    """
    there = ("stem", *net.stages)
    chosen = there if stages is None else tuple(stages)
    for name in chosen:
        if name not in there:
            hint = did_you_mean(name, there) or f"; there are: {', '.join(there)}"
            raise UserError(f"{net.spec.name} has no stage {name!r}{hint}")
    return Features(net, chosen)


def set_output_stride(net: ResNet, stride: int) -> None:
    """Keep the maps at 1/`stride` of the photo: further strides become dilation.

    Chen et al. 2016, arXiv:1606.00915, section 3.1. The weights stay the same, and so does what a
    value of a map sees. As in torchvision and timm, the convolution that loses its stride still has
    the dilation of the stage before.

    Raises:
      UserError: the stem alone has a larger stride, `stride` is none that the network passes, its
        strides are not in the first block of a stage, or it has been changed before.
    """
    spec = net.spec
    if (
        spec.entries
        or spec.stride_at != "first"
        or spec.padding != "same"
        or spec.antialias != "none"
    ):
        raise UserError(f"{spec.name}: its strides are not of the kind that dilation can replace")
    _check_unchanged(net)
    strides = [int(info["reduction"]) for info in net.feature_info]
    if stride not in strides:
        raise UserError(f"{net.spec.name} has strides {strides}, and none of {stride}")
    net.output_stride = stride
    dilation = 1
    for name, (before, after) in zip(net.stages, pairwise(strides), strict=True):
        earlier = dilation
        if after > stride:
            dilation *= after // before
        for number, block in enumerate(net.get_submodule(name).children()):
            _dilate(block, dilation if number else earlier, dilation, after > stride)


def _dilate(block: nn.Module, first: int, then: int, unstride: bool) -> None:
    """Give the convolutions of a block a dilation, `first` up to the one with the stride and `then`
    after it, and take the strides away."""
    dilation = first
    for layer in block.modules():
        if isinstance(layer, nn.Conv2d):
            layer.dilation = (dilation, dilation)
            layer.padding = tuple(dilation * ((side - 1) // 2) for side in layer.kernel_size)
            dilation = then if max(layer.stride) > 1 else dilation
        if unstride and isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1)
        elif unstride and isinstance(layer, PadShortcut):
            layer.stride = 1
    if unstride and isinstance(block, Block) and isinstance(block.downsample, nn.Sequential):
        for name, layer in block.downsample.named_children():
            if isinstance(layer, nn.AvgPool2d):  # of a shortcut D: the same window, pixel by pixel
                window = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.AvgPool2d(2, 1))
                block.downsample.register_module(name, window)


def _check_unchanged(net: ResNet) -> None:
    if net.output_stride != max(stride for _, stride in net.spec.plan.reaches().values()):
        raise UserError(f"{net.spec.name}: its output stride was changed to {net.output_stride}")


def antialiased(net: ResNet, kind: str = "blur") -> ResNet:
    """Return the network with its strides replaced by smooth subsampling, on the same weights.

    Zhang 2019, arXiv:1904.11486: ``blur`` (1-2-1) or ``avg`` (2×2). It has no weights of its own.
    """
    if kind not in ("blur", "avg"):
        raise UserError(f"kind={kind!r}: blur or avg")
    _check_unchanged(net)
    smooth = ResNet(net.spec.replace(antialias=kind)).to(next(net.parameters()))
    smooth.load_state_dict(net.state_dict())
    return smooth.train(net.training)


# -- inflation to three dimensions --------------------------------------------------------------


def _conv3d(conv: nn.Conv2d, frames: int, centred: bool) -> nn.Module:
    time = frames if conv.kernel_size[0] > 1 else 1
    height, width = conv.kernel_size
    inflated = nn.Conv3d(
        conv.in_channels,
        conv.out_channels,
        (time, height, width),
        (1, conv.stride[0], conv.stride[1]),
        (time // 2, height // 2, width // 2),
        groups=conv.groups,
        bias=conv.bias is not None,
    ).to(conv.weight)
    weight = conv.weight.detach()[:, :, None]
    if centred:
        kernel = torch.zeros_like(inflated.weight)
        kernel[:, :, time // 2 : time // 2 + 1] = weight
    else:
        kernel = weight.expand_as(inflated.weight) / time
    inflated.weight = nn.Parameter(kernel.clone())
    if conv.bias is not None:
        inflated.bias = nn.Parameter(conv.bias.detach().clone())
    return inflated


def _norm3d(norm: nn.BatchNorm2d, frames: int, centred: bool) -> nn.Module:
    inflated = nn.BatchNorm3d(norm.num_features, norm.eps, norm.momentum).to(norm.weight)
    inflated.load_state_dict(norm.state_dict())
    return inflated


def _max3d(pool: nn.MaxPool2d, frames: int, centred: bool) -> nn.Module:
    kernel, stride, padding = int(pool.kernel_size), int(pool.stride), int(pool.padding)  # type: ignore[arg-type]
    return nn.MaxPool3d((1, kernel, kernel), (1, stride, stride), (0, padding, padding))


def _mean3d(pool: nn.AdaptiveAvgPool2d, frames: int, centred: bool) -> nn.Module:
    return nn.AdaptiveAvgPool3d(1)


INFLATIONS: dict[type[nn.Module], Callable[..., nn.Module]] = {
    nn.Conv2d: _conv3d,
    nn.BatchNorm2d: _norm3d,
    nn.MaxPool2d: _max3d,
    nn.AdaptiveAvgPool2d: _mean3d,
}
SHAPELESS = (nn.ReLU, nn.Identity, nn.Flatten, nn.Linear, nn.GroupNorm)
"""Layers that take any number of dimensions."""


def inflate(net: ResNet, frames: int = 3, mode: str = "mean") -> ResNet:
    """Return a network for videos ``N C T H W`` from one for photos.

    Carreira & Zisserman 2017, arXiv:1705.07750, section 2.4: kernels larger than 1×1 get `frames`
    in time; time itself is not subsampled, and averaged over at the end. ``mean`` repeats a kernel
    and divides by `frames`, so that a still video answers as its photo does, except where kernels
    reach beyond the first or last frame; ``centre`` keeps a kernel in the middle frame with zeros
    around it, which is exact for every frame.

    Raises:
      UserError: an even or non-positive `frames`, an unknown `mode`, or a kind of layer that has no
        inflation (option A, smooth subsampling, attention).
    """
    if frames < 1 or frames % 2 == 0:
        raise UserError(f"frames={frames}: an odd number, so that a kernel has a middle")
    if mode not in ("mean", "centre"):
        raise UserError(f"mode={mode!r}: mean or centre")
    _check_unchanged(net)
    if net.spec.attention != "none" or net.spec.head.pool != "avg":
        raise UserError(f"{net.spec.name}: no inflation of its attention or its pooling")
    video = copy.deepcopy(net)
    for module in list(video.modules()):
        for name, layer in list(module.named_children()):
            kind = type(layer)
            if kind in INFLATIONS:
                module.register_module(name, INFLATIONS[kind](layer, frames, mode == "centre"))
            elif not list(layer.children()) and not isinstance(layer, SHAPELESS):
                raise UserError(f"{net.spec.name}: no inflation of a {kind.__name__}")
    return video.train(net.training)
