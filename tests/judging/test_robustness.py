"""Judged on corrupted photos: the same whatever computes beside it, and what it comes to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resnets
from resnets.console import Console
from resnets.data.cache import ImageCache
from resnets.data.corruptions import CORRUPTIONS
from resnets.data.sources import open_dataset
from resnets.errors import UserError
from resnets.evaluate.robustness import LOST, Robustness, figure, summarise
from resnets.judging.robustness import measure, named, sample
from resnets.predict import Predictor
from resnets.training.inference import BATCH

Run = Callable[..., tuple[int, str, str]]
QUIET = Console(quiet=True)


def photos(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Dark and light photos, told apart by little enough for noise to matter."""
    rng, labels = np.random.default_rng(0), np.arange(n) % 2
    base = np.where(labels, 150, 105)[:, None, None, None]
    return (base + rng.integers(-60, 60, (n, 16, 16, 3))).astype(np.uint8), labels


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a model file, and an .npz of photos that it did not see."""
    folder = tmp_path_factory.mktemp("robustness")
    options: dict[str, Any] = {"model": "resnet8", "size": 16, "epochs": 3, "batch_size": 32}
    run = resnets.train(photos(300), out=folder / "run", quiet=True, **options)
    images, labels = photos(420)
    np.savez(folder / "new.npz", images=images[320:], labels=labels[320:])
    return run.model, folder / "new.npz"


def found(
    trained: tuple[Path, Path], names: str, workers: int = 0, limit: int | None = None
) -> Robustness:
    predictor = Predictor.load(trained[0], workers=workers)
    samples = open_dataset(trained[1], val_fraction=0.0, test_fraction=0.0).splits["all"]
    return measure(predictor, samples, named(names), QUIET, limit)


def test_workers_change_nothing(trained: tuple[Path, Path]) -> None:
    one, two = (found(trained, "shot-noise,fog,shift", workers) for workers in (0, 3))
    assert one == two
    assert one.n == 100 > BATCH


def test_a_photo_is_corrupted_alike_in_any_company(trained: tuple[Path, Path]) -> None:
    predictor = Predictor.load(trained[0], workers=0)
    samples = open_dataset(trained[1], val_fraction=0.0, test_fraction=0.0).splits["all"]
    turned = samples.subset(np.arange(len(samples))[::-1])
    results = [measure(predictor, s, ["glass-blur"], QUIET) for s in (samples, turned)]
    assert results[0] == results[1]


def test_a_sample_is_part_of_a_larger_one(trained: tuple[Path, Path]) -> None:
    samples = open_dataset(trained[1], val_fraction=0.0, test_fraction=0.0).splits["all"]
    few, more = sample(samples, 20), sample(samples, 50)
    assert len(few) == 20
    assert set(few.ids) < set(more.ids)
    assert list(few.ids) == [i for i in samples.ids if i in set(few.ids)]
    assert found(trained, "mirror", limit=20).n == 20


def test_moves_alone_have_no_mean(
    trained: tuple[Path, Path],
) -> None:
    result = found(trained, "moves", limit=40)
    assert [row.name for row in result.rows] == ["mirror", "shift", "scale"]
    assert result.mean is None
    assert 0 < result.rows[0].consistency <= 1


def test_no_decoded_photo_is_kept(
    trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ImageCache] = []

    def make(*options: Any) -> ImageCache:
        made.append(ImageCache(*options))
        return made[-1]

    monkeypatch.setattr("resnets.judging.robustness.ImageCache", make)
    found(trained, "mirror")
    (cache,) = made
    assert cache.sizes.all()  # all were decoded
    assert all(cache.rows(i, 1) is None for i in range(100))


def test_names_and_groups() -> None:
    assert named("all") == list(CORRUPTIONS)
    assert named("jpeg, noise") == [
        *("gaussian-noise", "shot-noise", "impulse-noise", "speckle-noise"),
        "jpeg",
    ]
    with pytest.raises(UserError, match=r"--robustness jpge: unknown; did you mean jpeg\?"):
        named("noise,jpge")


# -- the figures ----------------------------------------------------------------------------------


def drawn(n: int = 50) -> Robustness:
    rng = np.random.default_rng(0)
    clean = rng.random(n) < 0.9
    right = {("fog", s): clean & (rng.random(n) < 1 - s / 6) for s in range(1, 6)}
    right[("mirror", 1)] = clean
    same = {variant: values == clean for variant, values in right.items()}
    return summarise(clean, right, same, {"fog": "weather", "mirror": "moves"}, 32, "moves")


def test_the_mean_is_over_corruptions_and_severities_without_moves() -> None:
    result = drawn()
    fog = result.rows[0]
    assert result.mean == pytest.approx(np.mean([cell.top1 for cell in fog.cells]))
    assert result.mean_low < result.mean < result.mean_high
    assert result.rows[1].cells[0].consistency == 1
    levels = [cell.level for cell in fog.cells]
    lost = [result.clean - cell.top1 for cell in fog.cells]
    assert levels == [sum(value >= step for step in LOST) for value in lost]


def test_the_interval_of_the_mean_covers() -> None:
    rng, truth, inside = np.random.default_rng(0), 0.6, 0
    for _ in range(1000):
        own = rng.beta(3, 2, 200)  # photos that are easy or hard throughout
        right = {("fog", s): rng.random(200) < own for s in range(1, 6)}
        clean = np.ones(200, bool)
        result = summarise(clean, right, right, {"fog": "weather"}, 32, "moves")
        inside += result.mean_low <= truth <= result.mean_high
    assert 0.93 < inside / 1000 < 0.97


def test_one_photo_tells_nothing_of_the_mean() -> None:
    result = drawn(1)
    assert (result.mean_low, result.mean_high) == (0, 1)


def test_the_figure_starts_clean_and_stays_in_its_frame() -> None:
    result = drawn()
    lines = figure(result).lines
    assert [line.group for line in lines] == ["weather", "moves"]
    assert [len(line.points) for line in lines] == [6, 2]
    heights = [y for _, y, _ in lines[0].points]
    assert heights == sorted(heights)  # down the page
    assert lines[0].points[0][:2] == lines[1].points[0][:2]


# -- the command line and the report ---------------------------------------------------------------


def test_evaluate_tells_everybody(
    trained: tuple[Path, Path], tmp_path: Path, run: Run, browser: Callable[[Path], None]
) -> None:
    model, data = trained
    page, values = tmp_path / "report.html", tmp_path / "result.json"
    outputs = ("--json", values, "--report", page)
    status, out, said = run(
        "evaluate", model, data, "--robustness", "noise,weather,moves", "--limit", "40", *outputs
    )
    assert status == 0, said
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[-12:-1]][:2] == ["severity", "gaussian-noise"]
    assert lines[-1].startswith("corrupted ")
    assert lines[-1].endswith("n = 40")
    written = json.loads(values.read_text())["robustness"]
    assert written["n"] == 40
    assert written["mean_low"] <= written["mean"] <= written["mean_high"]
    noise = written["rows"][0]
    assert (noise["name"], noise["group"]) == ("gaussian-noise", "noise")
    assert [cell["severity"] for cell in noise["severities"]] == [1, 2, 3, 4, 5]
    assert "level" not in noise["severities"][0]
    assert "When photos are worse" in page.read_text()
    browser(page)


def test_limit_is_for_robustness(trained: tuple[Path, Path], run: Run) -> None:
    status, _, said = run("evaluate", *trained, "--limit", "5")
    assert (status, said) == (2, "resnets: error: --limit 5: is for --robustness\n")
