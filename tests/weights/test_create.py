"""`create_model`: names, specs, changes and weights, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

import resnets
from resnets.data.preprocess import Preprocess
from resnets.errors import UserError
from resnets.nn import ResNet
from resnets.spec import ResNetSpec, Stem
from resnets.weights import model_file
from resnets.weights.create import create_model
from resnets.zoo import get_spec

TINY = ResNetSpec("tiny", (1, 1), (2, 4), stem=Stem(2, 3, 1, "none"), num_classes=3, image_size=8)


def state(spec: ResNetSpec = TINY, seed: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return ResNet(spec).state_dict()


def assert_holds(net: ResNet, expected: dict[str, Tensor]) -> None:
    found = net.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_by_name() -> None:
    net = create_model("resnet20")
    assert isinstance(net, ResNet)
    assert net.spec == get_spec("resnet20")
    assert net.training
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_by_spec() -> None:
    assert create_model(TINY).spec == TINY


def test_the_public_name_is_this_function() -> None:
    assert resnets.create_model is create_model


@pytest.mark.parametrize(("classes", "channels"), [(7, 1), (0, 4), (None, None)])
def test_other_classes_and_channels(classes: int | None, channels: int | None) -> None:
    net = create_model(TINY, num_classes=classes, in_channels=channels)
    outputs = {None: 3, 0: 4}.get(classes, classes)
    assert net(torch.randn(2, channels or 3, 8, 8)).shape == (2, outputs)
    assert net.spec.num_classes == (3 if classes is None else classes)
    assert net.spec.in_channels == (channels or 3)
    assert sum(p.numel() for p in net.parameters()) == TINY.params(channels, classes)


def test_an_unknown_name_names_the_near_ones() -> None:
    with pytest.raises(UserError, match=r"unknown model 'resnet51'; did you mean .*resnet50"):
        create_model("resnet51")


# -- weights --------------------------------------------------------------------------------------


def test_weights_from_a_state_dict() -> None:
    weights = state()
    net = create_model(TINY, weights=weights)
    assert_holds(net, weights)
    assert net.training


def test_the_state_dict_is_copied() -> None:
    weights = state()
    net = create_model(TINY, weights=weights)
    with torch.no_grad():
        net.conv1.weight.zero_()
    assert weights["conv1.weight"].abs().max() > 0


@pytest.mark.parametrize("kind", [Path, str])
def test_weights_from_a_model_file(kind: type, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = model_file.Model(TINY, ("a", "b", "c"), Preprocess.for_photos(8, 8), state())
    model_file.save(model, path)
    assert_holds(create_model(TINY, weights=kind(path)), state())


def test_weights_of_torchvision_fit_as_they_are() -> None:
    theirs = torchvision.models.resnet18(weights=None, num_classes=3)
    net = create_model("resnet18", num_classes=3, weights=theirs.state_dict())
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(x), theirs.eval()(x))


def test_weights_are_cast_to_the_networks_precision() -> None:
    halves = {k: v.bfloat16() if v.is_floating_point() else v for k, v in state().items()}
    net = create_model(TINY, weights=halves)
    assert net.conv1.weight.dtype == torch.float32
    assert torch.equal(net.conv1.weight, halves["conv1.weight"].float())


def test_weights_without_batch_counts_fit() -> None:
    old = {k: v for k, v in state().items() if "num_batches_tracked" not in k}
    net = create_model(TINY, weights=old)
    assert torch.equal(net.fc.weight, old["fc.weight"])


def test_a_file_that_is_none_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        create_model(TINY, weights=tmp_path / "none.safetensors")


def misfit(**options: Any) -> str:
    with pytest.raises(UserError) as caught:
        create_model(TINY, **options)
    text = str(caught.value)
    start = "the state dict: the weights do not fit tiny (torchvision); "
    assert text.startswith(start)
    assert "\n" not in text
    return text.removeprefix(start)


def test_what_is_missing_is_listed() -> None:
    weights = state()
    del weights["conv1.weight"], weights["layer2.0.bn1.running_var"]
    assert misfit(weights=weights) == "2 missing: conv1.weight, layer2.0.bn1.running_var"


def test_what_is_extra_is_listed() -> None:
    extra = {"head.bias": torch.zeros(1), "aux": torch.zeros(1)}
    assert misfit(weights=state() | extra) == "2 extra: head.bias, aux"


def test_what_has_another_shape_is_listed_with_both() -> None:
    weights = state() | {"layer1.0.conv1.weight": torch.zeros(2, 2, 1, 1)}
    expected = "1 of another shape: layer1.0.conv1.weight [2, 2, 1, 1] for [2, 2, 3, 3]"
    assert misfit(weights=weights) == expected


def test_all_that_is_wrong_is_listed_at_once() -> None:
    weights = state() | {"aux": torch.zeros(1), "fc.bias": torch.zeros(9)}
    del weights["bn1.bias"]
    text = misfit(weights=weights)
    assert text == "1 missing: bn1.bias; 1 extra: aux; 1 of another shape: fc.bias [9] for [3]"


def test_misfits_leave_no_half_loaded_network_behind() -> None:
    weights = state()
    assert weights["fc.bias"].shape == (3,)
    misfit(weights=weights | {"fc.bias": torch.zeros(4)})
    assert_holds(create_model(TINY, weights=weights), weights)


@pytest.mark.parametrize("classes", [5, 0])
def test_other_classes_get_a_fresh_head_and_it_is_said(
    classes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = state()
    net = create_model(TINY, weights=weights, num_classes=classes)
    assert net.spec == TINY.replace(num_classes=classes)
    for name, value in net.state_dict().items():
        assert name.startswith("fc.") or torch.equal(value, weights[name]), name
    assert net(torch.randn(2, 3, 8, 8)).shape == (2, classes or net.num_features)
    said = "3 outputs to 5: a fresh classifier" if classes else "no classifier: for features"
    assert capsys.readouterr().err == f"head     {said}\n"


def test_a_grey_photo_answers_as_it_did_in_colour(capsys: pytest.CaptureFixture[str]) -> None:
    weights = state()
    net = create_model(TINY, weights=weights, in_channels=1).eval()
    grey = torch.randn(2, 1, 8, 8)
    colour = create_model(TINY, weights=weights).eval()
    with torch.no_grad():
        torch.testing.assert_close(net(grey), colour(grey.expand(2, 3, 8, 8)))
    assert capsys.readouterr().err.startswith("stem     3 channels to 1: ")


def test_weights_can_be_trained() -> None:
    net = create_model(TINY, weights=state(), num_classes=5, in_channels=4)
    net(torch.randn(2, 4, 8, 8)).square().sum().backward()
    assert all(value.grad is not None for value in net.parameters())
    assert net.spec == TINY.replace(num_classes=5, in_channels=4)


def test_a_model_file_of_another_architecture_with_the_same_shapes_is_refused(
    tmp_path: Path,
) -> None:
    spec = get_spec("resnet20").replace(num_classes=2)
    path = tmp_path / "model.safetensors"
    preprocess = Preprocess.for_photos(32, 32)
    weights = ResNet(spec).state_dict()
    model_file.save(model_file.Model(spec, ("a", "b"), preprocess, weights), path)
    with pytest.raises(UserError, match="weights of resnet20 do not fit plain20"):
        create_model("plain20", num_classes=2, weights=path)
    assert create_model("resnet20", num_classes=2, weights=path).num_classes == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state_dict": {}}, "'state_dict' is a dict and not a tensor"),
        (
            {"conv1.weight": torch.zeros(2, 3, 3, 3, dtype=torch.int32)},
            "torch.int32, not a float's",
        ),
    ],
)
def test_what_is_no_state_dict(change: dict[str, object], message: str) -> None:
    state = ResNet(TINY).state_dict()
    with pytest.raises(UserError, match=message):
        create_model(TINY, weights={**state, **change})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"do not fit tiny \(torchvision\)"):
        create_model(TINY, weights={"x": torch.zeros(1)})


def test_a_state_dict_of_a_wrapped_network() -> None:
    wrapped = {f"module._orig_mod.{name}": value for name, value in state().items()}
    assert_holds(create_model(TINY, weights=wrapped), state())
