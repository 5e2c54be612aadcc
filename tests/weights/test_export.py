"""Weights out: the peer's own code loads what is written, and answers alike; and back again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
import transformers
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import resnets
from resnets.data.preprocess import Preprocess
from resnets.errors import UserError
from resnets.spec import ResNetSpec
from resnets.weights.convert import open_model
from resnets.weights.export import TIMM, export
from resnets.weights.model_file import Model
from resnets.zoo import get_spec

X = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
NAMES = ("ant", "bee", "cat")


def make(spec: ResNetSpec, **photos: object) -> Model:
    spec = spec.replace(num_classes=3)
    torch.manual_seed(0)
    net = resnets.create_model(spec)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    options = {"size": 64, "resize": 72, "fit": "short", **photos}
    return Model(spec, NAMES, Preprocess(**options), net.state_dict())  # type: ignore[arg-type]


@torch.no_grad()
def alike(model: Model, peer: nn.Module) -> None:
    expected, found = model.network()(X), peer.eval()(X)
    found = getattr(found, "logits", found)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4


def back(model: Model, path: Path, **options: str) -> Model:
    """Assert that a written file comes back as the same bits, and return it."""
    again = open_model(path, **options)
    assert again.spec == model.spec.replace(image_size=again.preprocess.size)
    assert list(again.weights) == list(model.weights)
    assert all(torch.equal(value, model.weights[name]) for name, value in again.weights.items())
    return again


@pytest.mark.parametrize("suffix", [".pth", ".PTH", ".safetensors"])
def test_torchvision(suffix: str, tmp_path: Path) -> None:
    model, path = make(get_spec("resnet18")), tmp_path / f"x{suffix}"
    export(model, "torchvision", path)
    peer = torchvision.models.resnet18(num_classes=3)
    read = load_file if suffix == ".safetensors" else torch.load
    peer.load_state_dict(read(path))
    alike(model, peer)
    back(model, path)


@pytest.mark.parametrize("name", ["resnet14t", "seresnet18", "resnetv2_50", "resnetblur18"])
def test_timm(name: str, tmp_path: Path) -> None:
    model, path = make(get_spec(name), interpolation="bicubic"), tmp_path / "out"
    export(model, "timm", path)
    peer = timm.create_model(f"local-dir:{path}", pretrained=True)
    alike(model, peer)
    config = timm.data.resolve_data_config({}, model=peer)
    assert tuple(config["input_size"]) == (3, 64, 64)
    transform = str(timm.data.create_transform(**config))
    assert "Resize(size=72" in transform
    assert back(model, path).preprocess == model.preprocess


@pytest.mark.parametrize("to", ["timm", "transformers", "torchvision", "onnx"])
def test_that_a_model_looks_twice_is_said(to: str, tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / {"torchvision": "x.pth", "onnx": "x.onnx"}.get(to, "out")
    export(make(get_spec("resnet18"), mirrored=True), to, path, say=said.append)
    assert "mirror image: its users have to do so" in "".join(said)
    said.clear()
    export(make(get_spec("resnet18")), to, path, force=True, say=said.append)
    assert not said


def test_every_name_that_timm_is_said_to_have_it_has() -> None:
    assert set(timm.list_models()) >= TIMM
    ours = set(resnets.list_models())
    assert {name for name in timm.list_models() if name in ours} == TIMM


@pytest.mark.parametrize("fit", ["short-floor", "stretch"])
@pytest.mark.parametrize("name", ["resnet34", "resnet50_v1", "resnetv2_50x1_bit"])
def test_transformers(name: str, fit: str, tmp_path: Path) -> None:
    model, path = make(get_spec(name), interpolation="bicubic", fit=fit), tmp_path / "out"
    export(model, "transformers", path)
    peer = transformers.AutoModelForImageClassification.from_pretrained(path)
    alike(model, peer)
    assert peer.config.id2label == dict(enumerate(NAMES))
    reading = transformers.AutoImageProcessor.from_pretrained(path)
    ours = model.preprocess
    two_levels = 2 / 255 / min(ours.std)
    for height, width in ((90, 120), (72, 91), (97, 72), (72, 77)):  # margins even and odd
        photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        read = reading(Image.fromarray(photo), return_tensors="pt")["pixel_values"]
        kept = torch.from_numpy(ours.prepare(photo)[None])
        torch.testing.assert_close(read, ours.normalize(ours.center(kept)), atol=two_levels, rtol=0)
    again = back(model, path)
    assert (again.classes, again.preprocess) == (NAMES, model.preprocess)


@pytest.mark.parametrize(
    ("name", "to", "file", "message"),
    [
        ("resnet18", "timn", "x", "--to timn: unknown; did you mean timm"),
        ("resnet50_v1", "torchvision", "x.pth", "torchvision has no network that is this"),
        ("resnet20", "timm", "x", "timm has no network that is this resnet20"),
        ("resnet50d", "transformers", "x", "transformers' ResNet and BiT cannot be a resnet50d"),
        ("resnet18", "torchvision", "x.bin", "written as .safetensors, .pth, .pt"),
        ("resnet18", "timm", "x.pth", "a folder is written here"),
        ("resnet18", "keras", "x.pth", r"end in .keras or .weights.h5"),
    ],
)
def test_what_cannot_be_written(
    name: str, to: str, file: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        export(make(get_spec(name)), to, tmp_path / file)
    assert not list(tmp_path.iterdir())


def test_a_changed_row_is_not_the_peers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="torchvision has no network that is this resnet18"):
        export(make(get_spec("resnet18").with_small_stem()), "torchvision", tmp_path / "x.pth")


def test_a_folder_is_replaced_if_forced_and_nothing_else_lies_in_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    export(make(get_spec("resnet18")), "timm", path)
    with pytest.raises(UserError, match="exists: name a folder that does not"):
        export(make(get_spec("resnet34")), "timm", path)
    export(make(get_spec("resnet34")), "timm", path, force=True)
    assert open_model(path).spec.name == "resnet34"
    (path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"exists and holds notes\.txt"):
        export(make(get_spec("resnet18")), "timm", path, force=True)
    assert open_model(path).spec.name == "resnet34"


@pytest.mark.parametrize("changes", [{"do_normalize": False}, {"rescale_factor": 1 / 127}])
def test_photos_read_in_another_way_are_refused(changes: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "x"
    export(make(get_spec("resnet18")), "transformers", path)
    file = path / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(UserError, match=next(iter(changes))):
        open_model(path)


def test_colours_that_the_peer_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="timm reads RGB, and this model BGR"):
        export(make(get_spec("resnet18"), order="BGR"), "timm", tmp_path / "x")
