"""`models`, `describe` and `convert`: what they print, write and refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

import resnets
from resnets.data.preprocess import Preprocess
from resnets.diagram import draw
from resnets.weights import model_file
from resnets.weights.model_file import Model
from resnets.zoo import ZOO, get_spec

Run = Callable[..., tuple[int, str, str]]


# -- models and describe --------------------------------------------------------------------------


def test_models_lists_every_row_with_its_counts(run: Run) -> None:
    status, out, _ = run("models", "--json", "-")
    rows = {row["name"]: row for row in json.loads(out)}
    assert status == 0
    assert list(rows) == list(ZOO)
    assert rows["resnet50"]["params"] == 25_557_032
    assert rows["resnet50"]["macs"] == 4_089_184_256
    sources = {figure["source"] for figure in rows["resnet50"]["published"]}
    assert "torchvision 0.29 models/resnet.py" in sources
    assert rows["tutorial_keras"]["flaws"]


def test_models_takes_a_part_of_a_name_or_a_pattern(run: Run) -> None:
    _, out, _ = run("models", "wrn")
    assert [line.split()[0] for line in out.splitlines()[1:]] == [
        *("wrn_16_8", "wrn_28_10", "wrn_40_4")
    ]
    _, out, _ = run("models", "resnet?8_v2")
    assert out.splitlines()[1].split()[:3] == ["resnet18_v2", "18", "11,687,720"]
    status, _, error = run("models", "vgg")
    assert status == 2
    assert "no model matches 'vgg'" in error


def test_a_pipe_gets_every_column_of_models_whole(run: Run) -> None:
    _, out, _ = run("models")
    lines = out.splitlines()
    assert lines[0].split() == ["model", "depth", "parameters", "GMACs", "at"]
    assert not [line for line in lines if "…" in line]
    assert len(lines) == len(ZOO) + 1


def test_names_in_a_file_are_no_markup(run: Run, tmp_path: Path) -> None:
    net = resnets.create_model("resnet20", num_classes=2)
    model = Model(net.spec, ("[/x]", "[red]"), Preprocess(32, 32), net.state_dict(), licence="[b]")
    model_file.save(model, tmp_path / "m.safetensors")
    status, out, _ = run("describe", str(tmp_path / "m.safetensors"))
    assert status == 0
    assert all(name in out for name in ("[/x]", "[red]", "[b]"))


def test_describe_gives_stages_and_sources(run: Run) -> None:
    _, out, _ = run("describe", "resnet50", "--size", "320", "--json", "-")
    values = json.loads(out)
    assert values["input"] == [3, 320, 320]
    assert [stage["name"] for stage in values["stages"]] == [
        *("stem", "layer1", "layer2", "layer3", "layer4", "head")
    ]
    assert sum(stage["params"] for stage in values["stages"]) == values["params"]
    assert sum(stage["macs"] for stage in values["stages"]) == values["macs"]
    assert values["stages"][4] == values["stages"][4] | {
        "shape": [2048, 10, 10],
        "blocks": 3,
        "stride": 32,
        "receptive_field": 427,
    }
    _, out, _ = run("describe", "tutorial_pytorch")
    assert "flaw: One block of 3→64 channels is not a network" in out


def test_neither_loads_torch() -> None:
    code = (
        "import sys; from resnets.cli import main\n"
        "sys.argv = ['resnets', 'describe', 'resnet50', '--diagram', sys.argv[1]]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, "/dev/null/x"], check=True, capture_output=True)


@pytest.mark.parametrize("name", ZOO)
def test_every_row_can_be_drawn(name: str) -> None:
    spec = get_spec(name)
    root = ElementTree.fromstring(draw(spec, spec.image_size))
    text = " ".join(root.itertext())
    assert name in text
    assert f"{spec.params():,} parameters" in text


def test_a_diagram_is_written_and_not_over_another(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "r.svg"
    assert run("describe", "resnet18", "--diagram", path)[0] == 0
    assert path.read_text().startswith("<svg")
    assert run("describe", "resnet18", "--diagram", tmp_path / "r.png")[0] == 2
    assert not (tmp_path / "r.png").exists()
    run("describe", "tutorial_keras", "--diagram", tmp_path / "t.svg")
    assert all(
        word in (tmp_path / "t.svg").read_text() for word in ("No activation follows", "biases")
    )
    status, _, error = run("describe", "resnet18", "--diagram", path)
    assert status == 2
    assert "exists" in error


# -- convert --------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    state = {
        f"module.{name.replace('fc.', 'linear.')}": value
        for name, value in resnets.create_model("resnet20").state_dict().items()
    }
    torch.save({"state_dict": state, "best_prec1": 10.0}, tmp_path / "x.th")
    return tmp_path / "x.th"


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")
def test_a_checkpoint_becomes_a_model_file_and_another_projects_again(
    run: Run, checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    status, _, said = run("convert", checkpoint, path, "--licence", "BSD-2-Clause")
    assert status == 0, said
    assert "resnet20, in the names of cifar" in said
    assert "plain20" in said
    model = model_file.load(path)
    assert (model.licence, model.classes[0]) == ("BSD-2-Clause", "airplane")
    assert run("describe", path)[1].count("BSD-2-Clause") == 1
    status, _, error = run("convert", path, tmp_path / "out", "--to", "timm")
    assert status == 2
    assert "timm has no network that is this resnet20" in error
    status, _, said = run("convert", path, tmp_path / "x.weights.h5", "--to", "keras")
    assert status == 0, said
    assert (tmp_path / "x.weights.h5").stat().st_size > 1_000_000


def test_names_of_classes_from_a_file(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    names = [f"kind {i}" for i in range(10)]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    path = tmp_path / "m.safetensors"
    assert run("convert", checkpoint, path, "--classes", tmp_path / "names.txt")[0] == 0
    assert list(model_file.load(path).classes) == names


@pytest.mark.parametrize(
    ("target", "options", "word"),
    [
        ("m.bin", [], "a model file ends in .safetensors"),
        ("x.th", ["--to", "torchvision"], "exists"),
        ("m.safetensors", ["--arch", "resnet18"], "are a resnet20's, and do not fit resnet18"),
        ("m.safetensors", ["--preprocess", "tim"], "did you mean timm"),
        ("m.safetensors", ["--classes", "gone.txt"], "gone.txt"),
        ("m.safetensors", ["--classes", "."], "--classes .: Is a directory; a text file is needed"),
        ("m.safetensors", ["--to", "tensorflow"], "--to tensorflow: unknown"),
    ],
)
def test_what_cannot_be_converted(
    run: Run, checkpoint: Path, tmp_path: Path, target: str, options: list[str], word: str
) -> None:
    before = sorted(tmp_path.iterdir())
    status, _, error = run("convert", checkpoint, tmp_path / target, *options)
    assert status == 2
    assert word in error.splitlines()[-1]
    assert sorted(tmp_path.iterdir()) == before
