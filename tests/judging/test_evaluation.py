"""Which photos a model is judged on: never those that training saw, unless asked for."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import resnets
from resnets.errors import UserError
from resnets.judging.evaluation import evaluate_model
from resnets.weights import model_file


def draw(folder: Path, seed: int, numbers: range) -> None:
    rng = np.random.default_rng(seed)
    for label, base in (("dark", 0), ("light", 150)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for i in numbers:
            pixels = rng.integers(base, base + 100, (12, 12, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i:02}.png")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a folder of forty photos and a model that was trained on 70 % of it."""
    root = tmp_path_factory.mktemp("trained")
    draw(root / "photos", 0, range(20))
    run = resnets.train(
        root / "photos", model="resnet20", size=12, epochs=1, out=root / "run", quiet=True
    )
    return root / "photos", run.model


def judged(model: Path, data: Path, split: str | None = None) -> tuple[str, set[str]]:
    result = evaluate_model(model, data, split)
    return result.split, set(result.samples.ids)


def held_out(model: Path) -> set[str]:
    lines = (model.parent / "splits.csv").read_text().splitlines()
    return {line.rpartition(",")[0] for line in lines if line.endswith(",test")}


def test_the_same_folder_gives_the_part_held_out(trained: tuple[Path, Path]) -> None:
    photos, model = trained
    assert judged(model, photos) == ("test", held_out(model))
    assert len(held_out(model)) == 8


def test_photos_that_were_added_count_and_seen_ones_still_do_not(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    photos, model = trained
    shutil.copytree(photos, tmp_path / "photos")
    draw(tmp_path / "photos", 1, range(50, 53))
    added = {f"{label}/{i}.png" for label in ("dark", "light") for i in range(50, 53)}
    assert judged(model, tmp_path / "photos") == ("test", held_out(model) | added)


def test_seen_photos_are_known_under_other_names_and_from_a_table(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    photos, model = trained
    lines = ["path,label"]
    for file in sorted(photos.rglob("*.png")):
        copy = tmp_path / "renamed" / file.parent.name / f"copy of {file.name}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
        lines.append(f"{file},{file.parent.name}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    for data in (tmp_path / "renamed", tmp_path / "table.csv"):
        split, ids = judged(model, data)
        assert split == "test"
        assert len(ids) == len(held_out(model))


def test_copies_that_were_saved_anew_are_taken_for_new_ones(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    photos, model = trained
    for file in photos.rglob("*.png"):
        (tmp_path / file.parent.name).mkdir(exist_ok=True)
        with Image.open(file) as image:
            image.save(tmp_path / file.parent.name / f"{file.stem}.bmp")
    split, ids = judged(model, tmp_path)  # as the README says
    assert (split, len(ids)) == ("all", 40)


def test_other_photos_of_the_same_names_are_all_judged(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    _, model = trained
    for label in ("dark", "light"):
        (tmp_path / label).mkdir()
        for i in range(20):
            Image.new("RGB", (30 + i, 40), (i, i, i)).save(tmp_path / label / f"{i:02}.png")
    split, ids = judged(model, tmp_path)
    assert split == "all"
    assert len(ids) == 40


def test_few_new_photos_can_be_judged(trained: tuple[Path, Path], tmp_path: Path) -> None:
    _, model = trained
    draw(tmp_path, 7, range(1))
    assert judged(model, tmp_path) == ("all", {"dark/00.png", "light/00.png"})


def test_splits_can_be_asked_for(trained: tuple[Path, Path]) -> None:
    photos, model = trained
    assert judged(model, photos, "test") == ("test", held_out(model))
    assert len(judged(model, photos, "train")[1]) == 28
    assert len(judged(model, photos, "all")[1]) == 40
    with pytest.raises(UserError, match="no split 'tset'"):
        judged(model, photos, "tset")


def test_a_model_that_saw_everything_says_so(tmp_path: Path) -> None:
    draw(tmp_path / "photos", 0, range(4))
    run = resnets.train(
        tmp_path / "photos",
        model="resnet20",
        size=12,
        epochs=1,
        val_fraction=0.0,
        test_fraction=0.0,
        out=tmp_path / "run",
        quiet=True,
    )
    assert run.split == "train"
    assert "These photos trained the model" in run.report.read_text()
    with pytest.raises(UserError, match="training saw every photo"):
        judged(run.model, tmp_path / "photos")
    assert len(judged(run.model, tmp_path / "photos", "all")[1]) == 8


def cautioned(
    model: Path, data: Path, split: str | None, capsys: pytest.CaptureFixture[str]
) -> tuple[str, str]:
    """Return the warning of an evaluation, and what its report claims."""
    capsys.readouterr()
    report = data.parent / "report.html"
    evaluate_model(model, data, split, report=report)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    claim = re.search(r'class="claim.*?</p>', report.read_text(), re.DOTALL)
    assert claim
    return "".join(said), claim[0]


def forgetful(model: Path, path: Path) -> Path:
    """Write a model file that does not tell what training saw, as those of before."""
    saved = model_file.load(model)
    data = {key: value for key, value in saved.data.items() if key not in ("seen", "trained")}
    model_file.save(dataclasses.replace(saved, data=data), path)
    return path


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("train", "these photos trained the model"),
        ("all", "32 of these 40 photos were seen in training"),
        ("val", ""),
        ("test", ""),
        (None, ""),
    ],
)
def test_figures_of_photos_that_trained_the_model_are_no_judgement(
    trained: tuple[Path, Path],
    split: str | None,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photos, model = trained
    warned, claim = cautioned(model, photos, split, capsys)
    assert (words in warned and "no judgement" in warned) if words else warned == ""
    assert ("no judgement" in claim) == bool(words)
    assert ("photos like these" in claim) == (not words)
    assert words.lower() in claim.lower()


def test_photos_that_may_have_trained_the_model_are_told_from_those_that_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    for i, split in enumerate(("train", "val", "test")):
        draw(photos / split, i, range(4))
    options = {"model": "resnet20", "size": 12, "epochs": 1, "quiet": True}
    model = resnets.train(photos, out=tmp_path / "run", **options).model
    model = forgetful(model, tmp_path / "old.safetensors")
    assert "these photos trained the model" in cautioned(model, photos, "train", capsys)[0]
    assert "16 of these 24 photos" in cautioned(model, photos, "all", capsys)[0]
    assert cautioned(model, photos, None, capsys)[0] == ""
    draw(photos / "train", 7, range(9, 10))  # no longer the very data
    for split in ("train", "all"):
        warned, claim = cautioned(model, photos, split, capsys)
        assert "may have trained the model" in warned
        assert "may have trained the model" in claim
    assert cautioned(model, photos, None, capsys)[0] == ""


def test_photos_that_trained_another_model_are_judged_as_any(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, model = trained
    draw(tmp_path / "new", 7, range(20))
    for split in ("train", "all"):
        warned, claim = cautioned(model, tmp_path / "new", split, capsys)
        assert warned == ""
        assert "photos like these" in claim


def test_a_recorded_split_can_be_used_again(trained: tuple[Path, Path], tmp_path: Path) -> None:
    photos, model = trained
    run = resnets.train(
        photos,
        model="resnet20",
        size=12,
        epochs=1,
        seed=9,
        split_table=model.parent / "splits.csv",
        out=tmp_path / "run",
        quiet=True,
    )
    assert held_out(run.model) == held_out(model)
    assert judged(run.model, photos) == ("test", held_out(model))


def test_a_model_that_does_not_record_what_it_saw_says_so(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, model = trained
    assert judged(forgetful(model, tmp_path / "silent.safetensors"), photos)[0] == "all"
    error = capsys.readouterr().err
    assert "what training saw is not recorded" in error
    assert "no file of it was seen" not in error
    draw(tmp_path / "new", 7, range(1))
    judged(model, tmp_path / "new")
    assert "no file of it was seen in training" in capsys.readouterr().err
