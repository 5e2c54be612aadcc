"""What a model file knows of the photos that training saw, whichever way they come back."""

from __future__ import annotations

import base64
import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import resnets
from resnets.data.preprocess import Preprocess
from resnets.data.sources import Dataset, open_dataset
from resnets.errors import UserError
from resnets.judging import heldout
from resnets.judging.evaluation import evaluate_model
from resnets.judging.heldout import count_seen, record_seen
from resnets.judging.scoring import SplitResult
from resnets.nn import ResNet
from resnets.weights import header, model_file
from resnets.weights.model_file import Model
from resnets.zoo import get_spec

LEARNT = "no judgement to rely on; on new ones expect less"
Judge = Callable[..., tuple[SplitResult, list[str]]]


def photos(folder: Path, seed: int, each: int) -> None:
    rng = np.random.default_rng(seed)
    for label, base in (("dark", 0), ("light", 150)):
        (folder / label).mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(base, base + 100, (12, 12, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{seed}-{i:02}.png")


def train(data: Path, out: Path, **options: Any) -> Path:
    options = {"model": "resnet20", "size": 12, "epochs": 1, "quiet": True, **options}
    return resnets.train(data, out=out, **options).model


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return 20 photos in ``train`` and 12 in ``test``, and a model: 4 of the 20 were its val."""
    root = tmp_path_factory.mktemp("parted")
    photos(root / "data" / "train", 1, 10)
    photos(root / "data" / "test", 2, 6)
    return root / "data", train(root / "data", root / "run", val_fraction=0.2)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """Return 40 photos in a bare folder, and models for which it was split by two seeds."""
    root = tmp_path_factory.mktemp("seeds")
    photos(root / "data", 3, 20)
    return root / "data", [train(root / "data", root / f"{s}", seed=s) for s in (0, 1)]


@pytest.fixture
def judge(capsys: pytest.CaptureFixture[str]) -> Judge:
    """Return a function that evaluates, and gives the result and the warnings."""

    def judged(*arguments: Any, **options: Any) -> tuple[SplitResult, list[str]]:
        capsys.readouterr()
        result = evaluate_model(*arguments, **options)
        lines = capsys.readouterr().err.splitlines()
        return result, [line for line in lines if line.startswith("warning")]

    return judged


def claim(report: Path) -> str:
    found = re.search(r'class="claim.*?</p>', report.read_text(), re.DOTALL)
    assert found
    return found[0]


def untrained(data: dict[str, Any]) -> Model:
    spec = get_spec("resnet20").replace(num_classes=10)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = ResNet(spec).state_dict()
    classes = tuple("0123456789")
    return Model(spec, classes, Preprocess.for_photos(8, 8, 3), weights, data=data)


def noted(keys: np.ndarray) -> dict[str, Any]:
    return {"seen": base64.b64encode(keys.astype("<u4").tobytes()).decode(), "trained": len(keys)}


def test_a_part_of_data_with_splits_is_known_as_a_folder_of_its_own(
    parted: tuple[Path, Path], judge: Judge, tmp_path: Path
) -> None:
    data, model = parted
    report = tmp_path / "r.html"
    result, warned = judge(model, data / "train", "all", report=report)
    assert len(result.samples) == 20
    assert warned == [f"warning: {model}: these photos trained the model: {LEARNT}"]
    assert "no judgement" in claim(report)
    result, warned = judge(model, data / "train", "test")  # drawn from what trained it
    assert len(warned) == 1
    result, warned = judge(model, data / "train", report=report)
    val = open_dataset(data, val_fraction=0.2).splits["val"]
    assert (result.split, warned) == ("val", [])
    assert {f"train/{name}" for name in result.samples.ids} == set(val.ids)
    assert "helped to choose the best epoch" in report.read_text()
    result, warned = judge(model, data / "test", report=report)
    assert (result.split, len(result.samples), warned) == ("all", 12, [])
    assert "photos like these" in claim(report)


def test_all_of_data_with_splits_is_known_although_val_was_drawn(
    parted: tuple[Path, Path], judge: Judge
) -> None:
    data, model = parted
    warned = judge(model, data, "all")[1]
    assert len(warned) == 1
    assert "20 of these 32 photos were seen in training" in warned[0]
    warned = judge(model, data, "train")[1]
    assert len(warned) == 1
    assert "these photos trained the model" in warned[0]
    assert judge(model, data, "val")[1] == judge(model, data)[1] == []


def test_nothing_is_fitted_on_photos_that_trained(
    parted: tuple[Path, Path], seeds: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    data, model = parted
    out = tmp_path / "c.safetensors"
    with pytest.raises(UserError, match="training saw 20 of these 32 photos"):
        evaluate_model(model, data, "all", calibrate=out)
    with pytest.raises(UserError, match=r"--split val: training saw [34] of these 4 photos"):
        evaluate_model(model, data / "train", calibrate=out)
    assert not out.exists()
    for trained, own in ((model, data), (seeds[1][0], seeds[0])):  # too few, but not refused
        with pytest.raises(UserError, match=r"4 photos of val, and .* are needed"):
            evaluate_model(trained, own, calibrate=out)


def test_both_of_two_models_are_told_of_in_the_same_words(
    seeds: tuple[Path, list[Path]], judge: Judge, tmp_path: Path
) -> None:
    data, (model, other) = seeds
    report = tmp_path / "r.html"
    warned = judge(model, data, "all", against=other, report=report)[1]
    words = "32 of these 40 photos were seen in training"
    assert warned == [f"warning: {name}: {words}: {LEARNT}" for name in (model, other)]
    assert f"But of {other}: {words}." in " ".join(report.read_text().split())
    warned = judge(model, data, "val", against=other)[1]
    val = set(open_dataset(data).splits["val"].ids)
    known = len(val & set(open_dataset(data, seed=1).splits["train"].ids))
    assert 0 < known < len(val)
    words = f"{known} of these 4 photos were seen in training"
    assert warned == [f"warning: {other}: {words}: {LEARNT}"]
    assert judge(model, data, "val", against=model)[1] == []  # it chose the weights of both


def test_another_model_whose_file_does_not_tell_may_have_been_trained(
    parted: tuple[Path, Path], judge: Judge, tmp_path: Path
) -> None:
    data, model = parted
    silent = tmp_path / "silent.safetensors"
    model_file.save(dataclasses.replace(model_file.load(model), data={}), silent)
    assert judge(model, data, against=silent)[1] == []
    warned = judge(model, data, "train", against=silent)[1]
    assert [line.split(": ")[1:3] for line in warned] == [
        [str(model), "these photos trained the model"],
        [str(silent), "these photos may have trained the model, whose file does not tell"],
    ]


def test_a_report_claims_of_training_only_what_the_file_tells(
    parted: tuple[Path, Path], judge: Judge, tmp_path: Path
) -> None:
    data, model = parted
    silent, report = tmp_path / "silent.safetensors", tmp_path / "r.html"
    model_file.save(dataclasses.replace(model_file.load(model), data={}), silent)
    said = {}
    for file in (model, silent):
        judge(file, data, "test", report=report)
        said[file] = "which training never saw" in report.read_text()
    assert said == {model: True, silent: False}
    assert "what trained the model is not recorded in its file" in report.read_text()


def test_a_key_by_chance_is_no_sign(judge: Judge, tmp_path: Path) -> None:
    dataset = open_dataset("sign-digits")
    samples = dataset.splits["all"]
    keys = samples.keys()
    counts = [count_seen(untrained(noted(keys[:n])), dataset, "all", samples) for n in (1, 2, 3)]
    assert counts == [0, 0, 3]  # of 2,062
    files = [tmp_path / f"{n}.safetensors" for n in (1, 3)]
    for path, n in zip(files, (1, 3), strict=True):
        model_file.save(untrained(noted(keys[:n])), path)
    warned = judge(files[0], "sign-digits", "all", against=files[0])[1]
    assert warned == []
    warned = judge(files[0], "sign-digits", "all", against=files[1])[1]
    assert [line.split(": ")[1] for line in warned] == [str(files[1])]


def test_the_test_of_the_data_is_judged_as_it_stands(judge: Judge, tmp_path: Path) -> None:
    data, report = tmp_path / "data", tmp_path / "r.html"
    photos(data / "train", 1, 10)
    photos(data / "test", 2, 6)
    shutil.copy(data / "train" / "dark" / "1-00.png", data / "test" / "dark" / "copy.png")
    model = train(data, tmp_path / "run", val_fraction=0.2)
    assert "photos like these" in claim(tmp_path / "run" / "report.html")
    for split in (None, "test"):
        result, warned = judge(model, data, split, report=report)
        assert (result.split, len(result.samples), warned) == ("test", 13, [])
        assert "photos like these" in claim(report)
    (data / "train" / "dark" / "1-00.png").unlink()  # now it is not the data that have it twice
    result, warned = judge(model, data)
    assert (result.split, len(result.samples)) == ("test", 13)
    assert "1 of these 13 photos were seen in training" in warned[0]


def test_a_file_of_before_has_what_trained_and_what_chose_in_one(
    seeds: tuple[Path, list[Path]], judge: Judge, tmp_path: Path
) -> None:
    data, (model, other) = seeds
    old = tmp_path / "old.safetensors"
    saved = model_file.load(other)
    values = {key: value for key, value in saved.data.items() if key != "trained"}
    model_file.save(dataclasses.replace(saved, data=values), old)
    assert set(judge(old, data)[0].samples.ids) == set(judge(other, data)[0].samples.ids)
    assert judge(model, data, "val", against=old)[1] == []
    assert "32 of these 40" in judge(old, data, "all")[1][0]


def test_the_data_is_read_once_for_a_file_that_tells_a_fingerprint_only(
    parted: tuple[Path, Path], judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, model = parted
    saved = model_file.load(model)
    names = ("seen", "trained")
    values = {key: value for key, value in saved.data.items() if key not in names}
    model_file.save(dataclasses.replace(saved, data=values), tmp_path / "old.safetensors")
    fingerprint, taken = Dataset.fingerprint, []

    def counted(dataset: Dataset) -> str:
        taken.append(dataset)
        return fingerprint(dataset)

    monkeypatch.setattr(Dataset, "fingerprint", counted)
    report = tmp_path / "r.html"
    warned = judge(tmp_path / "old.safetensors", data, "train", report=report)[1]
    assert "these photos trained the model" in warned[0]
    assert "no judgement" in claim(report)
    assert len(taken) == 1


def test_what_is_noted_leaves_room_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset("sign-digits")
    noted = record_seen(dataset)
    photos = len(dataset.splits["train"]) + len(dataset.splits["val"])
    assert noted["trained"] == len(dataset.splits["train"])
    assert len(noted["seen"]) / photos * heldout.MOST < 0.81 * header.LARGEST
    monkeypatch.setattr(heldout, "MOST", photos - 1)
    assert record_seen(dataset) == {}
