"""The modules of single layers, by hand; and every layer against what its plan says of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from resnets import layers
from resnets.layers import Act, Conv, Flatten, Gate, Layer, Linear, Norm, Pad, Pool
from resnets.nn.layers import BUILDERS, STANDARD_EPS, PadShortcut, build, build_chain


def signal(channels: int, size: int = 5, n: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, channels, size, size, dtype=torch.float64, generator=generator)


def row(*values: float) -> Tensor:
    """Return one channel of one row."""
    return torch.tensor(values, dtype=torch.float64)[None, None, None, :]


# -- plans ----------------------------------------------------------------------------------------


@st.composite
def convs(draw: st.DrawFn) -> Conv:
    groups = draw(st.integers(1, 3))
    return Conv(
        groups * draw(st.integers(1, 4)),
        groups * draw(st.integers(1, 4)),
        kernel=draw(st.sampled_from([1, 3, 5, 7])),
        stride=draw(st.integers(1, 3)),
        groups=groups,
        bias=draw(st.booleans()),
        padding=draw(st.sampled_from(["same", "tf"])),
        standardized=draw(st.booleans()),
    )


POOLS = [
    Pool("max", 3, 3, 2),
    Pool("max", 3, 3, 1),
    Pool("max", 3, 2, 2),
    Pool("zero-max", 3, 3, 2),
    Pool("tf-max", 3, 3, 2),
    *(Pool("avg", 3, 2, stride) for stride in (2, 3)),
    *(Pool("blur", 3, 3, stride) for stride in (1, 2, 3)),
]
PADS = [Pad(3, outputs, stride) for outputs in (3, 4, 7) for stride in (1, 2, 3)]


@given(plan=convs() | st.sampled_from(POOLS) | st.sampled_from(PADS), side=st.integers(1, 40))
@settings(max_examples=200)
@torch.no_grad()
def test_sizes_are_those_of_the_plan(plan: Layer, side: int) -> None:
    if isinstance(plan, Pool) and (plan.kind == "blur" or plan.kernel == 2):
        side += 1  # it reflects the border, or takes no single pixel
    inputs = plan.inputs if isinstance(plan, Conv | Pad) else 3
    outputs = plan.outputs if isinstance(plan, Conv | Pad) else 3
    found = build(plan).double()(signal(inputs, side))
    assert found.shape == (2, outputs, plan.out(side), plan.out(side))


@pytest.mark.parametrize(
    "plan",
    [
        Conv(4, 6, 3, 2, 2, bias=True),
        Conv(4, 6, 1, padding="tf", standardized=True),
        Norm(64),
        Norm(64, "group"),
        Norm(5, vector=True),
        Act(7),
        Act(7, "prelu"),
        Pool("max", 4, 3, 2),
        Pool("blur", 4, 3, 2),
        Pad(4, 6, 2),
        Gate("se", 32, 8),
        Gate("eca", 32, 5),
        Linear(8, 3),
        Linear(8, 3, False, 0.125),
        Flatten("avg"),
        Flatten("max"),
        Flatten("all"),
    ],
    ids=str,
)
def test_tensors_are_those_of_the_plan(plan: Layer) -> None:
    module = build(plan)
    trainable = {name: tuple(value.shape) for name, value in module.named_parameters()}
    stored = {name: tuple(value.shape) for name, value in module.named_buffers()}
    assert (trainable, stored) == (plan.tensors(), plan.buffers())
    assert sum(value.numel() for value in module.parameters()) == plan.params


def test_every_kind_of_layer_has_a_builder() -> None:
    kinds = {value for value in vars(layers).values() if isinstance(value, type)}
    assert {kind for kind in kinds if issubclass(kind, Layer)} - {Layer} == set(BUILDERS)


def test_settings_reach_the_modules() -> None:
    assert build(Norm(64, eps=1e-3)).eps == build(Norm(64, "group", 1e-3)).eps == 1e-3
    group = build(Norm(64, "group"))
    assert isinstance(group, nn.GroupNorm)
    assert group.num_groups == 32
    assert build(Act(3, "prelu")).num_parameters == 3


def test_dotted_names_share_a_sequence() -> None:
    chain = {"conv1.0": Conv(3, 4, 3), "conv1.1": Norm(4), "conv1.2": Act(4), "bn1": Norm(4)}
    modules = build_chain(chain)
    assert list(modules) == ["conv1", "bn1"]
    assert isinstance(modules["conv1"], nn.Sequential)
    assert [name for name, _ in modules["conv1"].named_children()] == ["0", "1", "2"]


# -- option A -------------------------------------------------------------------------------------


def test_option_a_by_hand() -> None:
    x = torch.arange(1.0, 19.0).reshape(1, 2, 3, 3)
    y = PadShortcut(2, 5, stride=2)(x)
    assert y.shape == (1, 5, 2, 2)
    assert torch.equal(y[0, 1], torch.tensor([[1.0, 3.0], [7.0, 9.0]]))
    assert torch.equal(y[0, 2], torch.tensor([[10.0, 12.0], [16.0, 18.0]]))
    assert not y[0, [0, 3, 4]].any()


def test_option_a_without_growth_only_subsamples() -> None:
    x = signal(3)
    assert torch.equal(PadShortcut(3, 3, stride=1)(x), x)
    assert torch.equal(PadShortcut(3, 3, stride=2)(x), x[:, :, ::2, ::2])


def test_option_a_has_no_parameters_and_lets_the_gradient_through() -> None:
    shortcut = PadShortcut(2, 6, stride=1)
    assert not list(shortcut.parameters())
    x = signal(2).requires_grad_()
    shortcut(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_option_a_cannot_drop_channels() -> None:
    with pytest.raises(ValueError, match="cannot take 4 channels to 2"):
        PadShortcut(4, 2, stride=1)


# -- padding --------------------------------------------------------------------------------------


@torch.no_grad()
def test_where_a_convolution_stands() -> None:
    def moving_sum(padding: str, stride: int, x: Tensor) -> list[float]:
        module = build(Conv(1, 1, 3, stride, padding=padding)).double()
        module.weight.zero_()[0, 0, 1] = torch.tensor([100.0, 10.0, 1.0])
        return module(x).flatten().tolist()

    even, odd = row(1, 2, 3, 4), row(1, 2, 3, 4, 5)
    assert moving_sum("same", 1, even) == moving_sum("tf", 1, even) == [12, 123, 234, 340]
    assert moving_sum("same", 2, even) == [12, 234]  # the first window is about the first pixel,
    assert moving_sum("tf", 2, even) == [123, 340]  # but TensorFlow pads an even side at the end
    assert moving_sum("same", 2, odd) == moving_sum("tf", 2, odd) == [12, 234, 450]


@torch.no_grad()
def test_a_1x1_convolution_with_a_stride_takes_the_first_pixel() -> None:
    for padding in ("same", "tf"):
        module = build(Conv(1, 1, 1, 2, padding=padding)).double()
        module.weight.fill_(1.0)
        assert module(row(1, 2, 3, 4, 5)).flatten().tolist() == [1, 3, 5]


@pytest.mark.parametrize(
    ("plan", "x", "expected"),
    [
        (Pool("max", 1, 3, 2), (-1, -2, -3, -4), [-1, -2]),
        (Pool("zero-max", 1, 3, 2), (-1, -2, -3, -4), [0, -2]),
        (Pool("tf-max", 1, 3, 2), (-4, -3, -2, -1), [-2, -1]),
        (Pool("tf-max", 1, 3, 2), (-4, -3, -2, -1, -9), [-3, -1, -1]),
        (Pool("max", 1, 2, 2), (-4, -3, -2), [-3]),
        (Pool("avg", 1, 2, 2), (1, 3, 5, 7), [2, 6]),
        (Pool("avg", 1, 2, 2), (1, 3, 5), [2, 5]),
    ],
)
def test_pools_by_hand(plan: Pool, x: tuple[float, ...], expected: list[float]) -> None:
    tall = row(*x).expand(1, 1, plan.kernel * 3, len(x))  # all rows alike
    found = build(plan)(tall)
    inner = found[0, 0, 1]
    assert inner.tolist() == expected


def test_blur_by_hand() -> None:
    x = row(0, 4, 8, 0, 12).expand(1, 1, 4, 5)
    found = build(Pool("blur", 1, 3, 2))(x)
    # 1-2-1 about the columns 0, 2 and 4, reflected at the border: (4 0 4), (4 8 0), (0 12 0)
    assert found.shape == (1, 1, 2, 3)
    assert found[0, 0].tolist() == [[2.0, 5.0, 6.0]] * 2


def test_blur_is_the_binomial_filter() -> None:
    x = signal(3, 8)
    binomial = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64) / 4
    kernel = torch.outer(binomial, binomial).expand(3, 1, 3, 3)
    expected = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, stride=2, groups=3)
    torch.testing.assert_close(build(Pool("blur", 3, 3, 2))(x), expected, rtol=1e-12, atol=1e-12)


# -- weights and attention ------------------------------------------------------------------------


@torch.no_grad()
def test_standardized_filters_have_mean_0_and_variance_1() -> None:
    module = build(Conv(4, 6, 3, groups=2, bias=True, standardized=True)).double()
    x = signal(4)
    weight = module.weight.flatten(1)
    centred = weight - weight.mean(1, keepdim=True)
    scaled = centred / (centred.square().mean(1, keepdim=True) + STANDARD_EPS).sqrt()
    expected = F.conv2d(x, scaled.reshape(6, 2, 3, 3), module.bias, padding=1, groups=2)
    torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)
    module.weight.mul_(3).add_(5)
    torch.testing.assert_close(module(x), expected, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_squeeze_and_excitation_by_hand() -> None:
    module = build(Gate("se", 2, 1)).double()
    for name, values in {"fc1": [2.0, -1.0], "fc2": [1.0, -1.0]}.items():
        layer = module.get_submodule(name)
        layer.weight.copy_(torch.tensor(values).reshape(layer.weight.shape))
        layer.bias.fill_(0.5)
    x = torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]]]], dtype=torch.float64)  # means 2 and 1
    hidden = torch.tensor(2 * 2 - 1 + 0.5)
    for channel, logit in enumerate((hidden + 0.5, -hidden + 0.5)):
        expected = x[0, channel] * logit.double().sigmoid()
        torch.testing.assert_close(module(x)[0, channel], expected)


@torch.no_grad()
def test_efficient_channel_attention_by_hand() -> None:
    module = build(Gate("eca", 3, 3)).double()
    module.conv.weight.copy_(torch.tensor([[[100.0, 10.0, 1.0]]]) / 100)
    x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)[None, :, None, None].expand(1, 3, 2, 2)
    logits = torch.tensor([0.12, 1.23, 2.30], dtype=torch.float64)  # neighbours, zeros beyond
    expected = x * logits.sigmoid()[None, :, None, None]
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_the_scale_of_a_classifier_is_on_its_bias_too() -> None:
    module = build(Linear(3, 2, scale=0.125)).double()
    x = signal(1)[:, 0, 0, :3]
    expected = 0.125 * (x @ module.weight.T + module.bias)
    torch.testing.assert_close(module(x), expected)


def test_flattening() -> None:
    x = signal(3, 4)
    torch.testing.assert_close(build(Flatten("avg"))(x), x.mean((2, 3)))
    assert torch.equal(build(Flatten("max"))(x), x.amax((2, 3)))
    assert torch.equal(build(Flatten("all"))(x), x.reshape(2, 48))
