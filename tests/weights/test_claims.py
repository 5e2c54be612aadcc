"""What a checkpoint says of itself goes before what its names and shapes would allow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers

import resnets
from resnets.errors import UserError
from resnets.weights import model_file
from resnets.weights.convert import open_model


def timm_folder(path: Path, name: str, **changes: Any) -> Path:
    net = timm.create_model(name, num_classes=3)
    timm.models.save_for_hf(net, str(path), safe_serialization=True)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | changes))
    return path


def test_an_architecture_that_is_no_row_is_not_taken_for_one(tmp_path: Path) -> None:
    folder = timm_folder(tmp_path, "resnetaa34d")
    with pytest.raises(UserError, match="says it is a resnetaa34d, and its weights fit resnet34d"):
        open_model(folder)
    with pytest.raises(UserError, match="says it is a resnetaa34d"):
        resnets.create_model("resnet34d", weights=folder)


@pytest.mark.parametrize(
    "changes", [{"model_args": {"act_layer": "silu"}}, {"global_pool": "max"}], ids=str
)
def test_arguments_that_make_it_another_network(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="changes it into no row here"):
        open_model(timm_folder(tmp_path, "resnet18", **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "gelu"}, "hidden_act='gelu' is of no row here"),
        ({"downsample_in_bottleneck": True, "depths": [2, 2, 2, 2]}, "is not that of a resnet26"),
    ],
)
def test_transformers_configuration_counts(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    config = transformers.ResNetConfig(**{"depths": [3, 4, 6, 3], "num_labels": 3, **changes})
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=message):
        open_model(tmp_path)


def test_a_stride_elsewhere_is_refused_for_the_row_that_was_asked_for(tmp_path: Path) -> None:
    config = transformers.ResNetConfig(downsample_in_bottleneck=True, num_labels=3)
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path)
    assert open_model(tmp_path).spec.name == "resnet50_v1"
    with pytest.raises(UserError, match="its configuration is not that of a resnet50"):
        resnets.create_model("resnet50", weights=tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"downsample_in_first_stage": True},
        {"hidden_act": ["relu"]},
        {"model_args": ["x"]},
        {"pretrained_cfg": "x"},
    ],
    ids=str,
)
def test_a_configuration_of_something_else_is_one_line(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = transformers.ResNetConfig(layer_type="bottleneck", num_labels=3)
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError) as caught:
        open_model(tmp_path)
    assert next(iter(changes)) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("crop", [0, 1e-320, "x", None])
def test_timms_crop_that_is_none(tmp_path: Path, crop: object) -> None:
    folder = timm_folder(tmp_path, "resnet18")
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["crop_pct"] = crop
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="timm's pretrained_cfg is not one that can be read"):
        open_model(folder)


def test_a_scripts_word_for_its_network_only_breaks_ties(tmp_path: Path) -> None:
    """kuangliu's scripts call a ResNet-18 for CIFAR resnet18, too."""
    state = resnets.create_model("resnet18_small").state_dict()
    torch.save({"arch": "resnet18", "state_dict": state}, tmp_path / "x.pth")
    assert open_model(tmp_path / "x.pth").spec.name == "resnet18_small"


def test_a_choice_among_several_sets_of_weights(tmp_path: Path) -> None:
    net = resnets.create_model("resnet20")
    average = torch.optim.swa_utils.AveragedModel(net)
    average.update_parameters(net)
    with torch.no_grad():
        net.fc.bias.fill_(7.0)
    values = {"state_dict": net.state_dict(), "model_ema": average.state_dict()}
    torch.save(values, tmp_path / "x.pth")
    raw = open_model(tmp_path / "x.pth")
    averaged = open_model(tmp_path / "x.pth", entry="model_ema")
    assert raw.weights["fc.bias"].tolist() == [7.0] * 10
    assert torch.equal(averaged.weights["fc.bias"], average.module.fc.bias)
    with pytest.raises(UserError, match="has no weights at 'emma'"):
        open_model(tmp_path / "x.pth", entry="emma")


def test_numbers_that_single_precision_does_not_hold(tmp_path: Path) -> None:
    state = resnets.create_model("resnet20").double().state_dict()
    state["fc.bias"][0] = 1e300
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"fc\.bias has numbers too large for single precision"):
        open_model(tmp_path / "x.pth")


@pytest.mark.parametrize("shape", [(2_000_000, 0), (0, 64), (2**22, 1)])
def test_absurd_classifiers(tmp_path: Path, shape: tuple[int, int]) -> None:
    state = resnets.create_model("resnet20").state_dict()
    state["fc.weight"] = torch.zeros(shape)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(UserError, match="do not fit resnet20"):
        open_model(tmp_path / "x.pth")


def test_a_fresh_classifier_has_no_names_of_others(tmp_path: Path) -> None:
    torch.save(resnets.create_model("resnet20").state_dict(), tmp_path / "x.pth")
    model = open_model(tmp_path / "x.pth", num_classes=1000)
    assert model.classes[:2] == ("class 0", "class 1")
    torch.save(resnets.create_model("iresnet18").state_dict(), tmp_path / "y.pth")
    faces = open_model(tmp_path / "y.pth")
    same_size = open_model(tmp_path / "y.pth", num_classes=512)
    assert not torch.equal(faces.weights["fc.weight"], same_size.weights["fc.weight"])


def test_names_from_a_file_stay_in_one_line(tmp_path: Path) -> None:
    state = resnets.create_model("resnet20").state_dict() | {"a\n\x1b[31m": torch.zeros(2)}
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(UserError) as caught:
        open_model(tmp_path / "x.pth")
    assert r"extra: a\n\x1b[31m" in str(caught.value)


def test_a_training_checkpoint_says_its_row_and_what_else_it_holds(tmp_path: Path) -> None:
    state = resnets.create_model("resnetblur18", num_classes=3).state_dict()
    values = {"arch": "resnetblur18", "state_dict": state, "state_dict_ema": state}
    torch.save(values, tmp_path / "x.pth")
    said: list[str] = []
    model = open_model(tmp_path / "x.pth", say=said.append)
    assert model.spec.name == "resnetblur18"
    assert any("taken from state_dict; it also holds state_dict_ema" in line for line in said)


def test_weights_without_a_classifier_are_for_features(tmp_path: Path) -> None:
    state = resnets.create_model("resnet20").state_dict()
    trunk = {name: value for name, value in state.items() if not name.startswith("fc.")}
    torch.save(trunk, tmp_path / "x.pth")
    model = open_model(tmp_path / "x.pth")
    assert (model.task, model.classes) == ("embed", ())
    model_file.save(model, tmp_path / "m.safetensors")
    with pytest.raises(UserError, match="puts out an embedding of 64 numbers, not classes"):
        resnets.load(tmp_path / "m.safetensors")
    classifier = open_model(tmp_path / "m.safetensors", num_classes=3)
    assert (classifier.task, classifier.weights["fc.weight"].shape) == ("classify", (3, 64))
    net = resnets.create_model("resnet20", weights=tmp_path / "x.pth")
    assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 64)


def test_embeddings_are_not_classes(tmp_path: Path) -> None:
    torch.save(resnets.create_model("iresnet18").state_dict(), tmp_path / "x.pth")
    said: list[str] = []
    model = open_model(tmp_path / "x.pth", say=said.append)
    assert (model.task, model.classes) == ("embed", ())
    assert any("an embedding of 512 numbers" in line for line in said)
    model_file.save(model, tmp_path / "m.safetensors")
    assert model_file.load(tmp_path / "m.safetensors").task == "embed"
    with pytest.raises(UserError, match="puts out an embedding of 512 numbers, not classes"):
        resnets.load(tmp_path / "m.safetensors")
    classifier = open_model(tmp_path / "m.safetensors", num_classes=3)
    assert (classifier.task, len(classifier.classes)) == ("classify", 3)
    named = open_model(tmp_path / "x.pth", classes=[str(i) for i in range(512)])
    assert named.task == "classify"


def test_names_that_come_twice_are_numbered(tmp_path: Path) -> None:
    torch.save(resnets.create_model("resnet20").state_dict(), tmp_path / "x.pth")
    for count in (None, 10):
        model = open_model(tmp_path / "x.pth", num_classes=count, classes=["crane"] * 10)
        assert model.classes[1] == "1 crane"


def test_a_network_for_one_size_keeps_it(tmp_path: Path) -> None:
    state = resnets.create_model("iresnet18").state_dict()
    torch.save(state, tmp_path / "x.pth")
    assert open_model(tmp_path / "x.pth").spec.image_size == 112
    with pytest.raises(UserError, match="takes photos of 112 px, and torchvision gives 224"):
        open_model(tmp_path / "x.pth", preprocess="torchvision")
