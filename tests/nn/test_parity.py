"""Exactness: every row that torchvision, timm or transformers has, too, gives the same logits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import timm
import torch
import torchvision
from timm.layers import BlurPool2d
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ResNetConfig, ResNetForImageClassification

from resnets.nn import ResNet
from resnets.spec import ResNetSpec
from resnets.weights.dialects import DIALECTS
from resnets.weights.maps import to_ours
from resnets.zoo import ZOO, get_spec

Draw = Callable[[nn.Module], None]
CUT = (1, 2, 1, 1)
"""Blocks that are kept of each stage: first ones with and without a stride, and one that follows.

That is every path through the code; the names and shapes are compared at full depth.
"""


# -- the peers ------------------------------------------------------------------------------------


def transformers_net(name: str) -> nn.Module:
    depth, _, v1 = name.removeprefix("resnet").partition("_")
    layer, depths = {
        "18": ("basic", [2, 2, 2, 2]),
        "26": ("bottleneck", [2, 2, 2, 2]),
        "34": ("basic", [3, 4, 6, 3]),
        "50": ("bottleneck", [3, 4, 6, 3]),
        "101": ("bottleneck", [3, 4, 23, 3]),
        "152": ("bottleneck", [3, 8, 36, 3]),
    }[depth]
    times = 4 if layer == "bottleneck" else 1
    return ResNetForImageClassification(
        ResNetConfig(
            layer_type=layer,
            depths=depths,
            hidden_sizes=[times * width for width in (64, 128, 256, 512)],
            downsample_in_bottleneck=bool(v1),
            num_labels=1000,
        )
    )


@dataclass(frozen=True)
class Peer:
    """How to build a network of a project, where its blocks lie, and how it calls our tensors."""

    names: tuple[str, ...]
    build: Callable[[str], nn.Module]
    stages: Callable[[nn.Module], list[nn.Module]]
    dialect: str = "torchvision"
    logits: Callable[[object], Tensor] = lambda output: output  # type: ignore[return-value]


def ours_of(names: list[str], v2: bool = False) -> tuple[str, ...]:
    return tuple(name for name in ZOO if name in names and name.startswith("resnetv2") == v2)


def layers(net: nn.Module) -> list[nn.Module]:
    return [net.get_submodule(f"layer{number}") for number in (1, 2, 3, 4)]


PEERS = {
    "torchvision": Peer(
        ours_of(torchvision.models.list_models()),
        lambda name: torchvision.models.get_model(name, weights=None),
        layers,
    ),
    "timm": Peer(ours_of(timm.list_models()), timm.create_model, layers),
    "timm-v2": Peer(
        ours_of(timm.list_models(), v2=True),
        timm.create_model,
        lambda net: [stage.blocks for stage in net.get_submodule("stages")],
        "timm-v2",
    ),
    "transformers": Peer(
        tuple(f"resnet{depth}" for depth in (18, 26, 34, 50, 101, 152))
        + tuple(f"resnet{depth}_v1" for depth in (50, 101, 152)),
        transformers_net,
        lambda net: [stage.layers for stage in net.get_submodule("resnet.encoder.stages")],
        "transformers",
        lambda output: output.logits,  # type: ignore[attr-defined]
    ),
}
PAIRS = [(kind, name) for kind, peer in PEERS.items() for name in peer.names]


def empty_pair(kind: str, name: str, cut: tuple[int, ...] = CUT) -> tuple[ResNet, nn.Module]:
    """Return our network and the peer's without numbers, their stages cut to so many blocks."""
    peer, spec = PEERS[kind], get_spec(name)
    with torch.device("meta"):
        theirs = peer.build(name).double().eval()
    found = to_ours(DIALECTS[peer.dialect], spec, theirs.state_dict(), name)
    assert {key: tuple(value.shape) for key, value in found.items()} == spec.plan.tensors()
    for blocks, depth, left in zip(peer.stages(theirs), spec.depths, cut, strict=True):
        assert isinstance(blocks, nn.Sequential | nn.ModuleList)
        assert len(blocks) == depth
        del blocks[left:]
    with torch.device("meta"):
        ours = ResNet(spec.replace(depths=tuple(map(min, spec.depths, cut)))).double().eval()
    return ours, theirs


def fill(kind: str, ours: ResNet, theirs: nn.Module, draw: Draw) -> None:
    """Give both the same numbers; they share memory."""
    theirs.to_empty(device="cpu")
    known = theirs.state_dict()
    assert {n.rpartition(".")[2] for n, _ in theirs.named_buffers() if n not in known} <= {"filt"}
    for module in theirs.modules():
        if isinstance(module, BlurPool2d):  # whose filter is the one buffer that is not stored
            module.init_non_persistent_buffers()
    draw(theirs)
    state = to_ours(DIALECTS[PEERS[kind].dialect], ours.spec, known, kind)
    ours.load_state_dict(state, strict=True, assign=True)


def photos(spec: ResNetSpec, n: int = 1) -> Tensor:
    # timm's anti-aliasing does not take odd sides, where branch and shortcut differ by a pixel.
    size = (75, 64) if spec.antialias == "none" else (64, 96)
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, spec.in_channels, *size, dtype=torch.float64, generator=generator)


def off(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    assert theirs.isfinite().all()
    scale = float(theirs.abs().max())
    assert scale > 0
    return float((ours - theirs).abs().max()) / scale


# -- logits ---------------------------------------------------------------------------------------


def test_every_row_of_a_peer_is_compared() -> None:
    counts = {kind: len(peer.names) for kind, peer in PEERS.items()}
    assert counts == {"torchvision": 10, "timm": 57, "timm-v2": 10, "transformers": 9}


def anatomy(net: nn.Module) -> tuple[object, ...]:
    """Return all that decides what a network computes, but its numbers."""
    plain = (bool, int, float, str, tuple, type(None))
    return tuple(
        (name, type(module), *((k, v) for k, v in vars(module).items() if isinstance(v, plain)))
        for name, module in net.named_modules()
    )


COMPARED: set[tuple[object, ...]] = set()


@pytest.mark.parametrize(("kind", "name"), PAIRS, ids=str)
@torch.no_grad()
def test_logits(kind: str, name: str, draw: Draw) -> None:
    ours, theirs = empty_pair(kind, name)
    bodies = anatomy(ours), anatomy(theirs)
    if bodies in COMPARED:  # with another row, from which only the depths differed
        return
    COMPARED.add(bodies)
    fill(kind, ours, theirs, draw)
    logits = PEERS[kind].logits
    x = photos(ours.spec)
    assert off(ours(x), logits(theirs(x))) < 1e-9
    ours, theirs, x = ours.float(), theirs.float(), x.float()
    assert off(ours(x), logits(theirs(x))) < 1e-4


@pytest.mark.parametrize(
    ("kind", "name"),
    [("torchvision", "resnet34"), ("timm", "resnet50d"), ("transformers", "resnet50_v1")],
)
@torch.no_grad()
def test_logits_at_full_depth(kind: str, name: str, draw: Draw) -> None:
    ours, theirs = empty_pair(kind, name, cut=get_spec(name).depths)
    fill(kind, ours, theirs, draw)
    assert ours.spec == get_spec(name)
    x = photos(ours.spec)
    assert off(ours(x), PEERS[kind].logits(theirs(x))) < 1e-9


# -- gradients and training -----------------------------------------------------------------------

GRADIENTS = (
    ("torchvision", "resnet18"),
    ("torchvision", "resnext50_32x4d"),
    ("timm", "resnetrs50"),
    ("timm", "ecaresnet50t"),
    ("timm", "resnetblur50d"),
    ("timm", "resnet50_gn"),
    ("timm-v2", "resnetv2_50d"),
    ("timm-v2", "resnetv2_50x1_bit"),
    ("transformers", "resnet50_v1"),
)


@pytest.mark.parametrize(("kind", "name"), GRADIENTS)
def test_gradients(kind: str, name: str, draw: Draw) -> None:
    ours, theirs = empty_pair(kind, name)
    fill(kind, ours, theirs, draw)
    x = photos(ours.spec)
    weights = torch.linspace(-1, 1, 1000, dtype=torch.float64)
    for net, logits in ((ours, ours(x)), (theirs, PEERS[kind].logits(theirs(x)))):
        (logits @ weights).sum().backward()
        assert all(value.grad is not None for value in net.parameters())
    found = theirs.state_dict() | {n: value.grad for n, value in theirs.named_parameters()}
    expected = to_ours(DIALECTS[PEERS[kind].dialect], ours.spec, found, name)
    for key, value in ours.named_parameters():
        assert value.grad is not None
        assert off(value.grad, expected[key]) < 1e-7, key


@pytest.mark.parametrize("kind", ["torchvision", "timm"])
def test_a_training_step(kind: str, draw: Draw) -> None:
    ours, theirs = empty_pair(kind, "resnet18")
    fill(kind, ours, theirs, draw)
    theirs = copy.deepcopy(theirs)  # as a step changes the norms' statistics in place
    before = {name: value.clone() for name, value in ours.named_buffers()}
    labels = torch.tensor([1, 2, 3, 999])
    x = photos(ours.spec, len(labels))
    for net in (ours, theirs):
        F.cross_entropy(net.train()(x), labels).backward()
    for (name, mine), their in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert mine.grad is not None
        assert off(mine.grad, their.grad) < 1e-7, name
    for (name, mine), their in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(mine, their, rtol=1e-9, atol=1e-12, msg=name)
        assert not torch.equal(mine, before[name]), name
