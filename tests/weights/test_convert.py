"""Checkpoints of other projects, from files that their own code writes, to the same answers."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
import torchvision
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn

import resnets
from resnets.errors import UserError
from resnets.weights import model_file
from resnets.weights.adapt import spread
from resnets.weights.convert import open_model
from resnets.weights.labels import CIFAR10, imagenet
from resnets.weights.model_file import Model

X = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def same_weights_every_time() -> None:
    torch.manual_seed(0)


def randomised(net: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


@torch.no_grad()
def answers_alike(model: Model, peer: nn.Module, x: Tensor = X) -> None:
    found, expected = model.network()(x), peer(x)
    expected = getattr(expected, "logits", expected)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4


def saved(state: Any, path: Path) -> Path:
    torch.save(state, path)
    return path


# -- PyTorch's dialects ---------------------------------------------------------------------------


def test_torchvision(tmp_path: Path) -> None:
    peer = randomised(torchvision.models.resnet18())
    said: list[str] = []
    model = open_model(saved(peer.state_dict(), tmp_path / "x.pth"), say=said.append)
    answers_alike(model, peer)
    assert model.spec == resnets.zoo.get_spec("resnet18")  # type: ignore[attr-defined]
    assert model.classes == imagenet()
    photos = model.preprocess
    assert (photos.size, photos.resize, photos.fit, photos.interpolation) == (
        *(224, 256),
        *("short", "bilinear"),
    )
    text = "\n".join(said)
    for part in ("resnet18, in the names of torchvision", "resnetblur18", "ImageNet's"):
        assert part in text


def test_the_name_of_a_published_file_tells_how_its_photos_are_read(tmp_path: Path) -> None:
    peer = torchvision.models.resnet50()
    for file, resize in (("resnet50-0676ba61.pth", 256), ("resnet50-11ad3fa6.pth", 232)):
        model = open_model(saved(peer.state_dict(), tmp_path / file))
        assert (model.preprocess.size, model.preprocess.resize) == (224, resize)


def test_timm_with_its_configuration(tmp_path: Path) -> None:
    peer = randomised(timm.create_model("resnet26t", num_classes=5))
    timm.models.save_for_hf(peer, str(tmp_path), safe_serialization=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["pretrained_cfg"] |= {
        "crop_pct": 0.9,
        "input_size": [3, 96, 96],
        "mean": [0.1, 0.2, 0.3],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = open_model(tmp_path)
    answers_alike(model, peer)
    assert (model.spec.name, model.spec.image_size) == ("resnet26t", 96)
    assert (model.preprocess.size, model.preprocess.resize) == (96, 106)
    assert model.preprocess.mean == (0.1, 0.2, 0.3)
    assert model.classes == tuple(f"class {i}" for i in range(5))


def test_timm_says_which_of_two_alike_it_is(tmp_path: Path) -> None:
    peer = randomised(timm.create_model("resnetblur18", num_classes=3))
    timm.models.save_for_hf(peer, str(tmp_path), safe_serialization=True)
    model = open_model(tmp_path)
    assert model.spec.name == "resnetblur18"
    answers_alike(model, peer)


def test_transformers(tmp_path: Path) -> None:
    config = transformers.ResNetConfig(
        depths=[3, 4, 6, 3], downsample_in_bottleneck=True, num_labels=3,
        id2label={0: "a", 1: "b", 2: "c"},
    )  # fmt: skip
    peer = randomised(transformers.ResNetForImageClassification(config))
    peer.save_pretrained(tmp_path)
    transformers.ConvNextImageProcessor(size={"shortest_edge": 160}, crop_pct=0.8).save_pretrained(
        tmp_path
    )
    model = open_model(tmp_path)
    answers_alike(model, peer)
    assert model.spec.name == "resnet50_v1"
    assert model.classes == ("a", "b", "c")
    assert (model.preprocess.size, model.preprocess.resize) == (160, 200)


def test_transformers_big_transfer(tmp_path: Path) -> None:
    config = transformers.BitConfig(num_labels=3)
    peer = transformers.BitForImageClassification(config).eval()
    with torch.no_grad():
        for name, value in peer.named_parameters():
            if value.ndim == 1:
                value.normal_(1.0 if name.endswith("weight") else 0.0, 0.2)
    peer.save_pretrained(tmp_path)
    model = open_model(tmp_path)
    answers_alike(model, peer)
    assert model.spec.name == "resnetv2_50x1_bit"
    transformers.BitConfig(num_labels=3, global_padding="same").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="global_padding='SAME' is of no row here"):
        open_model(tmp_path)


def test_a_cifar_checkpoint_in_its_wrappers(tmp_path: Path) -> None:
    net = randomised(resnets.create_model("resnet20"))
    renamed = {f"module.{k.replace('fc.', 'linear.')}": v for k, v in net.state_dict().items()}
    path = saved({"state_dict": renamed, "best_prec1": 91.7}, tmp_path / "x.th")
    model = open_model(path)
    answers_alike(model, net, X[:, :, :32, :32])
    assert model.classes == CIFAR10
    assert (model.spec.name, model.preprocess.size) == ("resnet20", 32)


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    state = resnets.create_model("resnet20").half().state_dict()
    save_file(state, tmp_path / "x.safetensors")
    model = open_model(tmp_path / "x.safetensors")
    assert model.weights["conv1.weight"].dtype == torch.float32
    assert torch.equal(model.weights["conv1.weight"].half(), state["conv1.weight"])


# -- ONNX -----------------------------------------------------------------------------------------


def exported(net: nn.Module, path: Path, fold: bool = True) -> Any:
    """Write a network as torch's exporter does; return the model."""
    training = torch.onnx.TrainingMode.EVAL if fold else torch.onnx.TrainingMode.PRESERVE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (X,), path, dynamo=False, training=training, do_constant_folding=fold
        )
    return onnx.load(path)


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("name", ["resnet26", "resnext50_32x4d", "resnet26d", "resnet50_v2"])
def test_onnx(name: str, fold: bool, tmp_path: Path) -> None:
    net = randomised(resnets.create_model(name, num_classes=4))
    exported(net, tmp_path / "x.onnx", fold)
    model = open_model(tmp_path / "x.onnx")
    answers_alike(model, net)
    assert model.spec.name == name
    norm = next(n for n in model.weights if n.endswith("running_var"))  # it can be trained on
    assert model.weights[norm].ndim == 1


def test_onnx_tells_where_a_stride_is(tmp_path: Path) -> None:
    for name in ("resnet50", "resnet50_v1"):
        net = randomised(resnets.create_model(name, num_classes=2))
        exported(net, tmp_path / f"{name}.onnx")
        assert open_model(tmp_path / f"{name}.onnx").spec.name == name


def test_onnx_is_followed_whatever_the_order_of_its_nodes(tmp_path: Path) -> None:
    """The last convolution of layer1.0 and its projection have one shape."""
    net = randomised(resnets.create_model("resnet26", num_classes=2))
    model = exported(net, tmp_path / "x.onnx")
    nodes = list(model.graph.node)
    projection = next(n for n in nodes if n.op_type == "Conv" and "downsample" in n.name)
    first = next(i for i, n in enumerate(nodes) if projection.input[0] in n.output)
    nodes.remove(projection)
    nodes.insert(first + 1, projection)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / "y.onnx")
    answers_alike(open_model(tmp_path / "y.onnx"), net)


def _drop(kind: str) -> Any:
    """Take the last node of a kind out of a graph."""

    def change(graph: Any) -> None:
        node = [n for n in graph.node if n.op_type == kind][-1]
        for other in graph.node:
            for i, value in enumerate(other.input):
                if value == node.output[0]:
                    other.input[i] = node.input[0]
        graph.node.remove(node)

    return change


def _rename(kind: str, other: str) -> Any:
    def change(graph: Any) -> None:
        node = next(n for n in graph.node if n.op_type == kind)
        node.op_type = other

    return change


def _cast(kind: int) -> Any:
    """Change the type of what comes out of the first activation."""

    def change(graph: Any) -> None:
        at, node = next((i, n) for i, n in enumerate(graph.node) if n.op_type == "Relu")
        for other in graph.node:
            for i, value in enumerate(other.input):
                if value == node.output[0]:
                    other.input[i] = "cast"
        graph.node.insert(at + 1, onnx.helper.make_node("Cast", node.output, ["cast"], to=kind))

    return change


def test_a_cast_between_floats_changes_nothing(tmp_path: Path) -> None:
    net = randomised(resnets.create_model("resnet18", num_classes=2))
    model = exported(net, tmp_path / "x.onnx")
    _cast(onnx.TensorProto.FLOAT)(model.graph)
    onnx.save(model, tmp_path / "x.onnx")
    answers_alike(open_model(tmp_path / "x.onnx"), net)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_cast(onnx.TensorProto.INT32), "it leaves resnet18 at maxpool: it is not nothing"),
        (_drop("Relu"), "it leaves resnet18 at layer4.1.act2: it is not"),
        (_drop("MaxPool"), "it leaves resnet18.* at maxpool: it is not"),
        (_rename("MaxPool", "AveragePool"), "it leaves resnet18 at maxpool"),
        (_rename("Relu", "Sigmoid"), r"at act1: it is not .*\(Sigmoid\)"),
        (_rename("GlobalAveragePool", "GlobalMaxPool"), "it leaves resnet18 at "),
    ],
)
def test_an_onnx_that_computes_something_else(change: Any, message: str, tmp_path: Path) -> None:
    model = exported(resnets.create_model("resnet18", num_classes=2).eval(), tmp_path / "x.onnx")
    change(model.graph)
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(UserError, match=message):
        open_model(tmp_path / "x.onnx")


# -- choices --------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    net = randomised(resnets.create_model("resnet18_small", num_classes=4))
    return saved(net.state_dict(), tmp_path / "x.pth")


def test_classes_photos_and_licence_as_given(checkpoint: Path) -> None:
    model = open_model(checkpoint, classes=["p", "q", "r", "s"], preprocess="bytes", licence="MIT")
    assert model.classes == ("p", "q", "r", "s")
    assert model.preprocess.std == (1 / 255,) * 3
    assert model.licence == "MIT"
    assert len(model.data["sha256"]) == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "resnet20"}, "do not fit resnet20 .*missing: "),
        ({"arch": "resnet21"}, "unknown model 'resnet21'"),
        ({"classes": ["a", "b"]}, "2 class names for 4 outputs"),
        ({"preprocess": "cifr"}, "--preprocess cifr: unknown; did you mean cifar"),
        ({"in_channels": 5}, "5 channels, and photos are read with 1 or 3"),
    ],
)
def test_what_cannot_be(checkpoint: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        open_model(checkpoint, **options)
    assert "\n" not in str(caught.value)


def test_a_new_number_of_classes_gets_a_fresh_classifier(checkpoint: Path) -> None:
    said: list[str] = []
    before, after = open_model(checkpoint), open_model(checkpoint, num_classes=9, say=said.append)
    assert after.spec.num_classes == len(after.classes) == 9
    assert after.weights["fc.weight"].shape == (9, 512)
    assert torch.equal(after.weights["conv1.weight"], before.weights["conv1.weight"])
    assert any("4 outputs to 9: a fresh classifier" in line for line in said)
    after.network()


def test_a_fresh_classifier_has_the_names_that_are_given(checkpoint: Path) -> None:
    model = open_model(checkpoint, num_classes=2, classes=["yes", "no"])
    assert model.classes == ("yes", "no")
    with pytest.raises(UserError, match="1 class names for 2 outputs"):
        open_model(checkpoint, num_classes=2, classes=["yes"])


def test_grey_photos_answer_as_grey_in_three_channels(checkpoint: Path) -> None:
    colour, grey = open_model(checkpoint), open_model(checkpoint, in_channels=1)
    assert grey.preprocess.channels == 1
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(grey.network()(x), colour.network()(x.expand(-1, 3, -1, -1)))


def test_more_channels_get_the_kernels_in_turn() -> None:
    weight = torch.randn(4, 3, 3, 3)
    wide = spread(weight, 5)
    assert wide.shape == (4, 5, 3, 3)
    assert torch.equal(wide[:, 4], weight[:, 1] * (3 / 5))


def test_a_model_file_stays_what_it_is(checkpoint: Path, tmp_path: Path) -> None:
    model = open_model(checkpoint)
    path = tmp_path / "m.safetensors"
    model_file.save(model, path)
    again = open_model(path, arch="resnet18_small")
    assert again.describe() == model.describe()
    for options in ({"classes": ["a"]}, {"preprocess": "cifar"}):
        with pytest.raises(UserError, match="a model file, which has its own"):
            open_model(path, **options)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="a model file of resnet18_small, not of resnet50"):
        open_model(path, arch="resnet50")


def test_names_of_classes_are_distinct() -> None:
    names = imagenet()
    assert len(set(names)) == 1000
    assert (names[0], names[999]) == ("tench", "toilet tissue")


# -- predictions: the peer's own transforms and network -------------------------------------------


def test_predictions_are_those_of_the_peers_pipeline(tmp_path: Path) -> None:
    photos = [np.random.default_rng(i).integers(0, 256, shape, np.uint8) for i, shape in
              enumerate([(300, 400, 3), (500, 333, 3), (200, 201, 3)])]  # fmt: skip
    peer = randomised(torchvision.models.resnet18())
    transforms = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    model = open_model(saved(peer.state_dict(), tmp_path / "x.pth"))
    model_file.save(model, tmp_path / "m.safetensors")
    found = resnets.load(tmp_path / "m.safetensors").probabilities(photos)
    with torch.no_grad():
        images = [transforms(torchvision.transforms.ToPILImage()(photo)) for photo in photos]
        expected = peer(torch.stack(images)).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.max() > 0.01
