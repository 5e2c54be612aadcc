"""Winograd's convolutions against torch's own, and where they are used."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from resnets import create_model
from resnets.errors import UserError
from resnets.nn import winograd
from resnets.nn.winograd import Winograd

try:
    winograd.library()
except UserError as error:
    pytest.skip(f"no Winograd here: {error}", allow_module_level=True)
CLOSE = 5e-5
"""Of the largest value; sums of float32 in another order come to 2e-6."""


def make(n: int, c: int, k: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return photos and filters of noise, the outputs having about the photos' size."""
    torch.manual_seed(n * c + k)
    x = torch.randn(n, c, height, width).contiguous(memory_format=torch.channels_last)
    return x, torch.randn(k, c, 3, 3) / (9 * c) ** 0.5


def run(x: Tensor, weight: Tensor, padding: int) -> list[Tensor]:
    """Return the outputs and both gradients of a convolution, for a fixed gradient of noise."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = F.conv2d(x, weight, None, (1, 1), (padding, padding))
    seed = torch.Generator().manual_seed(0)
    y.backward(torch.randn(y.shape, generator=seed, dtype=torch.float32).to(y.dtype))
    assert x.grad is not None
    assert weight.grad is not None
    return [y.detach(), x.grad, weight.grad]


def largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0


def assert_close(found: list[Tensor], expected: list[Tensor]) -> None:
    for own, exact in zip(found, expected, strict=True):
        assert own.shape == exact.shape
        assert largest(own - exact) <= CLOSE * largest(exact)


class Counter(Winograd):
    """Counts what is not left to torch."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.conv2d and winograd._fitting(*args, **(kwargs or {})):
            self.count += 1
        return super().__torch_function__(func, types, args, kwargs)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 5),
    c=st.integers(24, 50),
    k=st.integers(24, 50),
    height=st.integers(5, 20),
    width=st.integers(5, 20),
    padding=st.integers(0, 2),
)
def test_outputs_and_gradients_are_those_of_a_convolution(
    n: int, c: int, k: int, height: int, width: int, padding: int
) -> None:
    x, weight = make(n, c, k, height, width)
    with Winograd():
        found = run(x, weight, padding)
    assert_close(found, [t.float() for t in run(x.double(), weight.double(), padding)])


def test_blocks_of_photos_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = make(7, 32, 48, 13, 9)
    with Winograd():
        whole = run(x, weight, 1)
        monkeypatch.setattr(winograd, "BLOCK", 2 * 36 * 4 * 12 * 80)
        assert len([*winograd._blocks(whole[0], 32)]) == 4
        assert_close(run(x, weight, 1), whole)
        monkeypatch.setattr(winograd, "BLOCK", 1)  # a photo at a time, at least
        assert_close(run(x, weight, 1), whole)


def test_any_layout_will_do() -> None:
    x, weight = make(2, 32, 32, 8, 8)
    with Winograd():
        expected = run(x, weight, 1)
        found = run(x.contiguous(), weight.contiguous(memory_format=torch.channels_last), 1)
        assert_close(found, expected)
    for view in (x[:, :, 1:7, 1:7], x[::2], x.flip(1)[:, :24]):
        with Winograd():
            found = run(view, weight[:, : view.shape[1]], 1)
        assert_close(found, run(view, weight[:, : view.shape[1]], 1))


def test_what_the_process_takes_by_default_is_not_taken() -> None:
    x, weight = make(2, 32, 32, 8, 8)
    winograd.forget()
    torch.set_default_dtype(torch.float64)
    try:
        with Winograd():
            found = run(x, weight, 1)
    finally:
        torch.set_default_dtype(torch.float32)
        winograd.forget()
    assert_close(found, run(x, weight, 1))


@pytest.mark.parametrize("keywords", [("input", "weight"), ("weight",), ()])
def test_arguments_may_be_named(keywords: tuple[str, ...]) -> None:
    x, weight = make(2, 32, 32, 8, 8)
    named = {"input": x, "weight": weight}
    rest = [value for name, value in named.items() if name not in keywords]
    with Counter() as mode:
        found = F.conv2d(*rest, **{name: named[name] for name in keywords}, padding=1)  # type: ignore[call-overload]
    assert mode.count == 1
    assert_close([found], [F.conv2d(x, weight, padding=1)])


@pytest.mark.parametrize(
    ("x", "other", "padding"),
    [
        (torch.zeros(2, 32, 8, 8).double(), torch.zeros(32, 32, 3, 3), 1),
        (torch.zeros(2, 32, 8, 8), torch.zeros(32, 32, 3, 3).bfloat16(), 1),
        (torch.zeros(2, 32, 8, 8), torch.zeros(32, 31, 3, 3), 1),
        (torch.zeros(2, 32, 8, 8), torch.zeros(32, 32, 5, 5), 1),
        (torch.zeros(2, 32, 8, 8), torch.zeros(32, 32, 3, 3), 3),
        (torch.zeros(32, 8, 8), torch.zeros(32, 32, 3, 3), 1),
        (torch.zeros(2, 32, 2, 2), torch.zeros(32, 32, 3, 3), 0),
    ],
)
def test_the_operations_refuse_what_they_would_misread(
    x: Tensor, other: Tensor, padding: int
) -> None:
    with pytest.raises(ValueError, match="in Winograd's convolution"):
        torch.ops.resnets.winograd(x, other, padding)
    with pytest.raises(ValueError, match="in Winograd's convolution"):
        torch.ops.resnets.winograd_weight(x, other, padding)


def test_the_same_is_computed_to_the_same_bits() -> None:
    x, weight = make(9, 64, 64, 14, 14)
    with Winograd():
        first = run(x, weight, 1)
        for _ in range(3):
            assert all(map(torch.equal, run(x, weight, 1), first))


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"padding": 1, "stride": 1, "dilation": [1]}, True),
        ({"padding": "same"}, False),
        ({"stride": (2, 2)}, False),
        ({"dilation": (2, 2)}, False),
        ({"padding": (3, 3)}, False),
        ({"padding": (1, 0)}, False),
        ({"bias": torch.zeros(32)}, False),
        ({"groups": 2, "weight": torch.zeros(32, 16, 3, 3)}, False),
        ({"weight": torch.zeros(32, 32, 1, 1), "padding": (0, 0)}, False),
        ({"weight": torch.zeros(16, 32, 3, 3)}, False),
        ({"input": torch.zeros(2, 32, 2, 9)}, False),
        ({"input": torch.zeros(2, 32, 9, 9, dtype=torch.float64)}, False),
    ],
)
def test_what_does_not_fit_is_left_to_torch(change: dict[str, Any], fits: bool) -> None:
    given = {"input": torch.zeros(2, 32, 9, 9), "weight": torch.zeros(32, 32, 3, 3)}
    given |= {"padding": (1, 1)} | change
    x, weight = given.pop("input"), given.pop("weight")
    weight = weight.to(x.dtype)
    with Counter() as mode:
        found = F.conv2d(x, weight, **given)
    assert found.shape == F.conv2d(x, weight, **given).shape
    assert mode.count == fits


def test_a_network_learns_the_same() -> None:
    results = []
    for mode in (Winograd, None):
        torch.manual_seed(0)
        net = create_model("resnet18", num_classes=3).to(memory_format=torch.channels_last)
        x = torch.randn(4, 3, 64, 64)
        if mode:
            with Counter() as counted:
                loss = F.cross_entropy(net(x), torch.tensor([0, 1, 2, 0]))
                loss.backward()
            assert counted.count == 10  # of 13: 2×2 pixels are left in the last stage
        else:
            loss = F.cross_entropy(net(x), torch.tensor([0, 1, 2, 0]))
            loss.backward()
        results.append([loss.detach(), *(p.grad for p in net.parameters())])
    assert float(results[0][0]) == pytest.approx(float(results[1][0]), rel=1e-4)
    for own, exact in zip(*results, strict=True):  # some ReLU stands at zero, and rounding tips it
        assert (own - exact).norm() <= 0.02 * exact.norm() + 1e-6


def test_a_compiled_network_is_compiled_once_and_learns_the_same() -> None:
    x, weight = make(2, 32, 32, 8, 8)
    conv = nn.Conv2d(32, 32, 3, padding=1, bias=False)
    conv.weight.data.copy_(weight)
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    def step(net: Any) -> list[Tensor]:
        with Winograd():  # a new one for every step, as training has it
            conv.zero_grad()
            y = net(x)
            y.sum().backward()
        assert conv.weight.grad is not None
        return [y.detach(), conv.weight.grad]

    expected = step(conv)
    traced = torch.compile(conv, backend=backend)
    for _ in range(3):
        assert all(map(torch.equal, step(traced), expected))
    assert len(graphs) == 1
    assert "winograd" in graphs[0].code
    with torch.no_grad():
        assert not torch.equal(traced(x), expected[0])  # outside of it, torch's own


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of torch's own check
def test_the_operations_are_what_torch_expects() -> None:
    x, weight = (t.requires_grad_() for t in make(2, 32, 32, 8, 8))
    torch.library.opcheck(torch.ops.resnets.winograd.default, (x, weight, 1))
    gradient = torch.randn(2, 32, 8, 8)
    args = (x.detach(), gradient, 1)
    torch.library.opcheck(torch.ops.resnets.winograd_weight.default, args)


def test_stages_that_are_recomputed_learn_the_same() -> None:
    torch.manual_seed(0)
    net = create_model("resnet18_small", num_classes=3)
    x, gradients = torch.randn(2, 3, 16, 16), []
    for recomputed in (False, True):
        net.set_grad_checkpointing(recomputed)
        net.zero_grad()
        with Winograd():
            net(x).square().sum().backward()
        gradients.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
    for own, other in zip(*gradients, strict=True):
        assert (own - other).norm() <= 1e-3 * own.norm() + 1e-6


def test_torchs_own_threads_compute_it() -> None:
    """Another library's runtime, loaded before, has threads that nobody has counted."""
    import sklearn.cluster  # noqa: F401

    used = winograd._openmp()
    assert used is None or Path(torch.__file__).parent.parent in used.parents


def test_threads_do_not_share_memory() -> None:
    x, weight = make(3, 32, 32, 16, 16)
    expected, found = F.conv2d(x, weight, padding=1), []

    def work() -> None:
        with Winograd(), torch.inference_mode():
            found.extend(F.conv2d(x, weight, None, (1, 1), (1, 1)) for _ in range(10))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 40
    assert_close(found, [expected] * 40)


def test_memory_of_an_inference_serves_training() -> None:
    x, weight = make(2, 31, 33, 40, 40)
    winograd.forget()
    with Winograd():
        with torch.inference_mode():
            F.conv2d(x, weight, None, (1, 1), (1, 1))
        found = run(x, weight, 1)
    assert_close(found, run(x, weight, 1))
