"""What `--speed` means, and choosing on real steps of a network small enough for a moment."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resnets.console import Console
from resnets.data.cache import ImageCache, Storage
from resnets.data.images import DecodeError
from resnets.data.plan import Plan
from resnets.data.preprocess import Preprocess
from resnets.data.samples import ArrayReader, Samples
from resnets.errors import UserError
from resnets.nn import ResNet, winograd
from resnets.spec import ResNetSpec, Stem
from resnets.tasks.classify import Classify
from resnets.timings import remember
from resnets.training import search, speed
from resnets.training.distributed import Alone
from resnets.training.machine import Machine
from resnets.training.recipe import Recipe
from resnets.training.speed import Speed, choose_speed
from resnets.training.trial import TIMED, Trial

SPEC = ResNetSpec("tiny", (1, 1), (8, 16), stem=Stem(8, 3, 1, pool="none"), num_classes=2)
WIDER = ResNetSpec("wider", (1,), (32,), stem=Stem(32, 3, 1, pool="none"), num_classes=2)
RECIPE = Recipe("test", epochs=100_000, batch_size=8, ema=0.9, mixup=0.3, crop="none")


def make(
    recipe: Recipe = RECIPE, machine: Machine | None = None, n: int = 37, **more: Any
) -> Trial:
    """Return a trial on `n` photos of noise in two classes."""
    images = np.random.default_rng(0).integers(0, 255, (n, 12, 12, 3)).astype(np.uint8)
    reader = ArrayReader((images,), ("memory",))
    samples = Samples(tuple(map(str, range(n))), np.arange(n) % 2, reader)
    torch.manual_seed(0)
    return Trial(
        machine or Machine("cpu", threads=1),
        ResNet(more.pop("spec", SPEC)),
        Classify.for_labels(("a", "b"), samples.labels, 0.1, "none"),
        recipe,
        Plan(n, recipe.batch_size, 0),
        ImageCache(samples, Preprocess.for_photos(12, 12), Storage("memory")),
        Alone(),
        more.pop("say", lambda text: None),
        **more,
    )


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESNETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "timings"


# -- what the user says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "canonical"),
    [
        ("auto", "auto"),
        ("exact", "exact"),
        ("precision=bf16,threads=3", "precision=bf16,threads=3"),
        ("exact, compile=true", "compile=true"),
        ("Layout=channels_last,auto", "auto,layout=channels-last"),
        ({"precision": "bf16", "compile": True, "threads": 2}, None),
        ({"layout": "contiguous"}, "layout=contiguous"),
        ({}, "exact"),
    ],
)
def test_it_is_read_and_written(said: Any, canonical: str | None) -> None:
    speed = Speed.parse(said)
    assert str(speed) == (canonical or "precision=bf16,compile=true,threads=2")
    assert Speed.parse(str(speed)) == speed
    assert speed.measured == ("auto" in str(speed))


def test_settings_are_the_machines() -> None:
    machine = Machine("cpu", threads=1)
    assert Speed.parse("exact").on(machine) == machine
    assert Speed.parse("convolution=winograd").on(machine).convolution == "winograd"
    said = "precision=bf16,compile=graphs,layout=contiguous,threads=4"
    assert Speed.parse(said).on(machine) == Machine("cpu", "bf16", True, 4, "contiguous", True)


@pytest.mark.parametrize("said", ["", "auto,exact", "threads", "threads=-1", "threads=two", "x=1"])
def test_nonsense_is_one_line(said: str) -> None:
    with pytest.raises(UserError, match="--speed") as caught:
        Speed.parse(said)
    assert "\n" not in str(caught.value)


# -- trials ---------------------------------------------------------------------------------------


def test_a_trial_times_real_steps_and_changes_nothing() -> None:
    trial = make()
    before = {name: value.clone() for name, value in trial.net.state_dict().items()}
    layout = [value.stride() for value in trial.net.parameters()]
    random = torch.get_rng_state()
    found = trial.measure(Machine("cpu", "bf16", threads=1, layout="contiguous"), 0.05)
    assert found["step"] > 0
    assert found["first"] >= 0
    assert torch.equal(torch.get_rng_state(), random)
    assert [value.stride() for value in trial.net.parameters()] == layout
    assert trial.net.training
    assert all(parameter.grad is None for parameter in trial.net.parameters())
    for name, value in trial.net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_as_many_steps_are_timed_as_there_is_time_for() -> None:
    now = iter(range(1000))
    for allowance, steps in ((0.0, 1), (3.5, 3), (1e6, TIMED)):
        began = next(now)
        found = make(clock=lambda: float(next(now))).measure(Machine("cpu", threads=1), allowance)
        assert (next(now) - began - 1) / 2 == 1 + steps
        assert found == {"step": 1.0, "first": 0.0}


def test_a_candidate_that_fails_is_dropped_with_a_line() -> None:
    said: list[str] = []
    trial = make(say=said.append)
    found = trial.measure(Machine("nowhere", threads=1), 0.1)
    assert set(found) == {"dropped"}
    assert len(said) == 1
    assert said[0].startswith("speed    not channels-last, fp32, 1 thread: ")
    assert "\n" not in said[0]


def test_other_arithmetic_agrees_with_fp32() -> None:
    for change in ({"precision": "bf16"}, {"convolution": "winograd"}):
        trial = make(spec=WIDER)
        assert trial.disagreement(dataclasses.replace(trial.machine, **change)) == ""
        assert len({*trial._found.values()}) == 2  # it is another arithmetic


@pytest.mark.parametrize(
    ("spoilt", "what"), [(1.2, "the loss is"), (float("nan"), "the loss is"), (None, "norm")]
)
def test_bf16_that_computes_something_else_is_refused(
    spoilt: float | None, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As kernels with a mistake would."""
    original = Classify.loss

    def loss(self: Classify, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        wrong = outputs.dtype == torch.bfloat16
        if spoilt is None:  # the same value, with four times the slope
            outputs = 4 * outputs - 3 * outputs.detach() if wrong else outputs
            return original(self, outputs, targets)
        return original(self, outputs, targets) * (spoilt if wrong else 1.0)

    monkeypatch.setattr(Classify, "loss", loss)
    said: list[str] = []
    trial = make(say=said.append)
    found = trial.measure(dataclasses.replace(trial.machine, precision="bf16"), 0.1)
    assert what in found["dropped"]
    assert len(said) == 1
    assert "step" in make().measure(Machine("cpu", threads=1), 0.1)
    # Who has asked for it is warned, and gets it.
    mine = make(machine=Machine("cpu", "bf16", threads=1))
    assert what in mine.disagreement(mine.machine)
    assert "step" in mine.measure(mine.machine, 0.1)


def test_photos_that_do_not_decode_decide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Preprocess, source: Any) -> Any:
        raise DecodeError("broken")

    monkeypatch.setattr(Preprocess, "prepare_sized", broken)
    trial = make()
    assert trial.disagreement(Machine("cpu", "bf16", threads=1)) == ""
    assert "dropped" in trial.measure(trial.machine, 0.1)


def test_shapes_that_a_compiler_has_to_make() -> None:
    def shapes(n: int, batch: int, **fields: Any) -> int:
        return make(dataclasses.replace(RECIPE, batch_size=batch, **fields), n=n).shapes

    assert shapes(40, 8) == 1
    assert shapes(37, 8) == 2  # batches of 7 and 8
    assert shapes(40, 10, accumulate=3) == 2  # parts of 3 and 4
    assert shapes(40, 8, head_epochs=2) == 1  # the classifier alone is not compiled
    assert shapes(37, 8, grow=(0.5, 0.75, 1.0)) == 6  # each size of photos for each of batches


# -- choosing -------------------------------------------------------------------------------------


def test_a_measured_choice_is_said_kept_and_used_again(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speed, trial = Speed.parse("auto,compile=false"), make()
    chosen = choose_speed(speed, trial, Console())
    said = capsys.readouterr().err
    assert said.startswith(f"speed    {chosen.manner()}: ")
    assert "× the default's" in said
    assert "(timed in" in said
    assert (chosen.device, chosen.compile) == ("cpu", False)
    again = make(clock=lambda: pytest.fail("it was timed again"))
    assert choose_speed(speed, again, Console()) == chosen
    assert "(timed before)" in capsys.readouterr().err
    # A run of another length uses the same timings, where they are enough.
    longer = dataclasses.replace(again, recipe=dataclasses.replace(RECIPE, epochs=99_999))
    assert choose_speed(speed, longer, Console()) == chosen
    (file,) = cache.iterdir()
    key = json.loads(file.read_text())["key"]
    for value in ({"trials": 3}, {"trials": {}, "choices": {"x": [1, 2, 3]}}, {"trials": {"a": 1}}):
        remember(key, value)
        choose_speed(speed, make(), Console())
        assert "(timed in" in capsys.readouterr().err
    file.write_text("{")
    choose_speed(speed, make(), Console())
    assert "(timed in" in capsys.readouterr().err


def test_that_a_run_is_short_is_kept_too(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=40)  # 200 steps
    now = [0.0]

    def clock() -> float:
        now[0] += 0.1
        return now[0]

    auto = Speed.parse("auto")
    trial = make(recipe, clock=clock)
    assert choose_speed(auto, trial, Console()) == trial.machine
    assert "a short run" in capsys.readouterr().err
    again = make(recipe, clock=lambda: pytest.fail("it was timed again"))
    assert choose_speed(auto, again, Console()) == trial.machine
    assert len(list(cache.iterdir())) == 1


def test_another_network_or_recipe_is_measured_anew(cache: Path) -> None:
    speed = Speed.parse("auto,compile=false,layout=contiguous,precision=fp32")
    for number, recipe in enumerate((RECIPE, dataclasses.replace(RECIPE, optimizer="adamw"))):
        choose_speed(speed, make(recipe, speed.on(Machine("cpu", threads=1))), Console())
        assert len(list(cache.iterdir())) == number + 1


@pytest.mark.parametrize(
    ("said", "epochs"), [("exact", 100_000), ("layout=contiguous", 100_000), ("auto", 1)]
)
def test_nothing_is_timed_where_nobody_wants_or_it_cannot_pay(
    said: str, epochs: int, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speed = Speed.parse(said)
    machine = speed.on(Machine("cpu", threads=1))
    recipe = dataclasses.replace(RECIPE, epochs=epochs)
    trial = make(recipe, machine, clock=lambda: pytest.fail("it was timed"))
    assert choose_speed(speed, trial, Console()) == machine
    assert machine.manner() in capsys.readouterr().err
    assert not cache.exists()


def test_bf16_that_is_asked_for_is_taken_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speed = Speed.parse("precision=bf16")
    trial = make(machine=speed.on(Machine("cpu", threads=1)))
    assert choose_speed(speed, trial, Console()).precision == "bf16"
    assert "warning" not in capsys.readouterr().err
    monkeypatch.setattr(trial, "disagreement", lambda machine: "the loss is odd")
    assert choose_speed(speed, trial, Console()).precision == "bf16"
    said = capsys.readouterr().err
    assert "warning: channels-last, bf16, 1 thread differs from plain fp32: the loss is odd" in said


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("convolution=winograd,precision=bf16", "it needs precision=fp32"),
        ("convolution=winograd,layout=contiguous", "it needs layout=channels-last"),
        ("convolution=winograd", "C++ compiler"),
    ],
)
def test_winograd_that_cannot_be_had_is_refused(
    said: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = UserError("no C++ compiler")
    if why == str(error).removeprefix("no "):
        monkeypatch.setattr(speed, "library", lambda: (_ for _ in ()).throw(error))
    with pytest.raises(UserError, match="--speed convolution=winograd") as caught:
        speed.check_winograd(Speed.parse(said).on(Machine("cpu", threads=1)))
    assert why in str(caught.value)


def test_a_choice_that_cannot_be_had_any_more_is_measured_anew(
    monkeypatch: pytest.MonkeyPatch, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    auto, gone = Speed.parse("auto,compile=false"), UserError("no C++ compiler")
    choose_speed(auto, make(spec=WIDER), Console())
    (file,) = cache.iterdir()
    kept = json.loads(file.read_text())
    for fields, _ in kept["value"]["choices"].values():
        fields |= {"convolution": "winograd", "precision": "fp32", "layout": "channels-last"}
    kept["value"]["trials"] = {}
    remember(kept["key"], kept["value"])
    capsys.readouterr()
    assert choose_speed(auto, make(spec=WIDER), Console()).convolution == "winograd"
    assert "(timed before)" in capsys.readouterr().err
    for module in (speed, winograd):
        monkeypatch.setattr(module, "library", lambda: (_ for _ in ()).throw(gone))
    said: list[str] = []
    trial = make(spec=WIDER, say=said.append)
    assert choose_speed(auto, trial, Console()).convolution == "direct"
    assert "speed    not channels-last, fp32, Winograd, 1 thread: no C++ compiler" in said


def test_what_is_set_is_not_turned() -> None:
    asked = make(machine=Machine("cpu", threads=1, convolution="winograd"))
    found = speed._axes(Speed.parse("auto,convolution=winograd"), asked)
    assert not {"precision", "layout", "convolution"} & {*found}
    trial = make(machine=Machine("cpu", "bf16", threads=1))
    assert not speed._axes(Speed.parse("auto,precision=bf16"), trial)["convolution"]
    assert speed._axes(Speed.parse("auto"), trial)["convolution"]
    assert "convolution" not in speed._axes(Speed.parse("auto,convolution=direct"), trial)


def test_nothing_is_compiled_where_batches_lack_photos(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    def tried(trial: Trial) -> list[str]:
        seen: list[str] = []

        def measure(machine: Machine, allowance: float) -> dict[str, Any]:
            seen.append(machine.manner())
            return {"step": 0.1, "first": 0.0}

        monkeypatch.setattr(trial, "measure", measure)
        monkeypatch.setattr(speed, "_cannot_compile", lambda machine: "")
        choose_speed(Speed.parse("auto"), trial, Console(quiet=True))
        for file in cache.iterdir():
            file.unlink()
        return [manner for manner in seen if "compiled" in manner]

    assert tried(make())
    trial = make()

    def broken(self: Preprocess, source: Any) -> Any:
        raise DecodeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(Preprocess, "prepare_sized", broken)
        trial.photos.get(np.arange(3))
    assert not tried(trial)


@pytest.mark.slow
def test_a_missing_compiler_is_one_line(tmp_path: Path) -> None:
    code = (
        "from resnets.training.machine import Machine\n"
        "from resnets.training.speed import check_compiler\n"
        "check_compiler(Machine('cpu'))\n"
    )
    nowhere = {"CXX": str(tmp_path / "no-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | nowhere, check=False
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "UserError: --speed compile=true" in last
    assert "a C++ compiler such as g++" in last
    assert "leave compile=true out" in last


def test_its_limits_are_as_documented() -> None:
    assert (search.SHORTEST, search.SHARE, search.MOST) == (60, 0.02, 60)
