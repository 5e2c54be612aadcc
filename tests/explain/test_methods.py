"""Every method says what its paper says, on networks of which the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from resnets.errors import UserError
from resnets.explain.maps import Mapper, choose_layer, enlarge, module_of, readied, scaled
from resnets.explain.methods import METHODS, Method, check_installed
from resnets.nn import ResNet
from resnets.zoo import get_spec

LAYERED = [name for name, method in METHODS.items() if method.at_layer]
OF_PIXELS = [name for name, method in METHODS.items() if not method.at_layer]


class Corner(nn.Module):
    """Class 1 is how bright the upper left quarter is; class 0 is its opposite."""

    def forward(self, x: Tensor) -> Tensor:
        value = x[:, :, : x.shape[2] // 2, : x.shape[3] // 2].mean((1, 2, 3))
        return torch.stack([-value, value], 1)


@pytest.mark.parametrize("name", OF_PIXELS)
def test_what_decides_is_marked(name: str) -> None:
    images = torch.full((2, 3, 32, 32), 2.0)
    cells = METHODS[name].compute(Corner(), nn.Identity(), images, torch.tensor([1, 0]))
    assert cells[0, :7, :7].min() > 0.2 * cells[0].max()
    assert cells[0, 11:].max() <= 1e-6  # occlusion's windows are three cells wide
    assert cells[0, :, 11:].max() <= 1e-6
    assert cells[1].max() <= 1e-6  # nothing speaks for the class that the brightness speaks against


@pytest.mark.parametrize("name", ["gradcam", "hirescam"])
def test_at_the_last_stage_it_is_the_class_activation_map(
    name: str, net: ResNet, images: Tensor
) -> None:
    # Selvaraju et al., section 3.1: where the classifier follows the mean, the weights are its own.
    readied(net)
    classes = torch.tensor([2, 0])
    found = Mapper(METHODS[name], net.stages[-1])(net, images, classes)
    maps = net.forward_features(images)
    weighted = (maps * net.fc.weight[classes][:, :, None, None]).sum(1).clamp(min=0)
    np.testing.assert_allclose(found, scaled(weighted.numpy()), atol=1e-5)


@pytest.mark.parametrize("name", LAYERED)
@pytest.mark.parametrize("layer", ["layer1", "layer3"])
def test_maps_have_the_cells_of_the_layer(
    name: str, layer: str, net: ResNet, images: Tensor
) -> None:
    before = {k: v.clone() for k, v in net.state_dict().items()}
    readied(net)
    mapper = Mapper(METHODS[name], layer)
    cells = mapper(net, images, torch.tensor([0, 1]))
    side = net.spec.feature_shapes(32)[layer][1]
    assert cells.shape == (2, side, side)
    assert cells.min() >= 0
    assert cells.max() <= 1
    alone = mapper(net, images[1:], torch.tensor([1]))
    np.testing.assert_allclose(cells[1:], alone, atol=1e-4)
    assert all(torch.equal(value, before[k]) for k, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_mirrored_models_have_symmetric_maps_of_symmetric_photos(
    net: ResNet, images: Tensor
) -> None:
    symmetric = images + images.flip(3)
    mapper = Mapper(METHODS["gradcam"], "layer3", mirrored=True)
    cells = mapper(readied(net), symmetric, torch.tensor([0, 1]))
    np.testing.assert_allclose(cells, cells[:, :, ::-1], atol=1e-4)


def test_a_map_without_evidence_is_empty_and_not_noise() -> None:
    cells = scaled(np.zeros((1, 4, 4), np.float32))
    assert not cells.any()
    assert enlarge(cells, 32).shape == (1, 32, 32)


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        ("resnet50", 224, "layer4"),  # 7 × 7
        ("resnet20", 32, "layer3"),  # 8 × 8
        ("resnet18", 64, "layer2"),  # 8 × 8; the last has 2 × 2
        ("resnet18", 24, "layer1"),  # 6 × 6, and no stage has seven
    ],
)
def test_the_layer_has_cells_enough(name: str, size: int, layer: str) -> None:
    with torch.device("meta"):
        net = ResNet(get_spec(name))
    assert choose_layer(net, size, None) == layer
    assert choose_layer(net, size, "layer3") == "layer3"
    with pytest.raises(UserError, match=r"--layer layer9: .* no such stage; did you mean layer"):
        choose_layer(net, size, "layer9")


def test_the_last_map_of_a_preactivation_network_is_the_activated_one() -> None:
    with torch.device("meta"):
        net = ResNet(get_spec("resnet18_v2"))
    assert module_of(net, "layer4") is net.act


def test_every_method_names_its_source() -> None:
    for method in METHODS.values():
        assert isinstance(method, Method)
        assert "arXiv" in method.source or "doi" in method.source


def test_libraries_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnets.extras.installed", lambda name: name != "captum")
    with pytest.raises(UserError, match=r"needs captum; pip install 'resnets\[explain\]'"):
        check_installed()
