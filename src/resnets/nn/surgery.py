"""Tricks, as functions applied to a built network."""

from __future__ import annotations

from torch import nn

from resnets.nn.blocks import Block


def zero_init_residual(net: nn.Module) -> None:
    """Start every residual block as the identity: γ = 0 in the last BN of its branch.

    Goyal et al. 2017, arXiv:1706.02677, section 5.1. Pre-activation blocks end in a convolution
    and are left as they are.
    """
    for block in net.modules():
        if isinstance(block, Block):
            last = list(block.branch().values())[-1]
            if isinstance(last, nn.BatchNorm2d):
                nn.init.zeros_(last.weight)
