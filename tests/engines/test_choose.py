"""``auto``: the fastest engine is taken, once measured; few photos are not worth it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from resnets.engines import choose as module
from resnets.engines import open_engine
from resnets.engines.choose import choose
from resnets.engines.table import ENGINES, Kind
from resnets.timings import remember
from resnets.training.inference import Wait
from resnets.training.machine import Machine
from resnets.weights.model_file import Model

CPU = Machine("cpu", "fp32")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESNETS_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "SECONDS", 0.3)
    return tmp_path / "timings"


def remembered(cache: Path) -> dict[str, Any]:
    """Return key and value of the one thing that is remembered."""
    [file] = cache.iterdir()
    return json.loads(file.read_text())  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Sleeper:
    """An engine that takes a known time for each photo."""

    seconds: float
    device: str = "cpu"

    def start(self, images: Tensor) -> Wait:
        time.sleep(self.seconds * len(images))
        return lambda: torch.zeros(len(images), 3)


def slow(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    """Give the engines these times for a photo."""
    monkeypatch.setattr(
        Kind, "open", lambda kind, *_: Sleeper(seconds[kind.module.removeprefix("py")])
    )


def test_the_fastest_is_taken_said_and_remembered(
    model: Model, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    slow(monkeypatch, torch=0.004, openvino=0.0005, onnxruntime=0.002)
    said: list[str] = []
    assert choose(model, CPU, "fp32", None, said.append).name == "openvino"
    [line] = said
    assert line.startswith("engine   openvino: ")
    assert "× torch; --engine for another" in line
    kept = remembered(cache)
    assert set(kept["value"]["rates"]) == set(ENGINES)
    assert "tiny" in kept["key"]
    # Another time nothing is measured, even if it would now come out in another way.
    slow(monkeypatch, torch=0.0, openvino=9.0, onnxruntime=9.0)
    assert choose(model, CPU, "fp32", None, said.append).name == "openvino"
    assert said[1].endswith("× torch, as measured before")


def test_the_default_where_it_is_the_fastest(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, torch=0.0005, openvino=0.004, onnxruntime=0.004)
    said: list[str] = []
    assert choose(model, CPU, "fp32", None, said.append).name == "torch"
    assert "the fastest beside openvino, onnxruntime" in said[0]


def test_a_machine_that_is_too_slow_to_measure_all_of_them(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(monkeypatch, torch=0.4, openvino=0.0, onnxruntime=0.0)
    began = time.perf_counter()
    assert choose(model, CPU, "fp32", None, print).name == "torch"
    assert time.perf_counter() - began < 3  # a first photo, and two


@pytest.mark.parametrize("photos", [0, 1, module.ENOUGH - 1])
def test_few_photos(photos: int, model: Model, cache: Path) -> None:
    said: list[str] = []
    assert open_engine(model, CPU, "auto", photos=photos, say=said.append).name == "torch"
    assert not said
    assert not cache.exists()


def test_another_device_has_one_engine(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, torch=9.0)
    assert choose(model, Machine("cuda", "fp32"), "fp32", None, print).name == "torch"


def test_bf16_is_measured_among_those_that_have_it(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(monkeypatch, torch=0.002, openvino=0.001)  # no onnxruntime, or this were a KeyError
    assert choose(model, CPU, "bf16", None, print).name == "openvino"


@pytest.mark.parametrize(
    "rates", [None, [], {"torch": "fast"}, {"openvino": 3.0}, {"torch": -1.0}, {"torch": 1, "x": 2}]
)
def test_a_memory_that_says_nothing_of_use(
    rates: object, model: Model, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    slow(monkeypatch, torch=0.004, openvino=0.0005, onnxruntime=0.004)
    choose(model, CPU, "fp32", None, print)
    remember(remembered(cache)["key"], {"rates": rates})
    said: list[str] = []
    assert choose(model, CPU, "fp32", None, said.append).name == "openvino"
    assert "before" not in said[0]


def test_real_engines_are_measured(model: Model, cache: Path) -> None:
    ready = open_engine(model, CPU, "auto", photos=module.ENOUGH)
    rates = remembered(cache)["value"]["rates"]
    assert ready.name == max(rates, key=rates.get)
    assert ready.engine.start(torch.randn(2, 3, 24, 24))().shape == (2, 3)
