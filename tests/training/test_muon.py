"""Muon, on matrices and on a small network."""

from __future__ import annotations

import pytest
import torch

from resnets.training.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(8, 16), (16, 8), (24, 24)])
def test_the_singular_values_come_near_to_one(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(shape, generator=generator)
    before, after = (torch.linalg.svdvals(m) for m in (matrix, orthogonalize(matrix)))
    assert before.max() / before.median() > 1.3
    assert after.shape == before.shape
    assert after.max() < 1.3
    assert after.median() > 0.5


def test_the_directions_stay() -> None:
    generator = torch.Generator().manual_seed(1)
    u, _, vh = torch.linalg.svd(torch.randn(6, 20, generator=generator), False)
    matrix = u @ torch.diag(torch.linspace(2, 1, 6)) @ vh
    inner = u.T @ orthogonalize(matrix) @ vh.T
    assert torch.allclose(inner, torch.diag(inner.diag()), atol=1e-5)
    assert inner.diag().min() > 0.5


def test_a_kernel_has_one_norm_whatever_its_gradient() -> None:
    kernel = torch.nn.Parameter(torch.randn(4, 2, 3, 3))
    optimizer = Muon([{"params": [kernel], "orthogonal": True}], lr=0.0)
    kernel.grad = 1e4 * torch.randn_like(kernel)
    optimizer.step()
    assert kernel.norm().item() == pytest.approx(2.0)


def test_a_step_is_as_long_as_the_rate_says() -> None:
    kernel = torch.nn.Parameter(torch.randn(4, 2, 3, 3))
    optimizer = Muon([{"params": [kernel], "orthogonal": True}], lr=0.1)
    before = kernel.detach() * 2 / kernel.detach().norm()
    kernel.grad = 1e-3 * torch.randn_like(kernel)
    optimizer.step()
    step = torch.linalg.svdvals((kernel.detach() - before).reshape(4, -1))
    assert step.min() > 0.05
    assert step.max() < 0.13


def test_a_kernel_of_zeros_stays_finite() -> None:
    kernel = torch.nn.Parameter(torch.zeros(4, 2, 3, 3))
    optimizer = Muon([{"params": [kernel], "orthogonal": True}], lr=0.1)
    kernel.grad = torch.randn_like(kernel)
    optimizer.step()
    assert kernel.isfinite().all()
    assert kernel.norm() > 0


def test_everything_else_goes_as_by_sgd() -> None:
    start = torch.randn(3, 5)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    mine = Muon([{"params": [ours], "weight_decay": 0.01}], lr=0.1, sgd_momentum=0.8)
    reference = torch.optim.SGD([theirs], 0.1, momentum=0.8, nesterov=True, weight_decay=0.01)
    for step in range(4):
        gradient = torch.randn(3, 5, generator=torch.Generator().manual_seed(step))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        reference.step()
    assert torch.allclose(ours, theirs, atol=1e-6)
