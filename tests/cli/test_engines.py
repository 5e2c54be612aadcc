"""``--engine`` and ``--precision`` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

from resnets.data.preprocess import Preprocess
from resnets.engines.choose import ENOUGH
from resnets.nn import ResNet
from resnets.spec import ResNetSpec, Stem
from resnets.weights import model_file
from resnets.weights.model_file import Model

Run = Callable[..., tuple[int, str, str]]
SPEC = ResNetSpec("tiny", (1,), (4,), stem=Stem(4, 3, 1, "none"), num_classes=2, image_size=8)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESNETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "timings"


@pytest.fixture
def model(tmp_path: Path, draw: Callable[[nn.Module], None]) -> Path:
    net = ResNet(SPEC)
    draw(net)
    made = Model(SPEC, ("dark", "light"), Preprocess.for_photos(8, 8), net.state_dict())
    model_file.save(made, tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of as many photos as make it worth while to measure, in two classes."""
    noise = np.random.default_rng(0).integers(0, 256, (ENOUGH, 8, 8, 3), np.uint8)
    for number, pixels in enumerate(noise):
        folder = tmp_path / "photos" / ("dark", "light")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return tmp_path / "photos"


def answers(out: str) -> list[list[str]]:
    """Return the rows without their probabilities, of which the last digit may be another."""
    return [row.split("\t")[:2] for row in out.splitlines()]


def test_predict_takes_the_fastest_and_says_so(
    run: Run, model: Path, photos: Path, cache: Path
) -> None:
    status, by_default, err = run("predict", model, photos)
    assert status == 0
    assert len(by_default.splitlines()) == ENOUGH
    [file] = cache.iterdir()
    value = json.loads(file.read_text())["value"]
    best = max(value["rates"], key=value["rates"].get)
    said, speed = err.splitlines()
    assert said.startswith(f"engine   {best}: ")
    assert speed.startswith("speed    ")
    assert speed.endswith(f" images/s ({best}, fp32)")
    for engine in value["rates"]:
        out = run("predict", model, photos, "--engine", engine)[1]
        assert answers(out) == answers(by_default)


def test_few_photos_are_not_worth_it(run: Run, model: Path, photos: Path, cache: Path) -> None:
    status, out, err = run("predict", model, photos / "dark")
    assert (status, len(out.splitlines()), err) == (0, ENOUGH // 2, "")
    assert not cache.exists()


def test_evaluate_with_each(run: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    found = {}
    for engine in ("torch", "openvino", "onnxruntime"):
        options = ("--engine", engine, "--json", tmp_path / "e.json", "--force")
        assert run("evaluate", model, photos, *options)[0] == 0
        found[engine] = json.loads((tmp_path / "e.json").read_text())["top1"]
    assert len(set(found.values())) == 1


def test_bf16(run: Run, model: Path, photos: Path) -> None:
    options = ("--engine", "openvino", "--precision", "bf16")
    status, _, err = run("predict", model, photos, *options)
    assert status == 0
    assert "(openvino, bf16)" in err


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--engine", "tensorrt"), "--engine tensorrt: unknown"),
        (("--precision", "int8"), "takes a model that is quantised, which is made by: resnets"),
        (("--engine", "onnxruntime", "--precision", "bf16"), "has no bf16"),
    ],
    ids=str,
)
def test_what_is_refused(
    verb: str, options: tuple[str, ...], problem: str, run: Run, model: Path, photos: Path
) -> None:
    status, out, err = run(verb, model, photos, *options)
    assert (status, out) == (2, "")
    assert problem in err
    assert len(err.splitlines()) == 1


def test_an_onnx_file(run: Run, model: Path, tmp_path: Path) -> None:
    assert run("convert", model, tmp_path / "m.onnx", "--to", "onnx")[0] == 0
    status, _, err = run("convert", model, tmp_path / "m.onnx", "--to", "onnx")
    assert status == 2
    assert "exists" in err
