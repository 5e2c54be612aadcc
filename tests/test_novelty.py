"""Photos of nothing that a model knows are labelled so, and no other thing changes."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import resnets
from resnets.errors import UserError
from resnets.novelty import Gate
from resnets.predict import Predictor
from resnets.weights import model_file

Run = Callable[..., tuple[int, str, str]]
OPTIONS = {"model": "resnet8", "size": 16, "epochs": 4, "batch_size": 32, "quiet": True}


def photos(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Dark and light photos with a little noise: what the model of these tests knows."""
    rng, labels = np.random.default_rng(seed), np.arange(n) % 2
    base = np.where(labels, 200, 60)[:, None, None, None]
    return (base + rng.integers(-20, 20, (n, 16, 16, 3))).astype(np.uint8), labels


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("novelty")
    run = resnets.train(photos(400), val_fraction=0.25, out=folder / "run", **OPTIONS)
    return run.model


def stripes(n: int) -> np.ndarray:
    images = np.zeros((n, 16, 16, 3), np.uint8)
    images[:, ::2, :, 0], images[:, :, ::3, 1] = 255, 255
    return images


def test_training_leaves_what_tells_unknown_photos(trained: Path) -> None:
    unknown = model_file.load(trained).unknown
    assert unknown is not None
    assert (unknown.split, len(unknown.distances)) == ("val", 100)


def test_known_photos_keep_their_label_and_others_are_unknown(trained: Path) -> None:
    predictor = resnets.load(trained)
    new, labels = photos(200, seed=1)
    rows = predictor.predict(new, reject=True)
    kept = np.array([row.label != "unknown" for row in rows])
    assert 0.85 < kept.mean() < 1
    assert [row.label for row, k in zip(rows, kept, strict=True) if k] == [
        str(label) for label, k in zip(labels, kept, strict=True) if k
    ]
    assert {row.label for row in predictor.predict(stripes(5), reject=True)} == {"unknown"}


def test_all_but_the_label_stays_the_networks(trained: Path) -> None:
    predictor = resnets.load(trained)
    images = np.concatenate([photos(70)[0], stripes(3)])
    plain, rejecting = predictor.predict(images), predictor.predict(images, reject=0.8)
    assert [row.novelty for row in plain] == [None] * len(images)
    assert any(row.label == "unknown" for row in rejecting)
    assert any(row.label != "unknown" for row in rejecting)
    for before, after in zip(plain, rejecting, strict=True):
        assert after.status == "ok"
        assert [label for label, _ in after.top] == [label for label, _ in before.top]
        assert after.probability == pytest.approx(before.probability, abs=1e-6)
        assert after.label in ("unknown", before.label)


def test_a_larger_share_rejects_less(trained: Path) -> None:
    predictor, images = resnets.load(trained), photos(200, seed=2)[0]
    counts = [
        sum(row.label == "unknown" for row in predictor.predict(images, reject=share))
        for share in (0.5, 0.9, 0.98)
    ]
    assert counts == sorted(counts, reverse=True)
    assert 60 < counts[0] < 140
    with pytest.raises(UserError, match=r"which tell at most 0\.99"):
        predictor.predict(images, reject=0.999)
    with pytest.raises(UserError, match="--keep 0: a share"):
        predictor.predict(images, reject=0.0)


def test_what_does_not_decode_has_no_novelty(trained: Path) -> None:
    good, bad = resnets.load(trained).predict([stripes(1)[0], b"no photo"], reject=True)
    assert good.novelty is not None
    assert bad.novelty is None
    assert bad.label is None
    assert bad.status != "ok"


def test_a_model_without_known_photos_says_what_to_do(trained: Path) -> None:
    bare = dataclasses.replace(model_file.load(trained), unknown=None)
    with pytest.raises(UserError, match="evaluate MODEL DATA --calibrate"):
        Predictor.of(bare).predict(stripes(1), reject=True)


def test_a_class_called_unknown_cannot_be_told_from_what_is_rejected(
    trained: Path, folder: Path, run: Run
) -> None:
    odd = dataclasses.replace(model_file.load(trained), classes=("unknown", "1"))
    with pytest.raises(UserError, match="--reject: the model has a class called unknown"):
        Predictor.of(odd).predict(stripes(1), reject=True)
    assert Predictor.of(odd).predict(photos(1)[0])[0].label == "unknown"  # the class itself
    path = folder.parent / "odd.safetensors"
    model_file.save(odd, path)
    status, printed, said = run("predict", path, folder, "--reject")
    assert (status, printed) == (2, "")
    assert "a class called unknown" in said


def test_too_few_validation_photos_are_no_error(tmp_path: Path) -> None:
    run = resnets.train(photos(60), val_fraction=0.1, out=tmp_path / "run", **OPTIONS)
    assert model_file.load(run.model).unknown is None


def test_an_engine_without_features_is_refused(trained: Path) -> None:
    pytest.importorskip("openvino")
    predictor = resnets.load(trained, engine="openvino")
    with pytest.raises(UserError, match="openvino gives no features; take --engine torch"):
        predictor.predict(stripes(1), reject=True)


def test_a_model_in_int8_is_refused(trained: Path) -> None:
    predictor = resnets.load(trained)
    small = dataclasses.replace(predictor.model, quantization={"engine": "openvino"})
    with pytest.raises(UserError, match="in int8 gives no features; take the one it was made from"):
        Gate.of(small, predictor.ready, predictor.task, True)


def test_half_precision_tells_them_too(trained: Path) -> None:
    images = np.concatenate([photos(40, seed=5)[0], stripes(4)])
    full, half = (
        [row.label for row in resnets.load(trained, precision=p).predict(images, reject=0.98)]
        for p in ("fp32", "bf16")
    )
    assert half[40:] == ["unknown"] * 4
    assert np.mean([a == b for a, b in zip(full, half, strict=True)]) > 0.9


# -- the command line -----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "new").mkdir()
    for i, image in enumerate([*photos(3)[0], *stripes(2)]):
        Image.fromarray(image).save(tmp_path / "new" / f"{i}.png")
    (tmp_path / "new" / "5.png").write_bytes(b"no photo")
    return tmp_path / "new"


def test_predict_writes_the_novelty(trained: Path, folder: Path, run: Run) -> None:
    out = {kind: folder.parent / f"rows.{kind}" for kind in ("csv", "jsonl", "parquet")}
    for path in out.values():
        status, _, said = run("predict", trained, folder, "--reject", "--out", path)
        assert status == 0, said
        assert "95 % of photos like them are kept" in said
    with out["csv"].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows[3:]] == ["unknown", "unknown", ""]
    assert rows[5]["novelty"] == ""
    lines = [json.loads(line) for line in out["jsonl"].read_text().splitlines()]
    assert [line["label"] for line in lines[3:]] == ["unknown", "unknown", None]
    assert lines[3]["novelty"] == pytest.approx(float(rows[3]["novelty"]))
    table = pq.read_table(out["parquet"]).to_pylist()
    assert table[3]["novelty"] == pytest.approx(lines[3]["novelty"])
    assert table[5]["novelty"] is None


def test_without_reject_the_columns_are_as_before(trained: Path, folder: Path, run: Run) -> None:
    out = folder.parent / "rows.csv"
    assert run("predict", trained, folder, "--out", out)[0] == 0
    assert out.read_text().startswith("path,label,probability,status,label_1,")


def test_keep_is_for_reject(trained: Path, folder: Path, run: Run) -> None:
    status, _, said = run("predict", trained, folder, "--keep", "0.9")
    assert (status, said) == (2, "resnets: error: --keep 0.9: is for --reject\n")


def test_evaluate_fits_any_model(trained: Path, tmp_path: Path, run: Run) -> None:
    bare = tmp_path / "bare.safetensors"
    model_file.save(dataclasses.replace(model_file.load(trained), unknown=None), bare)
    images, labels = photos(60, seed=3)
    np.savez(tmp_path / "new.npz", images=images, labels=labels)
    target = tmp_path / "knowing.safetensors"
    options = ("--split", "all", "--calibrate", target)
    status, _, said = run("evaluate", bare, tmp_path / "new.npz", *options)
    assert status == 0, said
    written = model_file.load(target)
    assert written.unknown is not None
    assert (written.unknown.split, len(written.unknown.distances)) == ("all", 60)
    np.savez(tmp_path / "seen.npz", images=photos(200)[0], labels=photos(200)[1])
    refused = run("evaluate", trained, tmp_path / "seen.npz", *options, "--force")
    assert refused[0] == 2
    assert "training saw 156 of these 200 photos of" in refused[2]
