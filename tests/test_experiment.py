"""`train` and `resume` from end to end, on the photos that come with the package."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import resnets
from resnets.choices import choose_spec
from resnets.cli.options import pairs
from resnets.console import Console
from resnets.data.images import decode
from resnets.data.preprocess import Preprocess
from resnets.data.sources import open_dataset
from resnets.errors import Interrupted, UserError
from resnets.training import search
from resnets.training.loop import Trainer
from resnets.training.machine import Machine
from resnets.training.run_folder import RunFolder
from resnets.training.saver import Every
from resnets.training.trial import Trial
from resnets.weights import model_file

OPTIONS = ["--model", "resnet20", "--size", "16", "--batch-size", "64", "--workers", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> resnets.experiment.Run:  # type: ignore[name-defined]
    out = tmp_path_factory.mktemp("runs") / "run"
    return resnets.train("sign-digits", model="resnet20", size=16, epochs=2, out=out, quiet=True)


def test_a_run_leaves_what_it_promises(run) -> None:  # type: ignore[no-untyped-def]
    names = {path.name for path in run.path.iterdir()}
    assert names == {
        *("best.safetensors", "last.safetensors", "config.yaml", "history.csv", "splits.csv"),
        *("report.html", "predictions.parquet", "checkpoints", ".lock"),
    }
    with (run.path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"train_loss", "val_loss", "val_top1", "lr", "images_per_second"} <= rows[0].keys()
    predictions = pq.read_table(run.path / "predictions.parquet")
    assert len(predictions) == run.evaluation.n == 411
    assert run.split == "test"
    assert "resnet20 on sign-digits" in run.report.read_text()


def test_the_model_file_says_how_to_use_it(run) -> None:  # type: ignore[no-untyped-def]
    model = model_file.load(run.model)
    assert model.classes == tuple("0123456789")
    assert model.preprocess.size == 16
    assert model.metrics["split"] == "test"
    assert model.metrics["top1"] == run.evaluation.top1
    assert model.recipe["epochs"] == 2
    assert model.data["seed"] == 0
    assert model.versions["resnets"] == resnets.__version__


def test_the_split_is_recorded(run) -> None:  # type: ignore[no-untyped-def]
    with (run.path / "splits.csv").open() as file:
        recorded = {row["path"]: row["split"] for row in csv.DictReader(file)}
    dataset = open_dataset("sign-digits")
    for split in ("train", "val", "test"):
        assert all(recorded[name] == split for name in dataset.splits[split].ids)
    assert len(recorded) == 2062


def test_evaluate_finds_the_part_that_training_held_out(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "e.json"
    command = ["evaluate", run.model, "sign-digits", "--json", out]
    done = _resnets(*command, "--report", tmp_path / "r.html", "--out", tmp_path / "p.parquet")
    assert done.returncode == 0, done.stderr
    assert "411 photos of test (the part that training held out)" in done.stderr
    values = json.loads(out.read_text())
    assert values["n"] == 411
    assert values["top1"] == pytest.approx(run.evaluation.top1)
    assert values["top1_low"] < values["top1"] < values["top1_high"]
    assert {"top5", "balanced_accuracy", "per_class", "confusion", "failed"} <= values.keys()
    assert len(values["per_class"]) == 10
    assert (tmp_path / "r.html").stat().st_size > 10_000
    assert len(pq.read_table(tmp_path / "p.parquet")) == 411


def test_resuming_a_finished_run_only_reports_again(run) -> None:  # type: ignore[no-untyped-def]
    before = run.model.read_bytes()
    again = resnets.resume(run.path, quiet=True)
    assert again.evaluation == run.evaluation
    assert run.model.read_bytes() == before


@pytest.mark.slow
def test_a_resume_does_not_judge_weights_of_another_epoch(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """As a kill between the best weights and a checkpoint that is then lost leaves them."""
    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    best = model_file.load(copy / "best.safetensors")
    spoilt = {name: torch.zeros_like(value) for name, value in best.weights.items()}
    later = dataclasses.replace(best, weights=spoilt, metrics={"epoch": 99})
    model_file.save(later, copy / "best.safetensors")
    assert resnets.resume(copy, quiet=True).evaluation.top1 == run.evaluation.top1
    again = model_file.load(copy / "best.safetensors").weights
    assert all(torch.equal(again[name], value) for name, value in best.weights.items())


def stopped_and_resumed(out: Path, options: dict[str, Any]) -> resnets.experiment.Run:  # type: ignore[name-defined]
    """Return a run that stops after its second epoch, and is resumed."""
    trainer_epoch = Trainer._finish_epoch

    def stop_early(self: Trainer) -> None:
        trainer_epoch(self)
        if self.progress.epoch == 2:
            self.save()
            raise Interrupted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_finish_epoch", stop_early)
        with pytest.raises(Interrupted):
            resnets.train("sign-digits", out=out, **options)
    return resnets.resume(out, quiet=True)


def test_fine_tuning_resumes_to_the_same_bits(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    options = {"weights": run.model, "epochs": 4, "seed": 1, "speed": "exact", "quiet": True}
    whole = resnets.train("sign-digits", out=tmp_path / "whole", **options)
    again = stopped_and_resumed(tmp_path / "parts", options)
    first, second = model_file.load(whole.model), model_file.load(again.model)
    assert first.recipe["name"] == second.recipe["name"] == "finetune"
    assert first.preprocess == second.preprocess == model_file.load(run.model).preprocess
    assert all((second.weights[name] == value).all() for name, value in first.weights.items())


def test_the_fast_recipe_learns_keeps_its_whitening_and_resumes_to_the_same_bits(
    tmp_path: Path,
) -> None:
    options: dict[str, Any] = {"recipe": "fast", "size": 16, "epochs": 4, "quiet": True}
    whole = resnets.train("sign-digits", out=tmp_path / "whole", **options)
    again = stopped_and_resumed(tmp_path / "parts", options)
    first, second = model_file.load(whole.model), model_file.load(again.model)
    assert first.spec.name == "resnet8_fast"
    assert first.recipe["optimizer"] == "muon"
    assert whole.evaluation.top1 > 0.8
    filters = first.weights["conv1.weight"]
    assert torch.equal(filters[:12], -filters[12:])
    assert all((second.weights[name] == value).all() for name, value in first.weights.items())


def test_larger_photos_get_the_fast_recipe_for_them(tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": "resnet10t", "recipe": "fast", "epochs": 1, "quiet": True}
    run = resnets.train("sign-digits", out=tmp_path / "run", **options)
    recipe = model_file.load(run.model).recipe
    assert recipe["name"] == "fast-photos"
    assert recipe["grow"][0] == 0.5


def test_a_budget_becomes_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trial, "steps", lambda *_: [10.0])
    options: dict[str, Any] = {"model": "resnet8", "size": 16, "quiet": True}
    run = resnets.train("sign-digits", out=tmp_path / "run", budget="20m", **options)
    config = RunFolder(run.path).read_config()
    # 29 batches of 50 take 290 s, the evaluations 100 s; fast is the recipe, as none is named.
    assert config.recipe["name"] == "fast"
    assert config.recipe["epochs"] == 3
    assert config.budget == 1200
    assert len((run.path / "history.csv").read_text().splitlines()) == 4
    assert config.settled
    again = resnets.resume(run.path, quiet=True)
    assert RunFolder(again.path).read_config().recipe["epochs"] == 3
    with pytest.raises(UserError, match="--budget and --epochs"):
        resnets.train("sign-digits", budget="12s", epochs=2, **options)


def test_a_budget_for_weights_still_reaches_the_rest(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tuned = resnets.train("sign-digits", weights=run.model, budget="1s", out=tmp_path, quiet=True)
    recipe = RunFolder(tuned.path).read_config().recipe
    assert recipe["name"] == "finetune"
    assert (recipe["epochs"], recipe["head_epochs"]) == (1, 0)


def test_the_classifier_alone_is_not_measured_and_has_no_budget(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    options: dict[str, Any] = {"weights": run.model, "recipe": "linear", "quiet": True}
    with pytest.raises(UserError, match="--budget: recipe linear trains the classifier alone"):
        resnets.train("sign-digits", budget="1m", out=tmp_path / "none", **options)
    assert not (tmp_path / "none").exists()
    for number, speed in enumerate(("auto", "precision=bf16")):
        out = tmp_path / str(number)
        linear = resnets.train("sign-digits", epochs=8, speed=speed, out=out, **options)
        assert linear.evaluation.n == 411


def test_crops_are_drawn_anew_also_where_nothing_is_mirrored(tmp_path: Path) -> None:
    overrides = {"flip": False, "crop": "none"}
    options: dict[str, Any] = {"recipe": "fast", "size": 16, "epochs": 1, "quiet": True}
    run = resnets.train("sign-digits", overrides=overrides, out=tmp_path / "run", **options)
    assert run.evaluation.n == 411


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_resumes_to_the_same_bits(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    command = ["train", "sign-digits", *OPTIONS, "--epochs", "3", "--device", "cpu"]
    assert _resnets(*command, "--out", whole).returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "resnets", *command, "--out", str(parts)],
        stdout=subprocess.PIPE,
        text=True,
    )
    history = parts / "history.csv"
    deadline = time.monotonic() + 120
    while not history.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"resnets resume {parts}" in output
    assert _resnets("resume", parts, "--workers", "0").returncode == 0
    for name in ("best", "last"):
        weights = [model_file.load(f / f"{name}.safetensors").weights for f in (whole, parts)]
        assert weights[0].keys() == weights[1].keys()
        assert all((weights[0][key] == weights[1][key]).all() for key in weights[0])


# -- speed ----------------------------------------------------------------------------------------


@pytest.fixture
def measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let even a short run be measured, and nothing be compiled."""
    monkeypatch.setenv("RESNETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(search, "SHORTEST", 0.0)
    monkeypatch.setattr(search, "FEWEST", 0)
    monkeypatch.setattr(search, "SHARE", 10.0)
    monkeypatch.setitem(search.HOPES, "cpu", 0.0)


def test_what_is_measured_is_stored_and_changes_no_bit(
    measuring: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"model": "resnet8", "size": 16, "epochs": 1}
    auto = resnets.train("sign-digits", out=tmp_path / "auto", **options)
    assert "× the default's" in capsys.readouterr().err
    config = RunFolder(auto.path).read_config()
    assert config.speed == "auto"
    names = ("layout", "precision", "threads", "compile")
    chosen = {name: config.machine[name] for name in names}
    same = resnets.train("sign-digits", out=tmp_path / "set", speed=chosen, **options)
    assert RunFolder(same.path).read_config().machine == config.machine
    ours, theirs = (model_file.load(run.model).weights for run in (auto, same))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_resume_goes_on_as_was_chosen(
    measuring: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = torch.get_num_threads()

    def measure(trial: Trial, machine: Machine, allowance: float) -> dict[str, Any]:
        return {"step": 1.0 if machine.layout == "contiguous" else 2.0, "first": 0.0}

    options: dict[str, Any] = {"model": "resnet8", "size": 16, "epochs": 1, "quiet": True}
    with monkeypatch.context() as patch:
        patch.setattr(Trial, "measure", measure)
        run = resnets.train("sign-digits", out=tmp_path / "run", speed="auto,threads=1", **options)
    assert torch.get_num_threads() == threads
    seen = []
    take = Machine.take
    monkeypatch.setattr(Machine, "take", lambda self: (seen.append(self), take(self))[1])
    monkeypatch.setattr(Trial, "measure", lambda *_: pytest.fail("it was measured again"))
    resnets.resume(run.path, epochs=2, quiet=True)
    assert {machine.layout for machine in seen} == {"contiguous"}
    machine = RunFolder(run.path).read_config().machine
    assert (machine["layout"], machine["threads"]) == ("contiguous", 1)


def test_a_run_that_is_stopped_while_it_is_measured_can_be_resumed(
    measuring: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(trial: Trial, machine: Machine, allowance: float) -> dict[str, Any]:
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Trial, "measure", stop)
        with pytest.raises(KeyboardInterrupt):
            resnets.train("sign-digits", model="resnet8", size=16, epochs=1, out=out, quiet=True)
    assert not list((tmp_path / "cache").rglob("*.json"))
    assert resnets.resume(out, quiet=True).evaluation.n == 411
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 1


def test_resume_refuses_data_that_has_changed(tmp_path: Path) -> None:
    from PIL import Image

    data = tmp_path / "data"
    for label in "ab":
        (data / label).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (8, 8), (i, i, i)).save(data / label / f"{i}.png")
    out = tmp_path / "run"
    resnets.train(data, model="resnet20", size=8, epochs=1, out=out, quiet=True)
    (data / "a" / "0.png").unlink()
    with pytest.raises(UserError, match="has changed since"):
        resnets.resume(out, quiet=True)
    with pytest.raises(UserError, match="not a run folder"):
        resnets.resume(data, quiet=True)


def test_weights_must_fit_and_a_head_is_of_its_classes(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for misfit in ({"model": "resnet32"}, {"channels": 1, "size": 16}):
        with pytest.raises(UserError, match=r"not of resnet32|leave it out"):
            resnets.train("sign-digits", weights=run.model, out=tmp_path / "x", **misfit)  # type: ignore[arg-type]
    dataset = open_dataset("sign-digits").splits["all"].subset(range(400))
    photos = np.stack([pixels(dataset.read(i)) for i in range(400)])
    names = [f"sign {label}" for label in dataset.labels]
    renamed = resnets.train(
        (photos, names), weights=run.model, epochs=1, overrides={"lr": 0.0}, out=tmp_path / "y"
    )
    before, after = model_file.load(run.model), model_file.load(renamed.model)
    assert (after.weights["conv1.weight"] == before.weights["conv1.weight"]).all()
    assert not (after.weights["fc.weight"] == before.weights["fc.weight"][:2]).any()


def pixels(content: object) -> np.ndarray:
    assert isinstance(content, bytes)
    return decode(content)


def test_fine_tuning_starts_from_weights(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tuned = resnets.train(
        "sign-digits", weights=run.model, epochs=1, overrides={"lr": 0.0}, out=tmp_path, quiet=True
    )
    before, after = model_file.load(run.model), model_file.load(tuned.model)
    assert (after.spec, after.preprocess) == (before.spec, before.preprocess)
    for name, value in before.weights.items():
        if "running" not in name and "tracked" not in name:
            assert (after.weights[name] == value).all(), name


def test_small_photos_get_the_small_stem_and_it_can_be_overruled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    digits = open_dataset("sign-digits")
    small = Preprocess.for_photos(32, 32, 3)
    for stem, pools in (("auto", False), ("imagenet", True)):
        spec = choose_spec(digits, "resnet18", stem, small, None, None, Console())
        assert spec.stem_pools is pools
        assert ("stem     small" in capsys.readouterr().err) is not pools


def test_runs_are_numbered(tmp_path: Path) -> None:
    folders = [RunFolder.numbered(tmp_path, "digits-resnet18").path.name for _ in range(3)]
    assert folders == ["digits-resnet18-1", "digits-resnet18-2", "digits-resnet18-3"]


def test_durations_and_settings() -> None:
    texts = ("90", "90s", "5m", "1.5h", 7.5)
    assert [Every.parse(text).seconds for text in texts] == [90, 90, 300, 5400, 7.5]
    assert Every.parse("20steps") == Every(steps=20)
    assert pairs(["a=1", "weight-decay=2=3"]) == {"a": "1", "weight_decay": "2=3"}
    for text in ("", "m", "-1s", "5 minutes", "steps"):
        with pytest.raises(UserError, match="write 90s, 5m"):
            Every.parse(text)


def _resnets(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "resnets", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ})
