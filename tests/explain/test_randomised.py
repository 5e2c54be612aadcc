"""Random networks: what of them is random, and how maps are compared."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from resnets.explain.maps import Mapper, readied
from resnets.explain.methods import METHODS, Method
from resnets.explain.randomised import (
    C1,
    C2,
    WINDOW,
    cascade,
    drawn_pictures,
    parts,
    randomised,
    rank_correlation,
    ssim,
)
from resnets.explain.trial import Rivals
from resnets.nn import ResNet

PREFIXES = {"classifier": ("fc.", "bn."), "stem": ("conv1.", "bn1.")}


def changed(before: ResNet, after: ResNet) -> set[str]:
    old = before.state_dict()
    return {k for k, v in after.state_dict().items() if not torch.equal(v, old[k])}


def test_the_cascade_goes_from_the_classifier_to_the_stem(net: ResNet) -> None:
    assert parts(net) == ("classifier", "layer3", "layer2", "layer1", "stem")
    steps = cascade(net)
    assert steps["layer2"] == ("classifier", "layer3", "layer2")
    assert steps["stem"] == parts(net)


@pytest.mark.parametrize("part", ["classifier", "layer2", "stem"])
def test_only_the_part_is_random(part: str, net: ResNet) -> None:
    before = {k: v.clone() for k, v in net.state_dict().items()}
    made = randomised(net, [part], 0, 32)
    prefixes = PREFIXES.get(part, (f"{part}.",))
    own = {k for k in before if k.startswith(prefixes)}
    assert changed(net, made) == own
    assert changed(net, randomised(net, [part], 0, 32)) == own
    assert all(torch.equal(value, before[k]) for k, value in net.state_dict().items())
    assert not made.training
    assert not any(module.training for module in made.modules())


def test_seeds_decide(net: ResNet) -> None:
    torch.manual_seed(5)
    first = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (randomised(net, parts(net), seed, 32) for seed in (0, 0, 1))
    assert not changed(one, same)
    assert {"conv1.weight", "fc.weight"} <= changed(one, other)
    assert torch.equal(first, torch.rand(1))  # nobody else's numbers are drawn


def test_norms_have_the_statistics_of_what_they_see(net: ResNet) -> None:
    made = randomised(net, parts(net), 0, 32)
    seen: list[Tensor] = []
    made.layer3.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        made(drawn_pictures(3, 32, 1))
    assert 0.1 < float(seen[0].std()) < 10  # and neither vanish nor grow with depth


def test_rank_correlation_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, (2, 5, 7, 7)).astype(np.float32)  # with ties
    expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(rank_correlation(a, b), expected)
    np.testing.assert_allclose(rank_correlation(a, a), 1)
    np.testing.assert_allclose(rank_correlation(a, -a), -1)
    assert rank_correlation(a[:1], np.zeros_like(a[:1])).tolist() == [0.0]


def test_ssim_is_the_mean_over_windows() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 1, 16, 16)).astype(np.float32)
    half, found = WINDOW // 2, []
    wide = [np.pad(m[0].astype(float), half, mode="symmetric") for m in (a, b)]
    for y, x in np.ndindex(16, 16):
        p, q = (m[y : y + WINDOW, x : x + WINDOW] for m in wide)
        cov = ((p - p.mean()) * (q - q.mean())).mean()
        top = (2 * p.mean() * q.mean() + C1) * (2 * cov + C2)
        found.append(top / ((p.mean() ** 2 + q.mean() ** 2 + C1) * (p.var() + q.var() + C2)))
    assert ssim(a, b)[0] == pytest.approx(np.mean(found))
    assert ssim(a, a)[0] == pytest.approx(1)
    assert ssim(a, 1 - a)[0] < 0


# -- the test as a whole --------------------------------------------------------------------------


def edges(net: nn.Module, layer: nn.Module, images: Tensor, classes: Tensor) -> np.ndarray:
    """An edge detector: what the network has learnt does not matter to it."""
    found: np.ndarray = images.diff(dim=2).abs().sum(1)[:, ::2, ::2].numpy()
    return found


def test_a_map_of_the_photo_alone_fails(net: ResNet, images: Tensor) -> None:
    readied(net)
    classes = torch.tensor([0, 1])
    for method, passes in ((Method("Edges", "", edges), False), (METHODS["gradcam"], True)):
        mapper = Mapper(method, "layer3")
        own = mapper(net, images, classes)
        for trial in Rivals(net, 32, "full").test(mapper, images, classes, own):
            assert trial.passes is passes, method.title
            assert ("fails" in trial.verdict) is not passes
            assert [one.part for one in trial.cascade] == list(parts(net))
            assert len(trial.random) == 3
            if not passes:
                assert trial.rank == pytest.approx(1)
                assert trial.ssim == pytest.approx(1)


def test_an_empty_map_is_not_judged(net: ResNet, images: Tensor) -> None:
    mapper = Mapper(METHODS["gradcam"], "layer3")
    own = np.zeros((2, 8, 8), np.float32)
    trials = Rivals(readied(net), 32, "quick").test(mapper, images, torch.tensor([0, 1]), own)
    assert [(trial.passes, trial.cascade) for trial in trials] == [(None, ())] * 2
    assert "empty" in trials[0].verdict
