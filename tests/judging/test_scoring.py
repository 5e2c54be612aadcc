"""A temperature from the photos to every engine; parts of the photos; one model beside another."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import resnets
from resnets.console import Console
from resnets.data.cache import ImageCache, Storage
from resnets.data.preprocess import Preprocess
from resnets.data.sources import open_dataset
from resnets.extras import installed
from resnets.judging import evaluation
from resnets.judging.evaluation import evaluate_model
from resnets.judging.scoring import SplitResult, score
from resnets.judging.slicing import slice_result
from resnets.nn import ResNet
from resnets.predict import Predictor
from resnets.training.distributed import Alone
from resnets.training.inference import Outputs
from resnets.weights import model_file
from resnets.weights.model_file import Model
from resnets.zoo import get_spec

CLASSES = ("a", "b", "c")
Run = Callable[..., tuple[int, str, str]]


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, a table of photos of which it gets about 70 % right, and its probabilities."""

    folder: Path
    model: Path
    table: Path
    photos: list[Path]
    probabilities: np.ndarray
    labels: np.ndarray


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, draw: Callable[[Any], None]) -> Case:
    root = tmp_path_factory.mktemp("case")
    spec = get_spec("resnet20").replace(num_classes=3, image_size=8)
    net = ResNet(spec)
    draw(net)
    model = Model(spec, CLASSES, Preprocess(8, 8), net.state_dict())
    generator = np.random.default_rng(0)
    photos = []
    for i in range(120):
        pixels = generator.integers(0, 256, (8 + 8 * (i % 2), 8, 3)) // (1 + i % 3)
        photos.append(root / f"site{i % 3}" / f"{i:03}.png")
        photos[-1].parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(photos[-1])
    # Drawn weights favour one class by far: its mean is taken off, and what is left made strong.
    with torch.no_grad():
        raw = dataclasses.replace(Predictor.of(model, "cpu"), task=Outputs())
        logits = raw.probabilities(photos)
        spread = 4 / logits.std(0)
        net.fc.weight.mul_(torch.from_numpy(spread)[:, None])
        net.fc.bias.sub_(torch.from_numpy(logits.mean(0))).mul_(torch.from_numpy(spread))
    model = dataclasses.replace(model, weights=net.state_dict())
    model_file.save(model, root / "m.safetensors")
    outputs = Predictor.of(model, "cpu").probabilities(photos)
    labels = np.where(generator.random(120) < 0.7, outputs.argmax(1), generator.integers(0, 3, 120))
    lines = ["path,label,camera,weight"] + [
        f"{path.relative_to(root)},{CLASSES[label]},cam{i % 2},{i / 7}"
        for i, (path, label) in enumerate(zip(photos, labels, strict=True))
    ]
    (root / "table.csv").write_text("\n".join(lines))
    return Case(root, root / "m.safetensors", root / "table.csv", photos, outputs, labels)


@pytest.fixture(scope="module")
def calibrated(case: Case) -> Path:
    out = case.folder / "calibrated.safetensors"
    evaluate_model(case.model, case.table, "all", calibrate=out)
    return out


def test_a_temperature_is_written_and_used_by_all(case: Case, calibrated: Path) -> None:
    record = model_file.load(calibrated).calibration
    assert model_file.load(case.model).calibration == {}
    assert (record["split"], record["n"]) == ("all", 120)
    assert record["nll_after"] < record["nll_before"]
    predictor = resnets.load(calibrated, "cpu")
    found = predictor.probabilities(case.photos)
    expected = case.probabilities ** (1 / record["temperature"])
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), atol=1e-5)
    assert (found.argmax(1) == case.probabilities.argmax(1)).all()
    assert np.abs(found - case.probabilities).max() > 0.05
    rows = predictor.predict(case.photos)
    assert [row.probability for row in rows] == found.max(1).tolist()


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_every_engine_has_the_temperature(case: Case, calibrated: Path, engine: str) -> None:
    if not installed(engine):
        pytest.skip(f"{engine} is not installed")
    exact = resnets.load(calibrated, "cpu").probabilities(case.photos[:20])
    found = resnets.load(calibrated, "cpu", engine=engine).probabilities(case.photos[:20])
    assert np.abs(found - exact).max() < 1e-5


def test_evaluate_shows_both(case: Case, calibrated: Path, run: Run) -> None:
    status, out, _ = run("evaluate", calibrated, case.table, "--json", "-", "--device", "cpu")
    assert status == 0
    found, record = json.loads(out), model_file.load(calibrated).calibration
    assert found["temperature"] == record["temperature"]
    assert found["nll"] == found["loss"] == pytest.approx(record["nll_after"], abs=1e-6)
    assert found["uncalibrated"]["nll"] == pytest.approx(record["nll_before"], abs=1e-5)
    assert found["uncalibrated"]["ece"] == pytest.approx(record["ece_before"], abs=1e-4)
    assert found["balanced_low"] < found["balanced_accuracy"] < found["balanced_high"]
    assert 0 < found["aurc"] < 1 > found["brier"] > 0
    facts = {part["fact"] for part in found["slices"]}
    assert "brightness" in facts
    assert "shorter side, px" not in facts  # is 8 for all
    assert found["comparison"] is None
    status, out, _ = run("evaluate", case.model, case.table)
    assert "uncalibrated" not in out
    assert "without its temperature" not in out
    _, out, _ = run("evaluate", calibrated, case.table)
    assert "without its temperature" in out


def test_a_temperature_is_not_fitted_on_a_test(case: Case, run: Run, tmp_path: Path) -> None:
    table = case.table.with_name("split.csv")
    lines = case.table.read_text().splitlines()
    splits = ["split"] + ["test" if i % 2 else "val" for i in range(120)]
    table.write_text("\n".join(f"{a},{b}" for a, b in zip(lines, splits, strict=True)))
    out = tmp_path / "m.safetensors"
    status, _, error = run("evaluate", case.model, table, "--calibrate", out, "--split", "test")
    assert status == 2
    assert "neither trained the model nor test it" in error
    status, _, error = run("evaluate", case.model, table, "--calibrate", out)
    record = model_file.load(out).calibration
    assert (status, record["n"]) == (0, 60)
    loss = f"loss {record['nll_before']:.4g} to {record['nll_after']:.4g}, ECE "
    assert loss in error  # what the temperature lowers stands first
    status, _, error = run("evaluate", case.model, table, "--calibrate", out)
    assert status == 2
    assert "--force" in error


def test_a_temperature_that_is_none_is_refused(case: Case, tmp_path: Path) -> None:
    model = model_file.load(case.model)
    for wrong in (0, -1.0, True, "2", float("inf")):
        path = tmp_path / "m.safetensors"
        bad = dataclasses.replace(model, calibration={"temperature": wrong})
        if wrong == float("inf"):
            with pytest.raises(ValueError, match="not JSON compliant"):
                model_file.save(bad, path)
            continue
        model_file.save(bad, path)
        with pytest.raises(resnets.UserError, match="not a positive number"):
            model_file.load(path)


def test_beside_another_model(case: Case, run: Run, tmp_path: Path) -> None:
    model = model_file.load(case.model)
    weights = dict(model.weights)
    weights["fc.weight"], weights["fc.bias"] = (
        weights[f"fc.{n}"].roll(1, 0) for n in ("weight", "bias")
    )
    order = dataclasses.replace(model, classes=("c", "a", "b"), weights=weights)
    model_file.save(order, tmp_path / "same.safetensors")  # the same but for the order of classes
    result = evaluate_model(case.model, case.table, against=tmp_path / "same.safetensors")
    assert result.compared is not None
    figures = result.compared.figures
    assert (figures.only_this, figures.only_other, figures.same_answer) == (0, 0, 120)
    own = evaluate_model(tmp_path / "same.safetensors", case.table)
    assert own.evaluation.top1 == result.evaluation.top1
    assert own.evaluation.classes == ("c", "a", "b")

    shuffled = dataclasses.replace(model, classes=("b", "c", "a"))
    model_file.save(shuffled, tmp_path / "worse.safetensors")
    status, out, _ = run(
        "evaluate", case.model, case.table, "--against", tmp_path / "worse.safetensors",
        "--json", tmp_path / "j.json", "--report", tmp_path / "r.html",
    )  # fmt: skip
    assert status == 0
    assert "This model is better" in out
    found = json.loads((tmp_path / "j.json").read_text())["comparison"]
    assert found["verdict"] == "better"
    assert len(found["differing"]) == 120 == found["n"]
    assert found["only_this"] - found["only_other"] == round(120 * found["difference"])
    assert found["top1"] == result.evaluation.top1
    assert "only the other" in (tmp_path / "r.html").read_text()

    model_file.save(dataclasses.replace(model, classes=("a", "b", "d")), tmp_path / "d.safetensors")
    status, _, error = run(
        "evaluate", case.model, case.table, "--against", tmp_path / "d.safetensors"
    )
    assert status == 2
    assert "d.safetensors: d; only in" in error


def test_parts_of_the_photos(case: Case, run: Run) -> None:
    names = ("--slice", "camera", "--slice", "folder:1", "--slice", "weight")
    status, out, _ = run("evaluate", case.model, case.table, *names, "--json", "-")
    assert status == 0
    found = json.loads(out)["slices"]
    numbers: dict[str, list[int]] = {}
    for part in found:
        numbers.setdefault(part["fact"], []).append(part["n"])
    assert numbers["camera"] == [60, 60]
    assert numbers["folder:1"] == [40, 40, 40]
    assert numbers["weight"] == [30, 30, 30, 30]
    assert numbers["width / height"] == [60, 60]
    assert "shorter side, px" not in numbers  # is 8 for all
    assert {"brightness", "contrast", "sharpness"} <= numbers.keys()
    right = case.probabilities.argmax(1) == case.labels
    camera = {part["value"]: part["top1"] for part in found if part["fact"] == "camera"}
    assert camera["cam0"] == pytest.approx(right[::2].mean())
    for name, message in (("camra", "did you mean camera"), ("folder:0", "counted from 1")):
        status, _, error = run("evaluate", case.model, case.table, "--slice", name)
        assert status == 2
        assert message in error
    status, _, error = run("evaluate", case.model, case.photos[0].parent, "--slice", "camera")
    assert status == 2


def test_a_slice_that_parts_no_photos_is_refused_before_the_work(
    case: Case, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = case.table.with_name("columns.csv")
    first, *rest = case.table.read_text().splitlines()
    lines = [f"{first},site,note,some"]
    lines += [f"{line},one,,{'x' if i < 50 else ''}" for i, line in enumerate(rest)]
    table.write_text("\n".join(lines))
    command = ("evaluate", case.model, table, "--split", "all")
    _, out, _ = run(*command, "--slice", "some", "--json", "-")
    parts = [part for part in json.loads(out)["slices"] if part["fact"] == "some"]
    assert [(part["value"], part["n"]) for part in parts] == [("x", 50), ("(empty)", 70)]
    monkeypatch.setattr(evaluation, "score", pytest.fail)
    for name in ("folder:9", "site", "note"):
        status, _, error = run(*command, "--slice", name)
        assert status == 2
        assert f"--slice {name}: the same for all photos" in error


def test_a_folder_that_holds_one_table_has_its_columns(
    case: Case, run: Run, tmp_path: Path
) -> None:
    for path in case.photos:
        shutil.copy(path, tmp_path / path.name)
    text = case.table.read_text()
    (tmp_path / "table.csv").write_text(re.sub(r"site\d/", "", text))
    command = ("evaluate", case.model, tmp_path, "--split", "all", "--json", "-")
    status, out, error = run(*command, "--slice", "camera")
    assert status == 0, error
    found = [part for part in json.loads(out)["slices"] if part["fact"] == "camera"]
    assert [part["n"] for part in found] == [60, 60]
    (tmp_path / "table.csv").rename(tmp_path / "a.csv")
    shutil.copy(tmp_path / "a.csv", tmp_path / "b.csv")  # which of them is not said
    status, _, error = run(*command, "--slice", "camera")
    assert status == 2


class Pair(Alone):
    """One of two processes, as threads: their sums are real."""

    world = 2

    def __init__(self, rank: int, barrier: Barrier, given: dict[int, torch.Tensor]) -> None:
        self.rank, self._barrier, self._given = rank, barrier, given

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        self._given[self.rank] = values.clone()
        self._barrier.wait()
        total = self._given[0] + self._given[1]
        self._barrier.wait()
        return total


def test_the_sizes_of_photos_that_another_process_decoded_are_known(case: Case) -> None:
    samples = open_dataset(case.table, val_fraction=0.0, test_fraction=0.0).splits["all"]
    predictor = Predictor.load(case.model, "cpu", workers=0)
    barrier, given = Barrier(2, timeout=60), {}

    def judged(rank: int) -> SplitResult:
        cache = ImageCache(samples, predictor.model.preprocess, Storage("none"))
        cache.get(np.arange(5))  # which both have decoded
        ranks = Pair(rank, barrier, given)
        return score(predictor, cache, "all", Console(quiet=True), ranks, look=True)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(judged, (0, 1)))
    for result in results:
        assert result.sizes.tolist() == [[8, 8 + 8 * (i % 2)] for i in range(120)]
        parts = [part for part in slice_result(result).slices if part.fact == "width / height"]
        assert [part.n for part in parts] == [60, 60]


# -- what fails late loses nothing ----------------------------------------------------------------


def test_a_fit_that_finds_nothing_loses_no_result(case: Case, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    files = {name: tmp_path / f"o.{name}" for name in ("json", "html", "parquet", "safetensors")}
    # The photos that the model gets right, in another engine: no temperature, and no features.
    right = np.flatnonzero(case.probabilities.argmax(1) == case.labels)
    lines = case.table.read_text().splitlines()
    table = case.table.with_name("right.csv")
    table.write_text("\n".join([lines[0], *(lines[1 + i] for i in right)]))
    status, out, error = run(
        "evaluate", case.model, table, "--split", "all", "--engine", "onnxruntime",
        "--json", files["json"], "--report", files["html"], "--out", files["parquet"],
        "--calibrate", files["safetensors"],
    )  # fmt: skip
    assert status == 2
    assert "nothing could be fitted" in error
    assert "100.0 %" in out
    assert json.loads(files["json"].read_text())["top1"] == 1
    assert files["html"].is_file()
    assert files["parquet"].is_file()
    assert not files["safetensors"].exists()


@pytest.mark.parametrize(
    ("option", "least"), [("--calibrate=o.safetensors", 20), ("--map=o.html", 10)]
)
def test_too_few_photos_are_refused_before_any_work(
    case: Case, run: Run, option: str, least: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    table = case.table.with_name(f"few{least}.csv")
    table.write_text("\n".join(case.table.read_text().splitlines()[:least]))
    command = ("evaluate", case.model, table, "--split", "all", "--json", "o.json")
    status, printed, error = run(*command, option)
    assert status == 2
    assert f"{least - 1} photos" in error
    assert f"{least} or more" in error
    assert printed == ""
    assert not list(tmp_path.iterdir())


def test_a_map_that_fails_loses_no_result(case: Case, run: Run, tmp_path: Path) -> None:
    table = case.table.with_name("broken.csv")
    lines = case.table.read_text().splitlines()[:12]
    for i in range(3):
        (case.folder / f"broken{i}.png").write_bytes(b"no photo")
        lines[1 + i] = f"broken{i}.png,a,cam0,0"
    table.write_text("\n".join(lines))  # eleven photos, of which eight decode
    out = tmp_path / "o.json"
    status, printed, error = run(
        "evaluate", case.model, table, "--split", "all", "--json", out,
        "--map", tmp_path / "map.html",
    )  # fmt: skip
    assert status == 2
    assert "--map: 8 photos" in error
    assert "top-1" in printed
    assert json.loads(out.read_text())["n"] == 8
    assert not (tmp_path / "map.html").exists()
    assert [line.split() for line in error.splitlines() if "wrote" in line] == [["wrote", str(out)]]


def test_every_file_that_is_written_is_named(
    case: Case, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("evaluate", case.model, case.table, "--split", "all", "--json")
    files = ["r.html", "p.parquet", "m.png", "c.safetensors"]
    more = ["--report", "r.html", "--out", "p.parquet", "--map", "m.png", "--calibrate", files[3]]
    for target, written in (("j.json", [*files, "j.json"]), ("-", files)):
        status, printed, said = run(*command, target, *more, "--force")
        assert status == 0, said
        named = re.findall(r"^wrote    (.*)$", said, re.MULTILINE)
        assert sorted(named) == sorted(written)
        assert all((tmp_path / name).is_file() for name in named)
    assert json.loads(printed)["n"] == 120


def test_training_fits_it_on_validation_and_an_extended_run_again(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(320) % 2
    pixels = generator.normal(110 + 30 * labels[:, None, None, None], 60, (320, 8, 8, 3))
    levels = generator.normal(0, 25, (320, 1, 1, 1))  # so that no one gets all of them right
    np.savez(tmp_path / "d.npz", x=(pixels + levels).clip(0, 255).astype(np.uint8), y=labels)
    options: dict[str, Any] = {"model": "resnet20", "size": 8, "quiet": True, "epochs": 1}
    run = resnets.train(
        tmp_path / "d.npz", val_fraction=0.3, test_fraction=0.2, out=tmp_path / "run", **options
    )
    first = model_file.load(run.model).calibration
    assert (first["split"], first["n"]) == ("val", 96)
    again = tmp_path / "again.safetensors"
    evaluate_model(run.model, tmp_path / "d.npz", calibrate=again)  # of what it puts out, as it is
    assert model_file.load(again).calibration == first
    resnets.resume(run.path, epochs=2, quiet=True)
    second = model_file.load(run.model)
    assert second.calibration["n"] == 96
    evaluate_model(run.model, tmp_path / "d.npz", calibrate=again)
    assert model_file.load(again).calibration == second.calibration
    assert "fitted on 96 photos of val" in run.report.read_text()
