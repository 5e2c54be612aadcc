"""int8: made by a command, judged on what training did not see, and used like any model file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import resnets
from resnets import quantization
from resnets.data.sources import open_dataset
from resnets.errors import UserError
from resnets.judging.evaluation import evaluate_model
from resnets.quantization import quantize_model
from resnets.spec import ResNetSpec, Stem
from resnets.weights import model_file

SPEC = ResNetSpec("tiny", (1, 1), (8, 16), stem=Stem(8, 3, 2, "none"), image_size=16)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model of the ten signs that was trained for a moment."""
    out = tmp_path_factory.mktemp("run") / "run"
    return resnets.train("sign-digits", model=SPEC, size=16, epochs=2, out=out, quiet=True).model


@pytest.fixture(scope="module")
def small(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "small.safetensors"
    made = quantize_model(model_file.load(model), "sign-digits", force=True)
    model_file.save(made, path)
    return path


def test_the_record_says_how_it_was_made_and_what_it_lost(model: Path, small: Path) -> None:
    record = model_file.load_any(small).quantization
    before = evaluate_model(model, "sign-digits").evaluation
    after = evaluate_model(small, "sign-digits").evaluation
    judged = record["judged"]
    assert record["engine"] == "openvino"
    assert set(record["versions"]) == {"nncf", "openvino"}
    assert record["calibration"] == {
        "photos": quantization.CALIBRATION,
        "of": "of the training split",
        "data": "sign-digits",
    }
    assert (judged["n"], judged["split"]) == (before.n, "test")
    assert judged["top1_before"] == before.top1
    assert judged["top1_after"] == pytest.approx(after.top1, abs=1e-9)
    assert judged["points_lost"] == pytest.approx(100 * (before.top1 - after.top1))
    assert judged["agreement"] > 0.9


def test_it_answers_nearly_as_before_and_is_smaller(model: Path, small: Path) -> None:
    signs = open_dataset("sign-digits").splits["all"]
    photos = [signs.read(i) for i in range(0, len(signs), 40)]
    before = resnets.load(model, "cpu").probabilities(photos)
    predictor = resnets.load(small)
    assert (predictor.ready.name, predictor.ready.precision) == ("openvino", "int8")
    off = np.abs(predictor.probabilities(photos) - before)
    assert 1e-5 < off.max() < 0.2


def test_photos_are_set_aside_where_none_are_of_training(model: Path) -> None:
    loaded = model_file.load(model)
    stranger = model_file.Model(loaded.spec, loaded.classes, loaded.preprocess, loaded.weights)
    record = quantize_model(stranger, "sign-digits", force=True).quantization
    everything = len(open_dataset("sign-digits").splits["all"])
    assert record["calibration"]["of"] == "set aside, as none are of training"
    assert record["judged"]["n"] == everything - record["calibration"]["photos"]


def test_a_folder_without_training_photos_will_do(model: Path, tmp_path: Path) -> None:
    digits = open_dataset("sign-digits").splits["all"]
    for i in range(0, len(digits), 8):
        folder = tmp_path / ("val", "test")[i // 8 % 2] / str(digits.labels[i])
        folder.mkdir(parents=True, exist_ok=True)
        content = digits.read(i)
        assert isinstance(content, bytes)
        (folder / f"{i}.jpg").write_bytes(content)
    record = quantize_model(model_file.load(model), tmp_path, force=True).quantization
    assert record["calibration"]["of"] == "set aside, as none are of training"
    assert record["judged"]["split"] == "test"


def test_too_great_a_loss_is_refused_and_nothing_written(
    model: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantization, "MOST_LOST", -100.0)
    command = ("convert", model, tmp_path / "x.safetensors", "--precision", "int8", "--data")
    status, _, err = run(*command, "sign-digits")
    assert status == 2
    assert "error: int8 loses " in err.splitlines()[-1]
    assert "more than -100.0: nothing is written; --force does it all the same" in err
    assert not list(tmp_path.iterdir())
    status, _, err = run(*command, "sign-digits", "--force")
    assert status == 0
    assert "warning: int8 loses " in err
    assert (tmp_path / "x.safetensors").exists()


def test_the_verbs_take_it(small: Path, run: Run, tmp_path: Path) -> None:
    assert run("evaluate", small, "sign-digits", "--json", tmp_path / "e.json")[0] == 0
    top1 = model_file.load_any(small).quantization["judged"]["top1_after"]
    assert json.loads((tmp_path / "e.json").read_text())["top1"] == pytest.approx(top1)
    signs = open_dataset("sign-digits").splits["all"]
    content = signs.read(0)
    assert isinstance(content, bytes)
    (tmp_path / "hand.jpg").write_bytes(content)
    status, out, _ = run("predict", small, tmp_path / "hand.jpg")
    assert (status, len(out.splitlines())) == (0, 1)
    status, out, _ = run("describe", small)
    assert status == 0
    assert "quantization.judged.points_lost" in out


def test_what_it_is_not_for(small: Path, run: Run, tmp_path: Path) -> None:
    for options, problem in (
        (("--engine", "torch"), "--engine torch: this model is quantised to int8, which openvino"),
        (("--engine", "onnxruntime"), "--engine onnxruntime: this model is quantised to int8"),
        (("--precision", "bf16"), "--precision bf16: this model is quantised to int8"),
    ):
        status, _, err = run("predict", small, tmp_path, *options)
        assert status == 2
        assert problem in err
    for command in (
        ("train", "sign-digits", "--weights", small),
        ("convert", small, tmp_path / "x.onnx", "--to", "onnx"),
        ("convert", small, tmp_path / "x.safetensors"),
    ):
        status, _, err = run(*command)
        assert status == 2
        assert f"{small}: is quantised to int8, for predict and evaluate only" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--precision", "int4"), "--precision int4: a model file is in fp32, or else in int8"),
        (("--precision", "int8"), "--precision int8: needs --data"),
        (("--data", "sign-digits"), "--data sign-digits: is for --precision int8"),
    ],
    ids=str,
)
def test_options_that_do_not_go_together(
    options: tuple[str, ...], problem: str, model: Path, run: Run, tmp_path: Path
) -> None:
    status, _, err = run("convert", model, tmp_path / "x.safetensors", *options)
    assert status == 2
    assert problem in err


def test_other_projects_have_no_int8(model: Path, run: Run, tmp_path: Path) -> None:
    options = ("--to", "onnx", "--precision", "int8", "--data", "sign-digits")
    status, _, err = run("convert", model, tmp_path / "x.onnx", *options)
    assert status == 2
    assert "--precision int8: is for a model file; leave --to out" in err


def test_data_of_other_classes(model: Path, tmp_path: Path) -> None:
    signs = open_dataset("sign-digits").splits["all"]
    content = signs.read(0)
    assert isinstance(content, bytes)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "1.jpg").write_bytes(content)
    with pytest.raises(UserError, match="classes of the data are not the model's"):
        quantize_model(model_file.load(model), tmp_path / "photos")


@pytest.mark.parametrize("name", ["onnx", "openvino", "nncf"])
def test_a_library_that_is_not_there(
    name: str, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    problem = rf"--precision int8 needs {name}; pip install 'resnets\[export\]'"
    with pytest.raises(UserError, match=problem):  # and not that the data is missing
        quantize_model(model_file.load(model), tmp_path / "none")
