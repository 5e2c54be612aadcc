"""The optimiser, its schedule, and the averaged weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from resnets.nn import ResNet
from resnets.training.recipe import Recipe


def parameter_groups(net: ResNet, recipe: Recipe) -> list[dict[str, object]]:
    """Split the parameters: matrices and kernels decay, norms and biases only if the recipe says.

    He et al. 2018, "Bag of Tricks", arXiv:1812.01187, section 3.1. Where rates differ by depth,
    each stage has groups of its own; a group's `scale` is its part of the rate.
    """
    stages = net.parameter_stages()
    # A fused step wants momentum for all of a group or for none: what learns later is apart.
    if recipe.layer_decay == 1 and not recipe.head_epochs:
        stages = [[p for stage in stages for p in stage]]
    groups: list[dict[str, object]] = []
    for distance, parameters in enumerate(reversed(stages)):
        scale = recipe.layer_decay**distance
        decayed = [p for p in parameters if p.ndim > 1 or recipe.decay_norms]
        others = [p for p in parameters if not (p.ndim > 1 or recipe.decay_norms)]
        for params, decay in ((decayed, recipe.weight_decay), (others, 0.0)):
            if params:
                groups.append({"params": params, "weight_decay": decay, "scale": scale})
    return groups


def build_optimizer(net: ResNet, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimiser of a recipe, in torch's fused form: one pass over the weights a step."""
    groups, momentum = parameter_groups(net, recipe), recipe.momentum
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(momentum, 0.999), fused=True)
    nesterov = recipe.nesterov and momentum > 0
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=momentum, nesterov=nesterov, fused=True)


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
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning(net: ResNet, recipe: Recipe, epoch: int) -> None:
    """Set what learns in an epoch: a pure function of it, so that a resume needs no history."""
    head_only = epoch < recipe.head_epochs
    net.requires_grad_(not head_only)
    for module in (net.fc, net.features):
        module.requires_grad_(True)
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
