"""Muon: momentum whose matrices are made orthogonal before they are stepped along."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 3


def orthogonalize(matrix: Tensor) -> Tensor:
    """Return U·Vᵀ, roughly, of a matrix U·S·Vᵀ: its singular values become about 1.

    A quintic Newton–Schulz iteration, whose coefficients trade exactness (values end between 0.7
    and 1.2) for few iterations. Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural
    networks", https://kellerjordan.github.io/posts/muon.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]  # the smaller product of the two
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for kernels, SGD with Nesterov's momentum for everything else.

    In groups with ``orthogonal`` each kernel ``out in h w`` is one matrix ``out × (in·h·w)``.
    Before its step it is scaled to the norm √out, so that a step of a given rate turns it by the
    same angle at any time; a norm behind it takes the scale out again. Kernels do not decay: their
    norm is given.
    """

    def __init__(
        self,
        groups: Iterable[Mapping[str, Any]],
        lr: float,
        momentum: float = 0.6,
        sgd_momentum: float = 0.85,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "sgd_momentum": sgd_momentum,
            "weight_decay": 0.0,
            "orthogonal": False,
        }
        super().__init__([dict(group) for group in groups], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; `closure` is not used."""
        for group in self.param_groups:
            move = self._turn if group["orthogonal"] else self._slide
            for parameter in group["params"]:
                if parameter.grad is not None:
                    move(parameter, group)

    def _turn(self, kernel: Tensor, group: Mapping[str, Any]) -> None:
        gradient = _gradient(kernel)
        momentum = self._momentum(kernel).mul_(group["momentum"]).add_(gradient)
        ahead = gradient.add(momentum, alpha=group["momentum"])
        rows = len(kernel)
        kernel.mul_(rows**0.5 / kernel.norm().clamp_min(1e-7))
        update = orthogonalize(ahead.reshape(rows, -1)).reshape(kernel.shape)
        kernel.add_(update, alpha=-group["lr"])

    def _slide(self, parameter: Tensor, group: Mapping[str, Any]) -> None:
        gradient = _gradient(parameter).add(parameter, alpha=group["weight_decay"])
        momentum = self._momentum(parameter).mul_(group["sgd_momentum"]).add_(gradient)
        ahead = gradient.add(momentum, alpha=group["sgd_momentum"])
        parameter.add_(ahead, alpha=-group["lr"])

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]  # type: ignore[no-any-return]


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
