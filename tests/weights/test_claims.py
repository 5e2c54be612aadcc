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
