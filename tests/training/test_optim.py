from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from resnets.nn import ResNet
from resnets.spec import ResNetSpec, Stem
from resnets.training.optim import (
    Ema,
    build_optimizer,
    learning_rate,
    parameter_groups,
    set_learning,
)
from resnets.training.recipe import Recipe
from resnets.training.recipes import get_recipe
from resnets.zoo import get_spec

TINY = ResNetSpec("tiny", (1, 1), (4, 8), stem=Stem(4, 3, 1, "none"), num_classes=2, image_size=8)


def test_stages_nearer_to_the_photo_learn_more_slowly() -> None:
    net = ResNet(TINY)
    recipe = Recipe("r", layer_decay=0.5)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    scales = {
        names[id(p)].partition(".")[0]: group["scale"]
        for group in parameter_groups(net, recipe)
        for p in group["params"]  # type: ignore[attr-defined]
    }
    expected = {"fc": 1.0, "layer2": 0.5, "layer1": 0.25, "conv1": 0.125, "bn1": 0.125}
    assert scales == expected


def test_the_classifier_learns_alone_first() -> None:
    net = ResNet(TINY)
    recipe = Recipe("r", head_epochs=2)
    for epoch in (0, 1, 2, 1):  # in any order, as after a resume
        set_learning(net, recipe, epoch)
        learning = {n.partition(".")[0] for n, p in net.named_parameters() if p.requires_grad}
        assert (learning == {"fc"}) == (epoch < 2)
        assert net.bn1.training == (epoch >= 2)


def test_alone_it_learns_without_the_norm_before_the_pooling() -> None:
    net = ResNet(TINY.replace(order="pre"))
    set_learning(net, Recipe("r", head_epochs=1), 0)
    learning = {n for n, p in net.named_parameters() if p.requires_grad}
    assert learning == {"fc.weight", "fc.bias"}


def test_fixed_norms_keep_their_statistics_and_learn() -> None:
    net = ResNet(TINY)
    set_learning(net, Recipe("r", bn="fixed"), 0)
    net(torch.randn(4, 3, 8, 8) + 3).sum().backward()
    assert net.bn1.num_batches_tracked == 0
    assert net.bn1.weight.grad is not None


def test_norms_and_biases_do_not_decay_unless_the_recipe_says() -> None:
    net = ResNet(get_spec("resnet20"))
    decayed, others = parameter_groups(net, Recipe("r", weight_decay=0.1))
    assert decayed["weight_decay"] == 0.1
    assert others["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decayed["params"])  # type: ignore[attr-defined]
    assert all(p.ndim == 1 for p in others["params"])  # type: ignore[attr-defined]
    counted = sum(len(g["params"]) for g in (decayed, others))  # type: ignore[arg-type]
    assert counted == len(list(net.parameters()))
    assert len(parameter_groups(net, get_recipe("he2015-cifar"))) == 1


def test_cosine_rises_peaks_and_ends_at_nothing() -> None:
    recipe = Recipe("r", epochs=10, lr=1.0, warmup_epochs=2.0)
    rates = [learning_rate(recipe, step, 100) for step in range(1000)]
    assert rates[0] < 0.01
    assert max(rates) == rates[200] == 1.0
    assert rates[:200] == sorted(rates[:200])
    assert rates[200:] == sorted(rates[200:], reverse=True)
    assert 0 < rates[-1] < 1e-4


def test_linear_falls_by_the_same_each_step() -> None:
    recipe = Recipe("r", epochs=2, lr=1.0, warmup_epochs=0.0, schedule="linear")
    rates = [learning_rate(recipe, step, 4) for step in range(8)]
    assert rates == pytest.approx([1 - step / 8 for step in range(8)])


def test_the_classifier_and_the_norms_have_rates_of_their_own() -> None:
    net = ResNet(TINY)
    groups = parameter_groups(net, Recipe("r", optimizer="muon", head_lr=3.0, norm_lr=0.5))
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    scales = {names[id(p)]: (g["scale"], g["orthogonal"]) for g in groups for p in g["params"]}
    assert scales["fc.weight"] == (3.0, False)
    assert scales["fc.bias"] == scales["bn1.weight"] == (0.5, False)
    assert scales["conv1.weight"] == scales["layer1.0.conv2.weight"] == (1.0, True)


def test_only_kernels_whose_scale_a_norm_takes_out_are_turned() -> None:
    recipe = Recipe("r", optimizer="muon")

    def turned(spec: ResNetSpec, recipe: Recipe) -> set[str]:
        net = ResNet(spec)
        names = {id(parameter): name for name, parameter in net.named_parameters()}
        groups = [group for group in parameter_groups(net, recipe) if group["orthogonal"]]
        return {names[id(p)] for group in groups for p in group["params"]}

    fast = TINY.replace(antialias="max", shortcut="D", strides=(2, 2))
    assert {"layer1.0.conv1.weight", "layer1.0.downsample.1.weight"} <= turned(fast, recipe)
    assert turned(fast.replace(stem=Stem(4, 3, 1, "none", norm=False)), recipe).isdisjoint(
        {"conv1.weight"}
    )
    before = turned(TINY.replace(order="pre"), recipe)
    assert "layer1.0.conv1.weight" in before
    assert "layer1.0.conv2.weight" not in before  # nothing follows it but the addition
    gated = turned(TINY.replace(attention="se"), recipe)
    assert gated
    assert not any(".se." in name for name in gated)
    assert not turned(TINY, dataclasses.replace(recipe, bn="fixed"))


def test_whitening_filters_do_not_learn() -> None:
    net = ResNet(TINY)
    for epoch in (0, 1):
        set_learning(net, Recipe("r", whiten=True, head_epochs=1), epoch)
        assert not net.conv1.weight.requires_grad
    assert net.bn1.weight.requires_grad
    shifted = ResNet(TINY.replace(bias="unnormed", stem=Stem(4, 2, 1, "none", norm=False)))
    for epoch, learns in enumerate([True, True, False, False, False, False, False, False]):
        set_learning(shifted, Recipe("r", whiten=True, epochs=8), epoch)
        assert shifted.conv1.bias.requires_grad == learns
        assert shifted.fc.weight.requires_grad


def test_steps_fall_at_the_milestones() -> None:
    recipe = get_recipe("he2015-cifar")
    steps = 352 * recipe.epochs
    rates = [learning_rate(recipe, step, 352) for step in range(0, steps, 352)]
    assert rates[0] == 0.1
    assert rates[90] == 0.1
    assert rates[91] == pytest.approx(0.01)
    assert rates[-1] == pytest.approx(0.001)


def test_the_average_is_of_weights_and_statistics() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = Ema(net, decay=0.5)
    before = {k: v.clone() for k, v in ema.net.state_dict().items()}
    with torch.no_grad():
        for value in net.state_dict().values():
            value.add_(1)
    ema.update(net)  # decay of the first update: min(0.5, 1 / 10)
    after = ema.net.state_dict()
    assert torch.allclose(after["0.weight"], before["0.weight"] + 0.9)
    assert torch.allclose(after["1.running_mean"], before["1.running_mean"] + 0.9)
    assert after["1.num_batches_tracked"] == before["1.num_batches_tracked"] + 1


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_every_optimizer_lowers_a_loss(name: str) -> None:
    torch.manual_seed(0)
    net = ResNet(TINY)
    x, y = torch.randn(16, 3, 8, 8), torch.randn(16, 2)
    recipe = dataclasses.replace(Recipe("r"), optimizer=name, lr=0.05)
    optimizer = build_optimizer(net, recipe)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (net(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
