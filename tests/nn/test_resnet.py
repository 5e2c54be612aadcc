"""`ResNet`: timm's methods, initialisation, and that it trains; `test_parity` has the numbers."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnets.nn import ResNet
from resnets.spec import Head, ResNetSpec, Stem
from resnets.zoo import get_spec

TINY = ResNetSpec("tiny", (1, 2), (4, 8), stem=Stem(4, 3, 1, "none"), num_classes=5, image_size=12)
KINDS = {
    "basic": TINY,
    "bottleneck": TINY.replace(block="bottleneck"),
    "pad": TINY.replace(shortcut="A"),
    "plain": TINY.replace(shortcut="none"),
    "pre": TINY.replace(order="pre"),
    "imagenet stem": TINY.replace(stem=Stem(4)),
    "no stem": TINY.replace(stem=None),
    "bare deep stem": TINY.replace(
        order="pre", stem=Stem(4, 3, hidden=(2,), norm=False, act=False)
    ),
    "entries": TINY.replace(
        depths=(1, 0),
        order="inner",
        entries=(Stem(4, 3, 1, "max2"), Stem(8, 3, 1, "conv")),
        head=Head("max", scale=0.5),
    ),
    "face": TINY.replace(order="arcface", activation="prelu", head=Head("all", norm=True)),
    "open tf": TINY.replace(order="open", padding="tf", bias="all", bare_projection=True),
    "se blur": TINY.replace(attention="se", antialias="blur", stem=Stem(4, 3, 1)),
    "max D": TINY.replace(antialias="max", shortcut="D", stem=Stem(4)),
    "eca D": TINY.replace(attention="eca", antialias="avg", shortcut="D"),
    "bit": TINY.replace(
        order="pre", norm="group", standardized=True, widths=(32, 32), stem=Stem(32)
    ),
}


@pytest.mark.parametrize(
    ("spec", "smallest"),
    [
        (get_spec("resnet18"), 1),
        (get_spec("resnet50_gn"), 1),
        (get_spec("resnet8_fast"), 9),
        (get_spec("resnetblur18"), 17),
        (get_spec("resnet9"), 8),
    ],
    ids=lambda value: str(getattr(value, "name", value)),
)
@torch.no_grad()
def test_the_smallest_photo_runs_and_none_below_it(spec: ResNetSpec, smallest: int) -> None:
    assert spec.smallest == smallest
    net = ResNet(spec.replace(num_classes=3)).eval()
    assert net(torch.randn(1, 3, smallest, smallest)).isfinite().all()
    if smallest > 1:
        with pytest.raises(RuntimeError):
            net(torch.randn(1, 3, smallest - 1, smallest - 1))


def randomise(net: nn.Module, seed: int = 0) -> None:
    """Give norms and biases values that show: fresh ones are 0 and 1, and hide what is left out."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for value in (module.weight, module.running_var):
                value.detach().uniform_(0.5, 1.5, generator=generator)
            for value in (module.bias, module.running_mean):
                value.detach().normal_(0, 0.2, generator=generator)
        elif isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.detach().normal_(0, 0.2, generator=generator)


def built(spec: ResNetSpec, seed: int = 0) -> ResNet:
    torch.manual_seed(seed)
    net = ResNet(spec).double()
    randomise(net, seed)
    return net


def images(spec: ResNetSpec, n: int = 2, size: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, spec.in_channels, size, size, dtype=torch.float64, generator=generator)


def assert_same(ours: Tensor, theirs: Tensor, rtol: float = 1e-9) -> None:
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=rtol * float(theirs.abs().max()))


# -- timm's methods -------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)
@torch.no_grad()
def test_features_head_and_stages_agree(spec: ResNetSpec) -> None:
    net = built(spec).eval()
    x = images(spec)
    features = net.forward_features(x)
    stages = net.forward_stages(x)
    assert list(stages) == ["stem", "layer1", "layer2"]
    assert torch.equal(stages["layer2"], features)
    assert torch.equal(net.forward_head(features), net(x))
    pooled = net.forward_head(features, pre_logits=True)
    flat = {"avg": features.mean((2, 3)), "max": features.amax((2, 3)), "all": features.flatten(1)}
    assert_same(pooled, flat[spec.head.pool])
    assert torch.equal(net.features(net.fc(pooled)), net(x))


@pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)
@torch.no_grad()
def test_stages_do_not_change_each_other(spec: ResNetSpec) -> None:
    # An in-place activation must not reach back into a map that was already handed out.
    net = built(spec).eval()
    x = images(spec)
    before = x.clone()
    stages = net.forward_stages(x)
    assert torch.equal(x, before)
    assert torch.equal(stages["stem"], net.forward_stem(x))
    assert torch.equal(stages["layer1"], net.layer1(net.forward_stem(x)))


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet50_v1",
        "resnet20",
        "resnet18_v2",
        "plain18",
        "resnet50d",
        "resnetv2_50",
        "keras_resnet50v2",
        "resnetrs50",
        "resnetblur18",
        "resnet9",
        "resnet8",
        "iresnet18",
        "tutorial_keras",
        "tutorial_pytorch",
    ],
)
@torch.no_grad()
def test_feature_info_is_what_comes_out(name: str) -> None:
    spec = get_spec(name)
    with torch.device("meta"):
        net = ResNet(spec).eval()
        stages = net.forward_stages(torch.empty(1, 3, 256, 192))
    for info, stage in zip(net.feature_info, stages.values(), strict=True):
        channels, height, width = stage.shape[1:]
        assert info["num_chs"] == channels
        assert (256 // height, 192 // width) == (info["reduction"], info["reduction"])
    assert net.num_features == net.feature_info[-1]["num_chs"]


@pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)
@torch.no_grad()
def test_the_modules_of_feature_info_put_the_stages_out(spec: ResNetSpec) -> None:
    net = built(spec).eval()
    modules = dict(net.named_modules())
    found: list[Tensor] = []
    for info in net.feature_info:
        modules[str(info["module"])].register_forward_hook(
            lambda _module, _inputs, output: found.append(output.clone())
        )
    stages = net.forward_stages(images(spec))
    for output, stage in zip(found, stages.values(), strict=True):
        assert torch.equal(output, stage)


def test_get_and_reset_classifier() -> None:
    net = ResNet(TINY).bfloat16()
    assert isinstance(net.get_classifier(), nn.Linear)
    x = images(TINY).bfloat16()
    trunk = {name: value.detach().clone() for name, value in net.named_parameters()}
    for classes in (3, 0, 7):
        net.reset_classifier(classes)
        assert net.num_classes == net.spec.num_classes == classes
        assert net(x).shape == (2, classes or net.num_features)
        assert net(x).dtype == torch.bfloat16
        assert sum(p.numel() for p in net.parameters()) == net.spec.params()
    assert isinstance(net.get_classifier(), nn.Linear)
    net.reset_classifier(0)
    assert isinstance(net.get_classifier(), nn.Identity)
    net.eval()
    assert torch.equal(net(x), net.forward_head(net.forward_features(x), pre_logits=True))
    for name, value in net.named_parameters():
        assert torch.equal(value, trunk[name])


def test_reset_classifier_keeps_the_kind_of_head() -> None:
    net = built(KINDS["face"])
    net.reset_classifier(7)
    assert isinstance(net.features, nn.BatchNorm1d)
    assert net.fc.in_features == 8 * 6 * 6
    assert net(images(KINDS["face"])).shape == (2, 7)
    net.reset_classifier(0)
    assert isinstance(net.features, nn.Identity)
    scaled = ResNet(KINDS["entries"])
    scaled.reset_classifier(3)
    assert scaled.fc.scale == 0.5


def test_reset_classifier_refuses_a_negative_number_and_stays_as_it_was() -> None:
    net = ResNet(TINY)
    with pytest.raises(ValueError, match="num_classes=-1"):
        net.reset_classifier(-1)
    assert net.num_classes == net.spec.num_classes == 5


@pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)
def test_gradient_checkpointing_changes_nothing(spec: ResNetSpec) -> None:
    plainly = built(spec)
    recomputed = copy.deepcopy(plainly)
    recomputed.set_grad_checkpointing()
    for _ in range(2):
        for net in (plainly, recomputed):
            net.zero_grad()
            net(images(spec)).square().mean().backward()
        for mine, other in zip(recomputed.parameters(), plainly.parameters(), strict=True):
            assert torch.equal(mine.grad, other.grad)
        # Recomputing a stage must not feed its norms the same batch a second time.
        for mine, other in zip(recomputed.buffers(), plainly.buffers(), strict=True):
            assert torch.equal(mine, other)
    assert all(
        norm.momentum == 0.1 for norm in recomputed.modules() if isinstance(norm, nn.BatchNorm2d)
    )


def saved_bytes(net: nn.Module, x: Tensor) -> int:
    """Return what autograd keeps for the backward pass, in bytes."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(x)
    return sum(sizes)


def test_gradient_checkpointing_saves_memory_and_can_be_switched_off() -> None:
    spec = TINY.replace(depths=(4, 4))
    net = built(spec)
    kept = []
    for enable in (False, True, False):
        net.set_grad_checkpointing(enable)
        kept.append(saved_bytes(net, images(spec)))
    assert kept[0] == kept[2]
    assert kept[1] < kept[0] / 3


# -- initialisation and general use ---------------------------------------------------------------


def test_convolutions_start_normal_with_variance_two_over_fan_out() -> None:
    torch.manual_seed(0)
    net = ResNet(get_spec("resnet18"))
    for name, module in net.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        outputs, _, height, width = module.weight.shape
        expected = math.sqrt(2 / (outputs * height * width))
        drawn = module.weight.detach()
        tolerance = max(0.05, 5 / math.sqrt(2 * drawn.numel()))
        assert float(drawn.std()) == pytest.approx(expected, rel=tolerance), name
        assert abs(float(drawn.mean())) < 5 * expected / math.sqrt(drawn.numel()), name
    wide = net.layer4[1].conv2.weight.detach() / math.sqrt(2 / (512 * 9))
    assert float((wide.abs() > 2).float().mean()) == pytest.approx(0.0455, rel=0.02)  # a normal's


def test_the_meta_device_has_nothing_to_draw() -> None:
    before = torch.get_rng_state()
    with torch.device("meta"):
        ResNet(TINY)
    assert torch.equal(torch.get_rng_state(), before)


def test_norms_start_at_one_and_zero_and_biases_at_zero() -> None:
    net = ResNet(TINY.replace(order="pre"))
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
        assert torch.equal(norm.bias, torch.zeros_like(norm.bias))
    assert torch.equal(net.fc.bias, torch.zeros(5))


def test_initialisation_follows_torchs_seed() -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(ResNet(TINY).state_dict())
    first, again, other = states
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


@pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (4, 1), (7, 0)])
def test_any_number_of_channels_and_classes(spec: ResNetSpec, channels: int, classes: int) -> None:
    net = ResNet(spec.replace(in_channels=channels, num_classes=classes))
    fixed = spec.head.pool == "all"  # to 12 × 12, of which 6 × 6 are left
    output = net(torch.randn(3, channels, 12, 12 if fixed else 17))
    assert output.shape == (3, classes or net.num_features * (36 if fixed else 1))
    output.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)
@torch.no_grad()
def test_the_layout_in_memory_does_not_matter(spec: ResNetSpec) -> None:
    net = built(spec).eval()
    expected = net(images(spec))
    net = net.to(memory_format=torch.channels_last)
    assert_same(net(images(spec).to(memory_format=torch.channels_last)), expected)


def test_a_network_learns() -> None:
    torch.manual_seed(0)
    net = ResNet(TINY)
    x, labels = torch.randn(10, 3, 12, 12), torch.arange(10) % 5
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05
