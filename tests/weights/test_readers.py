"""Foreign checkpoints: PyTorch, safetensors and folders, as their libraries write them."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from resnets.errors import UserError
from resnets.nn import ResNet
from resnets.spec import ResNetSpec, Stem
from resnets.weights.readers import Foreign, read

State = dict[str, Tensor]


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), fc=nn.Linear(4, 2))
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights"  # no extension, as contents tell


def refused(path: str | Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    assert len(message) < 800, message
    return message


def same(found: Foreign, state: State) -> bool:
    return list(found.tensors) == list(state) and all(
        tensor.dtype == state[name].dtype
        and torch.equal(tensor, state[name])
        and tensor.is_contiguous()
        and not tensor.requires_grad
        for name, tensor in found.tensors.items()
    )


# -- PyTorch -------------------------------------------------------------------------------------


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_state_dict(net: nn.Module, path: Path, new: bool, dtype: torch.dtype) -> None:
    state = net.to(dtype).state_dict()
    torch.save(state, path, _use_new_zipfile_serialization=new)
    found = read(str(path))
    assert (found.format, found.path) == ("torch", path)
    assert same(found, state)
    assert state["norm.num_batches_tracked"].dtype == torch.int64
    assert found.facts == {"wrappers": [], "also": [], "prefix": "", "entries": {}, "ignored": []}


def test_views_come_whole_and_on_their_own(path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = {"t": base.T, "part": base[1:, ::2], "tied": base, "parameter": nn.Parameter(base)}
    torch.save(state, path)
    found = read(path)
    assert same(found, {name: tensor.detach() for name, tensor in state.items()})
    assert len({tensor.data_ptr() for tensor in found.tensors.values()}) == 4


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_a_training_checkpoint(net: nn.Module, path: Path, new: bool) -> None:
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    net[0](torch.zeros(1, 3, 3, 3)).sum().backward()
    optimizer.step()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    checkpoint = {
        "epoch": 90,
        "arch": "resnet50",
        "best_acc1": torch.tensor(76.5),
        "state_dict": state,
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=0.1, workers=None, stages=(1, 2)),
        "loss": float("nan"),
        "rng": torch.zeros(8, dtype=torch.uint8),
        "log": "x" * 20_000,
        3: "three",
    }
    torch.save(checkpoint, path, _use_new_zipfile_serialization=new)
    found = read(path)
    assert same(found, state)
    entries = found.facts["entries"]
    assert {name: entries[name] for name in ("epoch", "arch", "best_acc1", "args", "3")} == {
        "epoch": 90,
        "arch": "resnet50",
        "best_acc1": 76.5,
        "args": {"lr": 0.1, "workers": None, "stages": [1, 2]},
        "3": "three",
    }
    assert found.facts["ignored"] == ["optimizer", "loss", "rng", "log"]
    json.dumps(found.facts, allow_nan=False)


def test_raw_weights_are_taken_rather_than_their_average(net: nn.Module, path: Path) -> None:
    state = net.state_dict()
    average = {name: tensor * 0 for name, tensor in state.items()}
    torch.save(
        {"state_dict_ema": average, "model": {"state_dict": state}, "net": {"depth": 3}}, path
    )
    found = read(path)
    assert same(found, state)
    assert found.facts["wrappers"] == ["model", "state_dict"]
    assert found.facts["also"] == ["state_dict_ema"]
    assert found.facts["entries"] == {"net": {"depth": 3}}
    torch.save({"model_ema": average, "epoch": 1}, path)
    assert same(read(path), average)


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        lambda net: torch.compile(net, backend="eager"),
        lambda net: nn.DataParallel(torch.compile(net, backend="eager")),
        lambda net: torch.compile(nn.DataParallel(net), backend="eager"),
        lambda net: nn.ModuleDict({"model": net}),
    ],
    ids=["parallel", "compiled", "both", "both, inside out", "trainer"],
)
def test_prefixes(net: nn.Module, path: Path, wrap: Callable[[nn.Module], nn.Module]) -> None:
    state = wrap(net).state_dict()
    torch.save({"state_dict": state}, path)
    found = read(path)
    assert same(found, net.state_dict())
    first, prefix = next(iter(state)), found.facts["prefix"]
    assert first == f"{prefix}conv.weight"
    assert prefix


def test_a_prefix_that_not_all_share_stays(net: nn.Module, path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
    state["fc.weight"] = torch.ones(2)
    torch.save(state, path)
    assert same(read(path), state)


def test_what_is_no_tensor_beside_tensors_is_no_weight(path: Path) -> None:
    state = {"w": torch.ones(2), "_extra_state": None, "epoch": 4, "sub": {"deep": torch.ones(3)}}
    torch.save(state, path)
    found = read(path)
    assert same(found, {"w": torch.ones(2)})
    assert found.facts["entries"] == {"_extra_state": None, "epoch": 4}
    assert found.facts["ignored"] == ["sub"]


def test_a_checkpoint_that_holds_itself(path: Path) -> None:
    loop: dict[str, Any] = {"w": torch.ones(2)}
    loop["state_dict"] = loop["again"] = loop
    torch.save(loop, path)
    found = read(path)
    assert same(found, {"w": torch.ones(2)})
    wide: Any = "end"
    for _ in range(30):
        wide = [wide] * 30
    torch.save({"state_dict": {"w": torch.ones(2)}, "wide": wide}, path)
    assert read(path).facts["ignored"] == ["wide"]


class Payload:
    """What runs when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_a_pickle_is_never_run(path: Path, protocol: int, how: str) -> None:
    marker = path.parent / "ran"
    value = {"state_dict": {"w": torch.ones(2)}, "extra": Payload(marker)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(value, protocol))
    else:
        zipped = how == "zip"
        torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    message = refused(path)
    if protocol == 2 and how != "pickle":
        assert "holds objects (posix.mkdir), and is never unpickled" in message
    assert not marker.exists()
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()  # or the test would prove nothing


def test_environment_does_not_make_it_unpickle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker = path.parent / "ran"
    torch.save({"w": torch.ones(2), "extra": Payload(marker)}, path)
    assert "never unpickled" in refused(path)
    assert not marker.exists()


def test_whole_modules_are_refused(net: nn.Module, path: Path) -> None:
    torch.save(net, path)
    assert "holds objects (torch.nn.modules.container.Sequential)" in refused(path)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_refused(net: nn.Module, path: Path) -> None:
    torch.jit.script(nn.ReLU()).save(path)
    assert "TorchScript, which is code" in refused(path)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (torch.ones(3), "holds a Tensor, not a state dict"),
        ([torch.ones(3)], "holds a list, not a state dict"),
        ({"epoch": 3}, "no state dict"),
        ({0: torch.ones(3)}, "no state dict"),
        ({"state_dict": {}}, "no state dict"),
        ({"w": torch.ones(2, dtype=torch.complex64)}, "tensor w has dtype complex64"),
        ({"w": torch.ones(2, dtype=torch.bool)}, "tensor w has dtype bool"),
        ({"w": torch.ones(2, dtype=torch.int8)}, "tensor w has dtype int8"),
        ({"w": torch.ones(2, dtype=torch.int16)}, "tensor w has dtype int16"),
        ({"w": torch.ones(2, 2, dtype=torch.int64)}, "tensor w has integers (int64)"),
        ({"w": torch.ones(2, device="meta")}, "tensor w has dtype float32 of a special kind"),
        ({"w": torch.eye(2).to_sparse()}, "tensor w has dtype float32 of a special kind"),
        ({"w": torch.tensor([1, float("nan")])}, "tensor w holds NaN"),
        ({"w": torch.tensor([1, -float("inf")])}, "tensor w holds NaN or infinity"),
        ({"w": torch.ones(1).expand(2**40)}, "is more than such a file can hold"),
        ({"a\nb\x1b[31m": torch.full((2,), torch.nan)}, r"tensor a\nb\x1b[31m holds NaN"),
    ],
)
@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_what_is_no_state_dict(path: Path, value: object, part: str, new: bool) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=new)
    assert part in refused(path)


@pytest.mark.filterwarnings("ignore")
def test_quantised_tensors_are_refused(path: Path) -> None:
    torch.save({"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, path)
    assert "tensor w has dtype" in refused(path)


def rezip(data: bytes, path: Path, change: Callable[[str, bytes], bytes], packing: int) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(path, "w", packing) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))


def test_a_packed_or_damaged_zip(net: nn.Module, path: Path) -> None:
    torch.save(net.state_dict(), path)
    data = path.read_bytes()
    rezip(data, path, lambda _, content: content, zipfile.ZIP_DEFLATED)
    assert "packed by something other than PyTorch" in refused(path)
    weights = net.get_parameter("conv.weight").detach().numpy().tobytes()
    assert data.count(weights) == 1
    path.write_bytes(data.replace(weights, weights[:-1] + b"\x01"))
    assert "does not match its checksum" in refused(path)


def test_the_name_does_not_mislead(net: nn.Module, tmp_path: Path) -> None:
    torch.save(net.state_dict(), tmp_path / "a.safetensors")
    assert "rename it to .pth" in refused(tmp_path / "a.safetensors")
    save_file(net.state_dict(), tmp_path / "a.pth")
    assert read(tmp_path / "a.pth").format == "safetensors"


# -- safetensors ---------------------------------------------------------------------------------


def test_safetensors(net: nn.Module, path: Path) -> None:
    state = net.state_dict() | {"half": torch.ones(2, dtype=torch.bfloat16)}
    save_file(state, path, {"format": "pt", "author": "me"})
    found = read(path)
    assert found.format == "safetensors"
    assert same(found, {name: state[name] for name in found.tensors})
    assert set(found.tensors) == set(state)
    assert found.facts == {"metadata": {"format": "pt", "author": "me"}, "prefix": ""}
    path.write_bytes(bytes(path.stat().st_size))  # the tensors are no views of the file
    assert torch.equal(found.tensors["conv.weight"], state["conv.weight"])


def test_prefixes_in_safetensors(net: nn.Module, path: Path) -> None:
    save_file({f"module.{name}": tensor for name, tensor in net.state_dict().items()}, path)
    found = read(path)
    assert set(found.tensors) == set(net.state_dict())
    assert found.facts == {"metadata": {}, "prefix": "module."}


def test_a_model_file_is_not_foreign(path: Path) -> None:
    save_file({"w": torch.ones(2)}, path, {"resnets": "{}"})
    assert "a resnets model file already" in refused(path)


@pytest.mark.parametrize(
    ("tensor", "part"),
    [
        (torch.ones(2, dtype=torch.uint8), "tensor w has dtype U8"),
        (torch.ones(2, dtype=torch.complex64), "tensor w has dtype C64"),
        (torch.ones(2, 2, dtype=torch.int32), "tensor w has integers"),
        (torch.full((2,), torch.inf), "tensor w holds NaN or infinity"),
    ],
)
def test_tensors_of_safetensors_that_are_no_weights(path: Path, tensor: Tensor, part: str) -> None:
    save_file({"w": tensor}, path)
    assert part in refused(path)


@pytest.mark.parametrize(
    "header",
    [
        {"w": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 2**64]}},
        {"w": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"w": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}},
        {"w": 3},
    ],
)
def test_absurd_headers(path: Path, header: object) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    assert "truncated or damaged" in refused(path)


# -- folders -------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_a_folder_of_transformers(tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], num_labels=2)
    net = ResNetForImageClassification(config)
    net.save_pretrained(tmp_path)
    found = read(tmp_path)
    assert (found.path, found.format) == (tmp_path, "safetensors")
    assert found.tensors.keys() == net.state_dict().keys()
    assert all(torch.equal(t, net.state_dict()[name]) for name, t in found.tensors.items())
    assert found.facts["config"]["model_type"] == "resnet"
    assert found.facts["config"]["hidden_sizes"] == [4, 8]
    assert found.facts["metadata"] == {"format": "pt"}


def test_a_folder_of_timm(tmp_path: Path) -> None:
    from timm.models import save_for_hf
    from timm.models.resnet import BasicBlock
    from timm.models.resnet import ResNet as TimmResNet

    net = TimmResNet(BasicBlock, (1, 1, 1, 1), num_classes=3, channels=(4, 4, 4, 4), stem_width=4)
    net.pretrained_cfg = {"architecture": "resnet18", "input_size": (3, 32, 32)}
    save_for_hf(net, tmp_path, safe_serialization="both")
    found = read(tmp_path)
    assert found.tensors.keys() == net.state_dict().keys()
    assert found.facts["config"]["architecture"] == "resnet18"
    assert found.facts["config"]["pretrained_cfg"]["input_size"] == [3, 32, 32]
    (tmp_path / "model.safetensors").unlink()
    assert (tmp_path / "pytorch_model.bin").is_file()
    assert same(read(tmp_path), net.state_dict())


@pytest.mark.parametrize(
    ("config", "part"),
    [
        (None, "a folder without config.json and"),
        (b"", "config.json: damaged"),
        (b"[1]", "config.json: damaged (not a JSON object)"),
        (b'{"a": NaN}', "config.json: damaged (NaN is not JSON)"),
        (b"[" * 100_000, "config.json: damaged"),
        (b"\xff\xfe{", "config.json: damaged"),
    ],
)
def test_folders_that_are_none(tmp_path: Path, config: bytes | None, part: str) -> None:
    assert "a folder without" in refused(tmp_path)
    save_file({"w": torch.ones(2)}, tmp_path / "model.safetensors")
    if config is not None:
        (tmp_path / "config.json").write_bytes(config)
    assert part in refused(tmp_path)


# -- files that are none -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "empty"),
        (b"PK\x03\x04", "truncated (4 bytes)"),
        (b"x" * 100, "not a checkpoint of PyTorch, safetensors, Keras or ONNX"),
        (bytes(100), "not a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"<!DOCTYPE html><html><head></head></html>", "a web page"),
        (b"\x1f\x8b" + bytes(100), "gzip"),
        (b"PK\x03\x04" + bytes(100), "truncated or damaged"),
    ],
)
def test_other_contents(path: Path, content: bytes, part: str) -> None:
    path.write_bytes(content)
    assert part in refused(path)


def test_files_that_cannot_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No such file or directory" in refused(path)
    assert "Not a directory" in refused(Path(__file__) / "x")
    assert "null" in refused("a\0b")
    os.mkfifo(path)
    assert "neither a file nor a folder" in refused(path)
    path.unlink()
    path.write_bytes(bytes(100))

    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    assert "Permission denied" in refused(path)


def test_a_zip_of_something_else(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("photo.png", bytes(100))
    assert "a zip file, but neither PyTorch's nor Keras's" in refused(path)
    os.truncate(path, path.stat().st_size - 10)
    assert "a zip file without its end" in refused(path)


def test_larger_than_any_network(path: Path) -> None:
    path.write_bytes(bytes(100))
    os.truncate(path, 9 * 2**30)  # sparse
    assert "larger than 8 GiB" in refused(path)


def test_our_own_network_comes_back(path: Path) -> None:
    spec = ResNetSpec("tiny", (1,), (2,), stem=Stem(2, 3, 1, "none"), num_classes=2, image_size=8)
    net = ResNet(spec)
    torch.save(net.state_dict(), path)
    net.load_state_dict(dict(read(path).tensors))
