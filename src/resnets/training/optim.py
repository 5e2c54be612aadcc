"""The optimiser, its schedule, and the averaged weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from resnets.layers import Conv, Norm, Pool
from resnets.nn import ResNet
from resnets.nn.surgery import first_conv
from resnets.training.muon import Muon
from resnets.training.recipe import Recipe

SHIFTING = 1 / 4
"""The part of a run in which a whitened stem's shifts learn: without them, no gradient has to come
down to the maps of all pixels, a fifth of a step (Jordan 2024, arXiv:2404.00498, has 3/8)."""

Groups: TypeAlias = list[dict[str, Any]]


def parameter_groups(net: ResNet, recipe: Recipe) -> Groups:
    """Split the parameters: matrices and kernels decay, norms and biases only if the recipe says.

    He et al. 2018, "Bag of Tricks", arXiv:1812.01187, section 3.1. Where rates differ by depth,
    each stage has groups of its own. A group's `scale` is its part of the rate.
    """
    # A fused step wants momentum for all of a group or for none: what learns later is apart.
    apart = recipe.layer_decay < 1 or recipe.head_epochs > 0
    turning = _normed_kernels(net) if recipe.optimizer == "muon" and recipe.bn == "train" else set()
    groups: dict[tuple[int, float, bool, bool], list[nn.Parameter]] = {}
    for distance, parameters in enumerate(reversed(net.parameter_stages())):
        for p in parameters:
            matrix = p.ndim > 1
            factor = (recipe.head_lr if distance == 0 else 1.0) if matrix else recipe.norm_lr
            turned = p in turning
            key = (distance * apart, factor, matrix or recipe.decay_norms, turned)
            groups.setdefault(key, []).append(p)
    return [
        {
            "params": params,
            "weight_decay": recipe.weight_decay if decays else 0.0,
            "scale": factor * recipe.layer_decay**distance,
            "orthogonal": turned,
        }
        for (distance, factor, decays, turned), params in groups.items()
    ]


def _normed_kernels(net: ResNet) -> set[nn.Parameter]:
    """Return the kernels whose scale a norm takes out again."""
    found = set()
    for prefix, chain in net.spec.plan.chains():
        kernel: nn.Parameter | None = None
        for name, layer in chain.items():
            if isinstance(layer, Norm) and kernel is not None:
                found.add(kernel)
            if isinstance(layer, Conv):
                kernel = net.get_parameter(f"{prefix}{name}.weight")
            elif not isinstance(layer, Pool):
                kernel = None
    return found


def build_optimizer(net: ResNet, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimiser of a recipe; torch's own are fused: one pass over the weights a step."""
    return OPTIMIZERS[recipe.optimizer](parameter_groups(net, recipe), recipe)


def _sgd(groups: Groups, recipe: Recipe) -> torch.optim.Optimizer:
    momentum = recipe.momentum
    nesterov = recipe.nesterov and momentum > 0
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=momentum, nesterov=nesterov, fused=True)


def _adamw(groups: Groups, recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999), fused=True)


OPTIMIZERS: dict[str, Callable[[Groups, Recipe], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adamw": _adamw,
    "muon": lambda groups, recipe: Muon(groups, recipe.lr, sgd_momentum=recipe.momentum),
}


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the rate of optimiser step `step` (from 0): a pure function, so a resume needs none
    of its history."""
    total = recipe.epochs * steps_per_epoch
    warmup = min(recipe.warmup_epochs * steps_per_epoch, total)
    if step < warmup:
        return recipe.lr * (step + 1) / (warmup + 1)
    if recipe.schedule == "step":
        passed = sum(step >= round(milestone * total) for milestone in recipe.milestones)
        return float(recipe.lr * recipe.gamma**passed)
    progress = (step - warmup) / max(total - warmup, 1)
    return recipe.lr * FALLS[recipe.schedule](progress)


FALLS: dict[str, Callable[[float], float]] = {
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1 - progress,
}
"""The rate as a fraction of its peak, by the part of the run that is done."""


def set_learning(net: ResNet, recipe: Recipe, epoch: int) -> None:
    """Set what learns in an epoch: a pure function of it, so that a resume needs no history."""
    head_only = epoch < recipe.head_epochs
    net.requires_grad_(not head_only)
    for module in (net.fc, net.features):
        module.requires_grad_(True)
    if recipe.whiten:
        stem = first_conv(net)
        stem.weight.requires_grad_(False)
        if stem.bias is not None and epoch >= SHIFTING * recipe.epochs:
            stem.bias.requires_grad_(False)  # no gradient has to come down to the photo's side
    net.train()
    if head_only or recipe.bn == "fixed":
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


class Ema:
    """An exponential moving average of a network's weights and BN statistics.

    The running means and variances are averaged along with the weights: those of the live network
    belong to other weights. The decay rises from 0.1 to its value, so that the first steps, far
    from anything good, are soon forgotten.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        live = net.state_dict()
        averaged: list[Tensor] = []
        current: list[Tensor] = []
        for name, value in self.net.state_dict().items():
            if value.is_floating_point():
                averaged.append(value)
                current.append(live[name])
            else:
                value.copy_(live[name])
        torch._foreach_lerp_(averaged, current, 1 - decay)
