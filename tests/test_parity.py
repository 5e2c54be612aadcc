"""One photo, one probability: training's validation, evaluate, predict and Python agree."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import resnets
from resnets.data.sources import open_dataset
from resnets.evaluate.calibration import LEAST
from resnets.judging.evaluation import evaluate_model
from resnets.training import loop


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return real photos of three signs as files of many kinds, with splits on disk."""
    root = tmp_path_factory.mktemp("signs")
    signs = open_dataset("sign-digits").splits["all"]
    kinds: list[Callable[[Image.Image, Path], None]] = [
        lambda image, path: image.save(path.with_suffix(".jpg"), quality=95),
        lambda image, path: image.save(path.with_suffix(".png")),
        _save_turned,
        lambda image, path: image.resize((90, 75)).save(path.with_suffix(".webp")),
        lambda image, path: image.convert("L").save(path.with_suffix(".png")),
    ]
    for label in range(3):
        for number, i in enumerate(np.flatnonzero(signs.labels == label)[:25]):
            content = signs.read(int(i))
            assert isinstance(content, bytes)
            split = ("train", "train", "train", "val", "test")[number // 5]
            path = root / split / str(label) / f"{number:02}"
            path.parent.mkdir(parents=True, exist_ok=True)
            kinds[number % 5](Image.open(io.BytesIO(content)).convert("RGB"), path)
    return root


def _save_turned(image: Image.Image, path: Path) -> None:
    """Save lying on its side, with the EXIF orientation that stands it up."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = image.transpose(Image.Transpose.ROTATE_90)
    turned.save(path.with_suffix(".jpg"), exif=exif, quality=95)


@pytest.mark.parametrize("mirrored", [False, True])
def test_all_verbs_agree_to_a_hundred_thousandth(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirrored: bool
) -> None:
    seen: list[np.ndarray] = []
    score_split = loop.score_split

    def record(*arguments: Any, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        samples, values = score_split(*arguments, **options)
        seen.append(values)
        return samples, values

    monkeypatch.setattr(loop, "score_split", record)
    options: dict[str, Any] = {"model": "resnet20", "size": 32, "epochs": 3, "quiet": True}
    overrides = {"mirrored": mirrored}
    run = resnets.train(folder, out=tmp_path / "run", overrides=overrides, **options)
    history = (run.path / "history.csv").read_text().splitlines()
    top1, loss = (history[0].split(",").index(name) for name in ("val_top1", "val_loss"))
    cells = [row.split(",") for row in history[1:]]
    ranks = [(float(row[top1]), -float(row[loss])) for row in cells]
    in_training = seen[ranks.index(max(ranks))]  # the pass that chose the best weights
    assert len(in_training) < LEAST  # too few photos for a temperature, which would come after

    validation = open_dataset(folder).splits["val"]
    paths = [validation.path(i) for i in range(len(validation))]
    evaluated = evaluate_model(run.model, folder, "val").probabilities
    predictor = resnets.load(run.model)
    by_path = predictor.probabilities(paths)
    by_bytes = predictor.probabilities([Path(path).read_bytes() for path in paths])
    alone = np.concatenate([predictor.probabilities([path]) for path in paths])
    rows = predictor.predict(paths, top=3)
    pictures = [Image.open(path) for path in paths]
    assert [row.top for row in predictor.predict(pictures, top=3)] == [row.top for row in rows]
    assert predictor.predict(pictures[0], top=3)[0].label == rows[0].label
    order = {name: i for i, name in enumerate(predictor.classes)}
    in_rows = np.zeros_like(by_path)
    for i, row in enumerate(rows):
        assert row.status == "ok"
        for label, probability in row.top:
            in_rows[i, order[label]] = probability
    for other in (evaluated, by_path, by_bytes, alone, in_rows):
        assert np.abs(other - in_training).max() < 1e-5

    squares = [predictor.model.preprocess.prepare(Path(path)) for path in paths]
    moved = predictor.probabilities([square[:, ::-1] for square in squares]) - by_path
    assert bool(np.abs(moved).max() < 1e-5) == mirrored

    written = pq.read_table(run.path / "predictions.parquet")
    assert written["status"].to_pylist() == ["ok"] * 15


def test_a_turned_photo_is_seen_upright(folder: Path) -> None:
    from resnets.data.images import decode

    turned = next(p for p in sorted((folder / "train" / "0").iterdir()) if p.name == "02.jpg")
    raw = np.asarray(Image.open(turned))
    upright = decode(turned)
    assert np.array_equal(upright, np.rot90(raw, -1))
