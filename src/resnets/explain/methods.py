"""The methods that make heat maps, each a line of a table; libraries compute them.

Every method here has passed the test by random networks on real photos
(``benchmarks/explain.py``); those that have not are in ``docs/log.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from resnets.extras import library, require

Compute = Callable[[nn.Module, nn.Module, Tensor, Tensor], NDArray[np.float32]]
GRID = 16
"""Cells a side of what is computed for every pixel: single pixels are speckle to the eye."""
STEPS = 32
"""Points of the path that integrated gradients go."""


@dataclass(frozen=True)
class Method:
    """A way to make heat maps.

    Attributes:
      title, source: for people.
      compute: of a network (in evaluation mode), the module that puts out the layer to look at,
        normalised photos ``N C H W`` and classes ``N`` it makes ``N h w``: how much each cell
        speaks for the class, 0 where it does not.
      at_layer: whether the layer matters.
      dear: whether it takes hundreds of passes through the network.
    """

    title: str
    source: str
    compute: Compute
    at_layer: bool = True
    dear: bool = False


def cam(name: str) -> Compute:
    """Return what computes a class activation map by the class `name` of grad-cam."""

    def compute(
        net: nn.Module, layer: nn.Module, images: Tensor, classes: Tensor
    ) -> NDArray[np.float32]:
        cams = library("pytorch_grad_cam", "explain", f"resnets explain by {name}")
        targets = cams.utils.model_targets
        made = getattr(cams, name)(model=net, target_layers=[layer])
        try:
            # As many cells as the layer has; it would enlarge them, and ranks would count twice.
            made.get_target_width_height = lambda _: made.activations_and_grads.activations[
                0
            ].shape[:1:-1]
            found = made(
                input_tensor=images.clone().requires_grad_(),
                targets=[targets.ClassifierOutputTarget(int(c)) for c in classes],
            )
        finally:
            made.activations_and_grads.release()
        return np.nan_to_num(np.asarray(found, np.float32))

    return compute


def pixels(attribute: Callable[[Any, nn.Module, Tensor, Tensor], Tensor]) -> Compute:
    """Return what computes evidence for every pixel with captum, and takes the mean of cells."""

    def compute(
        net: nn.Module, layer: nn.Module, images: Tensor, classes: Tensor
    ) -> NDArray[np.float32]:
        captum = library("captum.attr", "explain", "resnets explain")
        wanted = images.clone().requires_grad_()
        found = attribute(captum, net, wanted, classes).detach().sum(1, keepdim=True)
        cells = adaptive_avg_pool2d(found, min(GRID, images.shape[-1])).squeeze(1)
        return cells.clamp(min=0).float().cpu().numpy()

    return compute


def _integrated(captum: Any, net: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    made = captum.IntegratedGradients(net)
    found: Tensor = made.attribute(
        images, target=classes, n_steps=STEPS, internal_batch_size=max(64, len(images))
    )
    return found


def _occlusion(captum: Any, net: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    channels, side = images.shape[1], images.shape[-1]
    step = max(1, side // GRID)
    window = min(side, 3 * step)
    with torch.no_grad():
        found: Tensor = captum.Occlusion(net).attribute(
            images,
            target=classes,
            sliding_window_shapes=(channels, window, window),
            strides=(channels, step, step),
            perturbations_per_eval=max(1, 64 // len(images)),
        )
    return found


METHODS = {
    "gradcam": Method("Grad-CAM", "Selvaraju et al. 2017, arXiv:1610.02391", cam("GradCAM")),
    "hirescam": Method("HiResCAM", "Draelos & Carin 2020, arXiv:2011.08891", cam("HiResCAM")),
    "xgradcam": Method("XGrad-CAM", "Fu et al. 2020, arXiv:2008.02312", cam("XGradCAM")),
    "integrated": Method(
        "Integrated gradients",
        "Sundararajan et al. 2017, arXiv:1703.01365",
        pixels(_integrated),
        at_layer=False,
        dear=True,
    ),
    "occlusion": Method(
        "Occlusion",
        "Zeiler & Fergus 2014, arXiv:1311.2901",
        pixels(_occlusion),
        at_layer=False,
        dear=True,
    ),
}
DEFAULT = "hirescam"
"""At the last stage it is Grad-CAM; at earlier ones its maps did better on deletion."""


def check_installed() -> None:
    """Raise UserError now where a library is not there, before any work is done."""
    require(("pytorch_grad_cam", "captum", "matplotlib"), "explain", "resnets explain")
