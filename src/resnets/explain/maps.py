"""Heat maps of a network: of which layer, of which views, and how they are enlarged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from resnets.errors import UserError, did_you_mean
from resnets.explain.methods import Method
from resnets.nn import ResNet

CELLS = 7
"""Cells a side that the layer to look at should have, as the last of a ResNet has at 224 px."""


@dataclass(frozen=True, eq=False)
class Mapper:
    """Makes the maps of one method at one layer, of any network of a spec.

    With `mirrored` a map is the mean of those of the photo and of its mirror image, as the answer
    of such a model is.
    """

    method: Method
    layer: str
    mirrored: bool = False

    def __call__(self, net: ResNet, images: Tensor, classes: Tensor) -> NDArray[np.float32]:
        """Return ``N h w`` in 0…1 for normalised photos ``N C H W`` and classes ``N``."""
        module = module_of(net, self.layer)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            cells = self.method.compute(net, module, images, classes)
            if self.mirrored:
                mirror = self.method.compute(net, module, images.flip(3), classes)
                cells = np.float32(0.5) * (scaled(cells) + scaled(mirror)[:, :, ::-1])
        return scaled(cells)


def scaled(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring each of ``N h w`` to a greatest value of 1; one without evidence stays 0."""
    most = cells.max((1, 2), keepdims=True)
    found: NDArray[np.float32] = np.divide(cells, most, out=np.zeros_like(cells), where=most > 0)
    return found


def enlarge(cells: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return ``N side side`` of ``N h w``, bilinear, in 0…1."""
    maps = torch.from_numpy(np.ascontiguousarray(cells))[:, None]
    big = interpolate(maps, (side, side), mode="bilinear", align_corners=False)
    enlarged: NDArray[np.float32] = big[:, 0].clamp(0, 1).numpy()
    return enlarged


def readied(net: ResNet) -> ResNet:
    """Make a network fit for the methods: no gradients of its own, nothing changed in place."""
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # it would change what hooks on the layer before have kept
    return net.requires_grad_(False).eval()


def choose_layer(net: ResNet, size: int, layer: str | None) -> str:
    """Return the stage to look at: the one asked for, or the last with `CELLS` cells a side.

    Where no stage has as many, the one with the most, and of several such the last.

    Raises:
      UserError: there is no such stage.
    """
    if layer is not None:
        if layer not in net.stages:
            hint = did_you_mean(layer, net.stages) or f"; there are: {', '.join(net.stages)}"
            raise UserError(f"--layer {layer}: {net.spec.name} has no such stage{hint}")
        return layer
    shapes = net.spec.feature_shapes(size)
    sides = {name: min(shapes[name][1:]) for name in net.stages}
    enough = [name for name, side in sides.items() if side >= CELLS]
    return enough[-1] if enough else max(reversed(net.stages), key=sides.__getitem__)


def module_of(net: ResNet, layer: str) -> nn.Module:
    """Return the module that puts out the map of a stage."""
    info = net.feature_info[1 + net.stages.index(layer)]
    return net.get_submodule(str(info["module"]))
