"""`check --labels` from end to end, on the photos that come with the package."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageOps

from resnets.cli.labels import check_files, check_options, look
from resnets.data.images import decode
from resnets.data.preprocess import Preprocess
from resnets.data.sources import open_dataset
from resnets.errors import Interrupted, UserError
from resnets.labelling import by_features, by_training, search
from resnets.labelling.search import check_labels
from resnets.nn import ResNet
from resnets.weights import model_file
from resnets.weights.model_file import Model
from resnets.zoo import get_spec

EACH, PLANTED = 40, 10
NEXT = {"0": "2", "2": "5", "5": "7", "7": "0"}
KEEP: dict[str, Any] = {"device": "cpu", "workers": 1, "quiet": True}
TRAINING: dict[str, Any] = {"model": "resnet8", "size": 16, "epochs": 1, "folds": 2, **KEEP}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was never trained: its random features tell a few hands apart."""
    spec = get_spec("resnet8_fast").replace(num_classes=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = ResNet(spec).state_dict()
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    model_file.save(Model(spec, ("a", "b"), Preprocess.for_photos(32, 32, 3), state), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """Hands of four digits in class folders, the ids of those in a wrong one, and a broken file."""
    root = tmp_path_factory.mktemp("data") / "hands"
    samples = open_dataset("sign-digits").splits["all"]
    chosen = [i for d in map(int, NEXT) for i in np.flatnonzero(samples.labels == d)[:EACH]]
    wrong = set(np.random.default_rng(1).choice(len(chosen), PLANTED, replace=False).tolist())
    planted = set()
    for number, i in enumerate(chosen):
        digit = str(samples.labels[i])
        label = NEXT[digit] if number in wrong else digit
        path = root / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(decode(samples.read(int(i)))).save(path)
        planted |= {f"{label}/{number}.png"} if number in wrong else set()
    (root / "0" / "broken.png").write_bytes(b"no photo")
    return root, planted


def contents(root: Path) -> dict[str, str]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_planted_labels_are_found_and_written_and_the_data_is_left_as_it_was(
    folder: tuple[Path, set[str]],
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    browser: Callable[[Path], None],
) -> None:
    root, planted = folder
    before = contents(root)
    out, page, table = (tmp_path / name for name in ("all.parquet", "page.html", "labels.csv"))
    found = look(
        root,
        weights=weights,
        work=tmp_path / "w",
        labels_out=out,
        labels_report=page,
        write_labels=table,
        **KEEP,
    )
    assert contents(root) == before
    issues = json.loads(json.dumps(found.to_json(), allow_nan=False))
    listed = [row["id"] for row in issues["issues"]]
    assert len(planted & set(listed)) >= 9
    assert len(planted & set(listed[:12])) >= 7
    assert len(listed) == issues["found"] < 30
    assert issues["left_out"].keys() == {"0/broken.png"}
    assert (issues["n"], issues["judged"]) == (4 * EACH + 1, 4 * EACH)
    disagree = round((1 - issues["agreement"]) * issues["judged"])
    assert issues["found"] + issues["unsure"] == disagree

    rows = pq.read_table(out).to_pylist()
    by_path = {row["path"]: row for row in rows}
    assert len(rows) == 4 * EACH + 1
    for row in issues["issues"]:
        kept = by_path[row["path"]]
        assert (kept["label"], kept["fold"], kept["status"]) == (row["given"], row["fold"], "ok")
        assert sum(kept["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert min(kept["probabilities"]) >= 0
    broken = by_path[str(root / "0" / "broken.png")]
    assert (broken["fold"], broken["probabilities"]) == (None, [])
    assert "ok" not in broken["status"]

    with table.open(newline="") as file:
        decisions = list(csv.DictReader(file))
    assert [row["path"] for row in decisions] == [row["path"] for row in issues["issues"]]
    assert {row["decision"] for row in decisions} == {""}

    screen = capsys.readouterr().out
    assert screen.startswith(f"{len(listed)} of {4 * EACH} labels look wrong")
    assert "not judged: 1, such as 0/broken.png (not an image" in screen
    assert listed[0] in screen
    assert page.read_text().count("<img") == len(listed)
    browser(page)


def test_what_was_stopped_goes_on_without_computing_it_again(
    folder: tuple[Path, set[str]], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = folder
    options: dict[str, Any] = {"weights": weights, "work": tmp_path / "w", **KEEP}

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(search, "judge", stop)
        with pytest.raises(Interrupted, match="the same command goes on"):
            check_labels(root, **options)
    with monkeypatch.context() as patch:
        patch.setattr(by_features, "compute", stop)  # the features are there
        first = check_labels(root, **options)
    with monkeypatch.context() as patch:
        patch.setattr(search, "features", stop)  # and now the answer is
        second = check_labels(root, **options)
    assert (first.judgement.probabilities == second.judgement.probabilities).all()
    assert first.judgement.status == second.judgement.status
    assert {path.name for path in (tmp_path / "w").iterdir()} == {
        *(".lock", "key", "probabilities.parquet")
    }
    with pytest.raises(UserError, match="holds something else"):
        check_labels(root, **options, seed=1)


def test_duplicates_are_judged_together(
    folder: tuple[Path, set[str]], weights: Path, tmp_path: Path
) -> None:
    root, _ = folder
    pairs = {f"{d}/{i}.png": int(i) // 2 for d in NEXT for i in range(4 * EACH)}
    found = check_labels(root, weights=weights, work=tmp_path / "w", groups=pairs, **KEEP)
    folds: dict[int, set[int]] = {}
    for name, fold in zip(found.samples.ids, found.judgement.fold.tolist(), strict=True):
        folds.setdefault(pairs.get(name, -1), set()).add(fold)
    assert all(len(where) == 1 for where in folds.values())


def test_every_fold_is_a_training_that_never_saw_what_it_judges(
    folder: tuple[Path, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = folder
    work, trained = tmp_path / "w", []
    train = by_training.train

    def once(data: Any, **options: Any) -> Any:
        if trained:
            raise Interrupted("stopped")
        trained.append(options["out"].name)
        return train(data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(by_training, "train", once)
        with pytest.raises(Interrupted, match="the same command goes on"):
            check_labels(root, work=work, **TRAINING)
    first = (work / "fold-1" / "predictions.parquet").read_bytes()
    found = check_labels(root, work=work, **TRAINING)
    assert (work / "fold-1" / "predictions.parquet").read_bytes() == first
    ids = np.array(found.samples.ids)
    for k in range(2):
        with (work / f"fold-{k + 1}" / "splits.csv").open(newline="") as file:
            split = {row["path"]: row["split"] for row in csv.DictReader(file)}
        part = found.judgement.fold == k
        assert {split[name] for name in ids[part]} == {"test"}
        judged = pq.read_table(work / f"fold-{k + 1}" / "predictions.parquet").to_pylist()
        for row in judged:
            i = list(found.samples.ids).index(str(Path(row["path"]).relative_to(root)))
            if row["status"] == "ok":
                assert found.judgement.probabilities[i].tolist() == row["probabilities"]
            else:
                assert found.left_out() == {"0/broken.png": row["status"]}
    assert len(found.judgement.judged) == 4 * EACH


def test_weights_that_know_the_labels_are_refused(
    folder: tuple[Path, set[str]], weights: Path, tmp_path: Path
) -> None:
    root, _ = folder
    options = {key: value for key, value in TRAINING.items() if key != "folds"}
    run = by_training.train(root, out=tmp_path / "run", **options).model
    with pytest.raises(UserError, match=r"was trained on .* of these 161 photos"):
        check_labels(root, weights=run, work=tmp_path / "w", **KEEP)
    assert not (tmp_path / "w").exists()


def test_weights_know_the_labels_of_a_part_of_their_data(
    folder: tuple[Path, set[str]], tmp_path: Path
) -> None:
    data, old = tmp_path / "data", tmp_path / "old.safetensors"
    shutil.copytree(folder[0], data / "train")
    for path in sorted((data / "train").rglob("*7.png")):
        new = data / "test" / path.relative_to(data / "train")
        new.parent.mkdir(parents=True, exist_ok=True)
        path.rename(new)
    tested = len(list((data / "test").rglob("*.png")))
    options = {key: value for key, value in TRAINING.items() if key != "folds"}
    model = by_training.train(data, out=tmp_path / "run", val_fraction=0.25, **options).model
    kept = model_file.load(model)
    values = {key: value for key, value in kept.data.items() if key not in ("seen", "trained")}
    model_file.save(dataclasses.replace(kept, data=values), old)  # as those of before
    trained = len(open_dataset(data, val_fraction=0.25).splits["train"])
    work = tmp_path / "w"
    for part, photos in ((data / "train", 161 - tested), (data, 161)):
        with pytest.raises(UserError, match=f"trained on {trained} of these {photos} photos"):
            check_labels(part, weights=model, work=work, **KEEP)
    with pytest.raises(UserError, match="trained on 161 of these 161 photos"):
        check_labels(data, weights=old, work=work, **KEEP)
    assert not work.exists()
    found = check_labels(data / "test", weights=model, work=work, folds=2, **KEEP)
    assert len(found.judgement.judged) == tested


def test_the_folder_is_of_one_use_of_the_weights(
    folder: tuple[Path, set[str]], weights: Path, tmp_path: Path
) -> None:
    model = model_file.load(weights)
    other = dataclasses.replace(model, preprocess=Preprocess.for_photos(32, 40, 3))
    model_file.save(other, tmp_path / "other.safetensors")
    work = tmp_path / "w"
    check_labels(folder[0], weights=weights, work=work, folds=2, **KEEP)
    with pytest.raises(UserError, match="holds something else"):
        check_labels(folder[0], weights=tmp_path / "other.safetensors", work=work, folds=2, **KEEP)


def test_bad_input_gets_one_line(
    folder: tuple[Path, set[str]], weights: Path, tmp_path: Path
) -> None:
    root, _ = folder
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        check_labels(root, work=tmp_path / "taken", **TRAINING)
    assert [path.name for path in (tmp_path / "taken").glob("[!.]*")] == ["mine.txt"]
    ways: tuple[dict[str, Any], ...] = ({}, {"weights": weights})
    for way in ways:
        with pytest.raises(UserError, match=r"--folds 200: .* 161 is the most"):
            check_labels(root, work=tmp_path / "w", folds=200, **KEEP, **way)
    assert not (tmp_path / "w").exists()
    with pytest.raises(UserError, match=r"--write-labels .*labels\.txt: name a file .* in \.csv"):
        check_files({"write_labels": tmp_path / "labels.txt"}, force=False)
    (tmp_path / "taken" / "mine.HTML").write_text("mine")
    with pytest.raises(UserError, match=r"--labels-report .*mine\.HTML exists"):
        check_files({"labels_report": tmp_path / "taken" / "mine.HTML"}, force=False)
    with pytest.raises(UserError, match="--epochs 3: is for --labels"):
        check_options({"epochs": 3, "size": None}, wanted=False)


def test_the_command_judges_copies_together_and_writes_all_of_it(
    folder: tuple[Path, set[str]], weights: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    root = tmp_path / "hands"
    shutil.copytree(folder[0], root)
    (root / "0" / "broken.png").rename(root / "0" / "bro\x7fken.png")
    copies = []
    for number in range(EACH, EACH + 20):  # mirrored hands: other content, found as copies
        path = next(root.glob(f"*/{number}.png"))
        copies.append((path, path.with_name(f"copy-{number}.png")))
        ImageOps.mirror(Image.open(path)).save(copies[-1][1])
    answer, out = tmp_path / "all.json", tmp_path / "all.parquet"
    options = (
        "--weights",
        weights,
        "--work",
        tmp_path / "w",
        "--labels-out",
        out,
        "--json",
        answer,
    )
    status, said, _ = run("check", root, "--labels", "--device", "cpu", "--workers", 1, *options)
    assert status == 1  # a broken file, and copies
    assert "labels look wrong" in said
    assert "such as 0/bro\\x7fken.png (" in said  # no terminal gets what it would obey
    found = json.loads(answer.read_text())
    assert found["labels"]["judged"] == 4 * EACH + 20
    folds = {row["path"]: row["fold"] for row in pq.read_table(out).to_pylist()}
    assert all(folds[str(path)] == folds[str(copy)] for path, copy in copies)
    groups = ("--group", r"(\d)\.png", "--no-near", "--fail-on", "never")
    options = ("--weights", weights, "--work", tmp_path / "g", "--labels-out", out, "--force")
    status, _, said = run("check", root, "--labels", "--device", "cpu", *groups, *options)
    assert status == 0, said
    where: dict[str, set[int]] = {}
    for row in pq.read_table(out).to_pylist():
        where.setdefault(row["path"][-5], set()).add(row["fold"])
    assert all(len(where[digit]) == 1 for digit in "0123456789")
    status, _, said = run("check", root, "--folds", 3, "--write-labels", tmp_path / "a.csv")
    assert (status, said) == (2, "resnets: error: --folds 3: is for --labels\n")
