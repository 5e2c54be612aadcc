"""BatchNorm over the photos of all processes, on any device."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class SyncedBatchNorm(_BatchNorm):
    """A BatchNorm that in training takes the mean and variance of every process' photos.

    ``N C …`` in and out, with the weights and names of torch's (Ioffe and Szegedy 2015,
    arXiv:1502.03167), whose own `SyncBatchNorm` is for GPUs only.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # any number of dimensions

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        channels = x.shape[1]
        wide = x.float().transpose(1, -1)  # N … C
        sides = tuple(range(wide.ndim - 1))
        values = wide.new_full((1,), wide.numel() / channels)
        sums, count = _Sum.apply(torch.cat([wide.sum(sides), values])).split([channels, 1])
        mean = sums / count
        # Around the mean of all: the difference of two large squares would lose the small ones.
        centred = wide - mean
        variance = _Sum.apply(centred.square().sum(sides)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scaled: Tensor = centred * (self.weight * torch.rsqrt(variance + self.eps)) + self.bias
        return scaled.transpose(1, -1).to(x.dtype)


def sync_batchnorm(net: nn.Module) -> None:
    """Put a `SyncedBatchNorm` in the place of each BatchNorm, with its weights and statistics."""
    for parent in list(net.modules()):
        for name, norm in parent.named_children():
            if isinstance(norm, _BatchNorm):
                synced = SyncedBatchNorm(norm.num_features, norm.eps, norm.momentum or 0.1)
                synced.load_state_dict(norm.state_dict())
                setattr(parent, name, synced.train(norm.training))
