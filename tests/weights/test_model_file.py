"""The model file: what goes in comes out, and nothing else ever does."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from resnets.data.preprocess import Preprocess
from resnets.errors import UserError
from resnets.nn import ResNet
from resnets.spec import Head, ResNetSpec, Stem
from resnets.weights import model_file
from resnets.weights.model_file import Model, load, save

TINY = ResNetSpec("tiny", (1,), (2,), stem=Stem(2, 3, 1, "none"), num_classes=2, image_size=8)


def make(spec: ResNetSpec = TINY, **fields: Any) -> Model:
    torch.manual_seed(0)
    net = ResNet(spec)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            value.normal_()
        else:
            value.fill_(12_345)
        if name.endswith("running_var"):
            value.abs_()
    settled: dict[str, Any] = {
        "spec": spec,
        "classes": ("Katze", "犬 \N{DOG FACE}"),
        "preprocess": Preprocess.for_photos(8, 9),
        "weights": net.state_dict(),
        "recipe": {"name": "quick", "lr": 0.1, "milestones": [0.5, 0.75]},
        "metrics": {"top1": 0.975, "n": 206},
        "data": {"name": "photos", "fingerprint": "0123abcd"},
        "licence": 'Apache-2.0, "quoted"\nand a second line',
        "versions": {"resnets": "0.1.0"},
    }
    return Model(**settled | fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    save(make(), file)
    return file


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    save(make(), file)
    return file.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file to write over and over."""
    return tmp_path_factory.mktemp("scratch") / "model.safetensors"


def assert_equal(found: Model, expected: Model) -> None:
    assert found.describe() == expected.describe()
    assert (found.spec, found.classes) == (expected.spec, expected.classes)
    assert found.preprocess == expected.preprocess
    assert sorted(found.weights) == sorted(expected.weights)
    for name, value in expected.weights.items():
        other = found.weights[name]
        assert (other.dtype, other.shape) == (value.dtype, value.shape)
        assert other.numpy().tobytes() == value.contiguous().numpy().tobytes(), name


def refused(path: Path | str) -> str:
    """Return the one line with which a file is refused, without the path."""
    with pytest.raises(UserError) as caught:
        load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    assert len(text) < len(str(path)) + 400
    return text.removeprefix(f"{path}: ")


# -- round trip -----------------------------------------------------------------------------------


def test_everything_comes_back(path: Path) -> None:
    assert_equal(load(path), make())
    assert_equal(load(str(path)), make())


def test_defaults_come_back(tmp_path: Path) -> None:
    model = Model(TINY, ("a", "b"), Preprocess.for_photos(8, 8), make().weights)
    save(model, tmp_path / "m")
    assert_equal(load(tmp_path / "m"), model)


def test_the_bits_of_every_weight_come_back(tmp_path: Path) -> None:
    weights = dict(make().weights)
    weights["layer1.0.bn1.bias"] = torch.tensor([-0.0, 1e-42])  # which is subnormal
    save(make(weights=weights), tmp_path / "m")
    assert_equal(load(tmp_path / "m"), make(weights=weights))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_neither_written_nor_read(
    value: float, tmp_path: Path
) -> None:
    weights = dict(make().weights)
    weights["layer1.0.bn1.weight"] = torch.tensor([1.0, value])
    model = make(weights=weights)
    with pytest.raises(UserError, match="holds NaN or infinity"):
        save(model, tmp_path / "m")
    assert not list(tmp_path.iterdir())
    assert forge(tmp_path / "m", changed(), model) == "layer1.0.bn1.weight holds NaN or infinity"


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.complex64])
def test_weights_of_another_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    weights = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in make().weights.items()
    }
    text = forge(tmp_path / "m", changed(), make(weights=weights))
    assert f"has dtype {dtype}, not torch.float32" in text


def test_weights_of_another_layout_or_in_training_come_back(tmp_path: Path) -> None:
    net = make().network().train().to(memory_format=torch.channels_last)
    save(make(weights=dict(net.named_parameters()) | dict(net.named_buffers())), tmp_path / "m")
    assert_equal(load(tmp_path / "m"), make())


def test_the_same_model_is_the_same_bytes(path: Path, tmp_path: Path) -> None:
    # Many times, as a random order would often come out the same.
    for _ in range(10):
        save(load(path), tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_odd_characters_come_back(tmp_path: Path) -> None:
    odd = "".join(map(chr, range(1, 0x100))) + "\u2028\ufeff\uffff\U0010ffff" + '\\"/'
    no_utf8 = os.fsdecode(b"caf\xe9")
    model = make(classes=(odd, "\0"), licence=odd, data={"name": no_utf8})
    save(model, tmp_path / "m")
    assert_equal(load(tmp_path / "m"), model)


def test_the_network_is_ready_to_use(path: Path) -> None:
    net = load(path).network()
    assert not net.training
    assert net.spec == TINY
    assert all(p.requires_grad and p.device.type == "cpu" for p in net.parameters())
    torch.manual_seed(3)
    x = torch.randn(2, 3, 8, 8)
    reference = ResNet(TINY).eval()
    reference.load_state_dict(dict(make().weights))
    with torch.no_grad():
        assert torch.equal(net(x), reference(x))


def test_other_tools_can_read_it(path: Path) -> None:
    assert sorted(load_file(path)) == sorted(make().weights)
    with safetensors.safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["resnets"])
    assert header == make().describe()
    assert header["format"] == "1"
    assert header["classes"][1] == "犬 \N{DOG FACE}"


def test_what_is_loaded_does_not_hang_on_the_file(path: Path) -> None:
    # Tensors may be views of the mapped file, and would then change, or crash, with it.
    model = load(path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(bytes(size))
    assert_equal(model, make())
    path.unlink()
    assert_equal(model, make())


# -- writing --------------------------------------------------------------------------------------


def test_saving_leaves_nothing_but_the_file(path: Path) -> None:
    assert os.listdir(path.parent) == [path.name]
    save(make(metrics={"top1": 1.0}), path)
    assert os.listdir(path.parent) == [path.name]
    assert load(path).metrics == {"top1": 1.0}


def test_a_full_disk_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tensors: Any, file: Path, metadata: Any) -> None:
        file.write_bytes(b"half of it")
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(model_file, "save_file", fail)
    with pytest.raises(UserError, match=r"cannot write .*No space left on device"):
        save(make(metrics={}), path)
    assert os.listdir(path.parent) == [path.name]
    assert_equal(load(path), make())


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*No such file or directory"):
        save(make(), tmp_path / "none" / "model.safetensors")


def test_numbers_that_json_lacks_are_refused_before_anything_is_written(path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        save(make(metrics={"loss": float("nan")}), path)
    assert os.listdir(path.parent) == [path.name]
    assert_equal(load(path), make())


# -- damage ---------------------------------------------------------------------------------------


def test_no_part_of_a_file_is_enough(content: bytes, scratch: Path) -> None:
    lengths = {*range(24), *range(24, len(content), 37), *range(len(content) - 24, len(content))}
    for length in sorted(lengths):
        scratch.write_bytes(content[:length])
        text = refused(scratch)
        assert text.startswith("truncated"), (length, text)


@pytest.mark.parametrize("extra", [b"\0", b"x" * 1000])
def test_more_than_the_file_is_refused(content: bytes, extra: bytes, scratch: Path) -> None:
    scratch.write_bytes(content + extra)
    assert refused(scratch).startswith("truncated or damaged")


def test_no_byte_can_change(content: bytes, scratch: Path) -> None:
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        scratch.write_bytes(changed)
        refused(scratch)


@given(position=st.integers(0, 2**16), value=st.integers(0, 255))
@example(position=-1, value=0)
@settings(max_examples=300)
def test_no_byte_can_be_replaced(position: int, value: int, content: bytes, scratch: Path) -> None:
    changed = bytearray(content)
    changed[position % len(content)] = value
    scratch.write_bytes(changed)
    header = 8 + int.from_bytes(content[:8], "little")
    # The header is padded with spaces, and other white space there says the same.
    padding = range(len(content[:header].rstrip()), header)
    if changed == content or (position % len(content) in padding and chr(value).isspace()):
        assert_equal(load(scratch), make())
    else:
        refused(scratch)


@given(
    start=st.integers(0, 2**16),
    piece=st.binary(max_size=40),
    length=st.integers(0, 60),
)
@settings(max_examples=200)
def test_no_piece_can_be_replaced(
    start: int, piece: bytes, length: int, content: bytes, scratch: Path
) -> None:
    start %= len(content)
    changed = content[:start] + piece + content[start + length :]
    if changed != content:
        scratch.write_bytes(changed)
        refused(scratch)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"F32"', b'"I32"'), (b'"I64"', b'"F64"'), (b"[2,3,3,3]", b"[3,2,3,3]")],
)
def test_numbers_that_are_read_as_others_are_noticed(
    old: bytes, new: bytes, content: bytes, scratch: Path
) -> None:
    assert old in content
    scratch.write_bytes(content.replace(old, new, 1))
    assert "SHA-256" in refused(scratch)


def test_weights_that_trade_places_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m"
    save(make(), path)
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    weights = dict(make().weights)
    a, b = "layer1.0.bn1.weight", "layer1.0.bn2.weight"
    weights[a], weights[b] = weights[b], weights[a]
    save_file(weights, path, metadata=metadata)
    assert "SHA-256" in refused(path)


# -- files of another kind ------------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.safetensors") == "No such file or directory"


def test_a_name_that_no_file_can_have() -> None:
    with pytest.raises(UserError, match=r"^'a.x00b': embedded null byte$"):
        load("a\0b")


def test_a_path_through_a_file(path: Path) -> None:
    assert refused(path / "model.safetensors") == "Not a directory"


def test_a_folder(tmp_path: Path) -> None:
    assert refused(tmp_path) == "a folder, not a model file"


def test_a_run_folder_gets_a_hint(tmp_path: Path) -> None:
    best = tmp_path / "best.safetensors"
    save(make(), best)
    assert refused(tmp_path) == f"a folder, not a model file; did you mean {best}?"


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "m").touch()
    assert refused(tmp_path / "m") == "truncated (0 bytes)"


class Bomb:
    """Unpickling it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def _old_torch(trace: Path, file: Path) -> None:
    torch.save({"bomb": Bomb(trace)}, file, _use_new_zipfile_serialization=False)


PICKLES: dict[str, Callable[[Path, Path], object]] = {
    "torch": lambda trace, file: torch.save({"bomb": Bomb(trace)}, file),
    "old torch": _old_torch,
    **{
        f"protocol {n}": lambda trace, file, n=n: file.write_bytes(pickle.dumps(Bomb(trace), n))
        for n in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("write", PICKLES.values(), ids=PICKLES)
def test_a_pickle_is_never_unpickled(write: Callable[[Path, Path], object], tmp_path: Path) -> None:
    trace, file = tmp_path / "trace", tmp_path / "model.safetensors"
    write(trace, file)
    text = refused(file)
    assert text.startswith(("a pickle or archive", "not a safetensors file"))
    assert not trace.exists()


@pytest.mark.parametrize("name", ["torch", "old torch", "protocol 2", "protocol 5"])
def test_the_usual_pickles_are_called_so(name: str, tmp_path: Path) -> None:
    PICKLES[name](tmp_path / "trace", tmp_path / "m")
    assert refused(tmp_path / "m").startswith("a pickle")


def test_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("these are not the weights")
    assert refused(tmp_path / "m") == "not a safetensors file (starts with b'these ar')"


def test_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m", "w") as archive:
        archive.writestr("weights", b"0")
    refused(tmp_path / "m")


@pytest.mark.parametrize("length", [2**27, 2**60, 2**63, 2**64 - 1])
def test_a_header_that_claims_to_be_huge(length: int, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(struct.pack("<Q", length) + b"{}")
    assert refused(tmp_path / "m").startswith("not a safetensors file")


def test_a_header_that_claims_to_be_longer_than_the_file(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(struct.pack("<Q", 2**20) + b"{}")
    assert refused(tmp_path / "m").startswith("truncated or damaged")


def test_weights_that_claim_to_be_huge(tmp_path: Path) -> None:
    header = {"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    text = json.dumps(header).encode()
    (tmp_path / "m").write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))
    assert refused(tmp_path / "m").startswith("truncated or damaged")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_safetensors_file_of_another_program(
    metadata: dict[str, str] | None, tmp_path: Path
) -> None:
    save_file(dict(make().weights), tmp_path / "m", metadata=metadata)
    assert refused(tmp_path / "m").startswith("a safetensors file, but not a resnets model file")


# -- a right digest over wrong content ------------------------------------------------------------


def forge(path: Path, text: str, model: Model | None = None) -> str:
    """Write a file whose digest is right, whatever it says, and return how it is refused."""
    tensors = dict((model or make()).weights)
    digest = model_file._digest(text, tensors)
    save_file(tensors, path, metadata={"resnets": text, "sha256": digest})
    return refused(path)


def changed(**values: Any) -> str:
    return json.dumps(make().describe() | values)


def test_a_forgery_without_changes_loads(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        forge(tmp_path / "m", changed())


@pytest.mark.parametrize("value", ["2", 1, None])
def test_another_format(value: object, tmp_path: Path) -> None:
    text = forge(tmp_path / "m", changed(format=value))
    assert text == f"format {value!r}, and this version reads '1'; a newer resnets may read it"


@pytest.mark.parametrize("classes", [["a"], ["a", "b", "c"], []])
def test_more_or_fewer_classes_than_outputs(classes: list[str], tmp_path: Path) -> None:
    text = forge(tmp_path / "m", changed(classes=classes))
    assert text == f"{len(classes)} class names for 2 outputs"


def test_photos_that_the_network_does_not_take(tmp_path: Path) -> None:
    grey = Preprocess.for_photos(8, 8, channels=1).to_dict()
    text = forge(tmp_path / "m", changed(preprocess=grey))
    assert text == "photos with 1 channels for a network that takes 3"


@pytest.mark.parametrize("changes", [{"widths": (4,)}, {"depths": (2,)}, {"in_channels": 1}])
def test_weights_that_do_not_fit_the_spec(changes: dict[str, Any], tmp_path: Path) -> None:
    spec = TINY.replace(**changes)
    preprocess = Preprocess.for_photos(8, 8, spec.in_channels).to_dict()
    text = forge(tmp_path / "m", changed(spec=spec.to_dict(), preprocess=preprocess))
    assert text.startswith("weights do not fit the spec (")


def test_a_network_of_more_layers_than_there_are_tensors_is_not_built(tmp_path: Path) -> None:
    text = forge(tmp_path / "m", changed(spec=TINY.replace(depths=(4096,)).to_dict()))
    assert text.startswith("weights do not fit the spec (it has more convolutions than")


@pytest.mark.parametrize(
    "changes",
    [
        {"widths": (2**20,)},
        {"image_size": 2**20, "head": Head("all")},
        {"attention": "se", "se_ratio": 2.0**20},
        {"stem": Stem(2**20, 2**20 - 1)},
    ],
    ids=str,
)
def test_layers_that_are_too_large_to_build(changes: dict[str, Any], tmp_path: Path) -> None:
    text = forge(tmp_path / "m", changed(spec=TINY.replace(**changes).to_dict()))
    assert text.startswith("weights do not fit the spec (")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"depths": [200_000, 3, 3], "widths": [2, 2, 2]}, "are more than 4096 blocks"),
        ({"depths": [10**4000]}, "depths=10000"),
        ({"widths": [10**30]}, f"widths={10**30} is more than 1048576"),
        ({"attention": "se", "se_ratio": 1e308}, "se_ratio=1e+308 is not a positive number"),
        ({"norm": "group"}, "norm='group' needs a multiple of 32 channels"),
        ({"block": "bottleneck", "group_width": 1}, "group_width=1 leaves no channels"),
        ({"shortcut": "A", "entries": [{"width": 9}]}, "only pads, and cannot take 9 channels"),
    ],
    ids=str,
)
def test_a_spec_that_no_network_can_have(
    changes: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    text = forge(tmp_path / "m", changed(spec=TINY.to_dict() | changes))
    assert text.startswith("not a complete model file (")
    assert problem in text


@pytest.mark.parametrize("name", sorted(make().describe()))
def test_a_field_that_is_missing(name: str, tmp_path: Path) -> None:
    values = {k: v for k, v in make().describe().items() if k != name}
    text = forge(tmp_path / "m", json.dumps(values))
    assert text == f"not a complete model file ({name!r})"


SPEC, PREPROCESS = TINY.to_dict(), Preprocess.for_photos(8, 9).to_dict()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "null",
        "[]",
        "1",
        '"resnets"',
        "{}",
        "[" * 100_000,
        changed(spec=None),
        changed(spec={}),
        changed(spec=SPEC | {"block": "wide"}),
        changed(spec=SPEC | {"depths": [1.0]}),
        changed(spec=SPEC | {"stem": SPEC["stem"] | {"kernel": 0}}),
        changed(spec=SPEC | {"shortcut": "A", "widths": [1]}),
        changed(preprocess=None),
        changed(preprocess=[8, 8]),
        changed(preprocess=PREPROCESS | {"mean": ["a", "b", "c"]}),
        changed(preprocess=PREPROCESS | {"size": 8.5}),
        changed(preprocess=PREPROCESS | {"colour": 3}),
        changed(preprocess=PREPROCESS | {"resize": 8192}),
        changed(task="segment"),
        changed(task=["classify"]),
        changed(task="x" * 10_000),
        *(changed(**{n: v}) for n in model_file.RECORDS for v in ([["a", 1]], "text", None)),
        changed(licence=None),
        changed(licence={"name": "MIT"}),
        changed(classes=None),
        changed(classes="ab"),
        changed(classes=[1, 2]),
        changed(classes=["a", "a"]),
    ],
    ids=lambda text: text[:40] if len(text) < 40 else "",
)
def test_a_header_of_the_wrong_kind(text: str, tmp_path: Path) -> None:
    assert forge(tmp_path / "m", text).startswith("not a complete model file (")


def test_nothing_named_in_a_header_is_imported(tmp_path: Path) -> None:
    text = changed(spec=SPEC | {"__class__": "os.system", "stem": {"__import__": "this"}})
    assert forge(tmp_path / "m", text).startswith("not a complete model file (")


def test_weights_of_a_kind_that_cannot_be_trained(tmp_path: Path) -> None:
    weights = {name: value.to(torch.int64) for name, value in make().weights.items()}
    text = forge(tmp_path / "m", changed(), make(weights=weights))
    assert text.endswith("has dtype torch.int64, not torch.float32")
