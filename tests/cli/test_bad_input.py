"""What people get wrong: one clear line, exit status 2, and nothing of theirs touched."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image

FAST = ["--model", "resnet20", "--size", "16", "--epochs", "1", "--workers", "0"]
Run = Callable[..., tuple[int, str, str]]


def draw(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(shade)
    Image.fromarray(rng.integers(0, 1 + shade, (16, 16, 3)).astype(np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of two classes with twelve photos each."""
    for label, base in (("dark", 60), ("light", 220)):
        for i in range(12):
            draw(tmp_path / "photos" / label / f"{i}.png", base + i)
    return tmp_path / "photos"


def refused(outcome: tuple[int, str, str], *words: str) -> None:
    """Assert that a run ended in one line that has all the words, and status 2."""
    status, _, error = outcome
    lines = [line for line in error.splitlines() if line.startswith("resnets: ")]
    assert status == 2, error
    assert len(lines) == 1, error
    assert "Traceback" not in error
    for word in words:
        assert word in lines[0], lines[0]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# -- data ---------------------------------------------------------------------------------------


def test_an_empty_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(run("train", tmp_path / "empty", *FAST), str(tmp_path / "empty"))


def test_a_folder_that_is_not_there(run: Run, tmp_path: Path) -> None:
    refused(run("train", tmp_path / "nothing"), str(tmp_path / "nothing"), "does not exist")


def test_one_class(run: Run, photos: Path) -> None:
    shutil.rmtree(photos / "light")
    refused(run("train", photos, *FAST), "dark", "class")


def test_a_class_with_one_photo(run: Run, photos: Path) -> None:
    draw(photos / "lonely" / "a.png", 100)
    refused(run("train", photos, *FAST), "'lonely'", "one training photo")


def test_a_split_without_a_class(run: Run, photos: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        shutil.copytree(photos, tmp_path / "splits" / split)
    shutil.rmtree(tmp_path / "splits" / "train" / "light")
    refused(run("train", tmp_path / "splits", *FAST), "light", "train")


def test_photos_without_classes(run: Run, tmp_path: Path) -> None:
    draw(tmp_path / "loose" / "a.png", 100)
    refused(run("train", tmp_path / "loose", *FAST), str(tmp_path / "loose"))


def test_broken_files_are_named_counted_and_left_out(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    whole = (photos / "dark" / "0.png").read_bytes()
    (photos / "dark" / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (photos / "dark" / "empty.jpg").write_bytes(b"")
    (photos / "light" / "text.jpg").write_text("hello, I am text")
    (photos / "light" / "huge.png").write_bytes(_png_header(60_000, 60_000))
    before = snapshot(photos)
    status, _, error = run("train", photos, *FAST, "--out", tmp_path / "run")
    assert status == 0, error
    for name, reason in {
        "truncated.png": "truncated",
        "empty.jpg": "empty file",
        "text.jpg": "not an image",
        "huge.png": "3,600,000,000 pixels",
    }.items():
        assert any(name in line and reason in line for line in error.splitlines()), error
    assert "4 of 28 photos" in error
    assert snapshot(photos) == before


def test_a_class_of_broken_files(run: Run, photos: Path, tmp_path: Path) -> None:
    for file in (photos / "light").iterdir():
        file.write_bytes(b"")
    refused(run("train", photos, *FAST, "--out", tmp_path / "run"), "'light'", "decodes")


def test_a_symlink_loop_hidden_folders_and_odd_names(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "dark" / "again").symlink_to(photos / "dark", target_is_directory=True)
    draw(photos / ".hidden" / "a.png", 10)
    draw(photos / "dark" / ".b.png", 10)
    draw(photos / "ünï çødé 漢字" / "ß.png", 90)
    draw(photos / "ünï çødé 漢字" / ("x" * 240 + ".png"), 91)
    draw(photos / "ünï çødé 漢字" / "[1] *.png", 92)
    status, _, error = run("train", photos, *FAST, "--out", tmp_path / "run")
    assert status == 0, error
    assert "3 classes; train 19" in error
    assert "hidden" in error
    assert "loop" in error


def test_no_permission(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever runs the tests may be root, whom no mode bits stop.
    scandir, mkdir = os.scandir, Path.mkdir

    def closed_folder(folder: str | Path) -> object:
        if Path(folder).name == "dark":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    def closed_parent(path: Path, *arguments: object, **options: object) -> None:
        if path.name == "run":
            raise PermissionError(13, "Permission denied")
        mkdir(path, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", closed_folder)
        refused(run("train", photos, *FAST, "--out", tmp_path / "run"), "no permission", "dark")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", closed_parent)
        refused(run("train", photos, *FAST, "--out", tmp_path / "run"), "Permission denied")


# -- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "resnet51"], ["resnet51", "resnet50"]),
        (["--recipe", "smal"], ["smal", "small"]),
        (["--set", "lrr=1"], ["lrr"]),
        (["--set", "lr"], ["--set lr", "field=value"]),
        (["--checkpoint-every", "soon"], ["'soon'", "5m"]),
        (["--device", "gpu"], ["--device gpu"]),
        (["--speed", "fast"], ["--speed fast", "auto, exact", "precision"]),
        (["--speed", "precison=bf16"], ["precison", "did you mean precision"]),
        (["--speed", "precision=fp8"], ["precision=fp8", "fp32, bf16"]),
        (["--speed", "threads=0"], ["threads=0", "from 1"]),
        (["--speed", "auto", "--speed", "exact"], ["either auto or exact"]),
        (["--stem", "large"], ["--stem large", "small"]),
        (["--channels", "2"], ["--channels 2", "grey"]),
        (["--val-fraction", "0.9", "--test-fraction", "0.2"], ["val_fraction"]),
        (["--weights", "nothing.safetensors"], ["nothing.safetensors"]),
        (["--size", "9000"], ["9000"]),
        (["--recipe", "linear"], ["linear", "--weights"]),
    ],
)
def test_options_that_cannot_be(
    run: Run, photos: Path, tmp_path: Path, options: list[str], words: list[str]
) -> None:
    refused(run("train", photos, *FAST, "--out", tmp_path / "run", *options), *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--model", "resnet51"],
        ["--recipe", "smal"],
        ["--set", "nope=1"],
        ["--stem", "large"],
        ["--channels", "2"],
        ["--weights", "nothing.safetensors"],
        ["--out", "."],
    ],
)
def test_misspelt_options_are_refused_before_the_data_are_read(
    run: Run, photos: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    status, _, error = run("train", photos, *options)
    assert status == 2
    assert len(error.splitlines()) == 1, error  # not even the line that counts the photos


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fail-on", "errors"], ["--fail-on errors", "did you mean error"]),
        (["--group", "("], ["--group (", "not a regular expression"]),
        (["--group", "person"], ["--group person", "matches no photo"]),
        (["--group-column", "person"], ["--group-column person", "is no table"]),
        (["--group", "d", "--group-column", "e"], ["--group and --group-column", "one of them"]),
        (["--val-fraction", "2"], ["val_fraction 2"]),
        (["--split-table", "none.csv"], ["none.csv"]),
        (["--report", "page.pdf"], ["--report page.pdf", ".html"]),
        (["--write-split", "split.xlsx"], ["--write-split split.xlsx", ".csv or .parquet"]),
        (["--report", "no/page.html"], ["--report no/page.html: no is not a folder"]),
        (["--keep-splits"], ["--keep-splits: is for --write-split"]),
        (["--folds", "3"], ["--folds 3: is for --labels"]),
        (["--work", "w"], ["--work w: is for --labels"]),
        (["--weights", "m.safetensors"], ["--weights m.safetensors: is for --labels"]),
        (["--device", "cpu"], ["--device cpu: is for --labels"]),
        (["--labels", "--labels-out", "all.csv"], ["--labels-out all.csv", ".parquet"]),
        (["--labels", "--labels-report", "page"], ["--labels-report page", ".html"]),
        (["--labels", "--write-labels", "a.txt"], ["--write-labels a.txt", ".csv"]),
        (["--labels", "--folds", "1"], ["--folds", "2"]),
        (["--labels", "--folds", "100"], ["--folds 100", "24 is the most"]),
        (["--labels", "--weights", "none.safetensors"], ["none.safetensors"]),
        (["--labels", "--recipe", "fastt"], ["fastt", "fast"]),
        (["--labels", "--budget", "soon"], ["soon"]),
        (["--labels", "--weights", "MODEL", "--epochs", "3"], ["--epochs 3", "--recipe"]),
        (["--labels", "--work", "."], [". holds something else"]),
    ],
)
def test_options_of_check_that_cannot_be(
    run: Run,
    photos: Path,
    model: Path,
    options: list[str],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(photos.parent)
    before = snapshot(photos.parent)
    given = [str(model) if option == "MODEL" else option for option in options]
    status, _, error = run("check", photos, *given)
    lines = [line for line in error.splitlines() if line.startswith("resnets: error: ")]
    assert (status, len(lines)) == (2, 1), error
    assert all(word in lines[0] for word in words), lines
    assert {k: v for k, v in snapshot(photos.parent).items() if not k.endswith(".lock")} == before


def test_check_overwrites_nothing(run: Run, photos: Path, tmp_path: Path) -> None:
    refused(run("check", tmp_path / "nothing"), str(tmp_path / "nothing"), "does not exist")
    for option, name in (
        *(("--json", "a.json"), ("--report", "a.html"), ("--write-split", "a.csv")),
        *(
            ("--labels-out", "a.parquet"),
            ("--labels-report", "b.html"),
            ("--write-labels", "b.csv"),
        ),
    ):
        file = tmp_path / name
        file.write_text("mine")
        labels = ["--labels"] if "labels" in option else []
        refused(run("check", photos, *labels, option, file), name, "exists", "--force")
        assert file.read_text() == "mine"


def test_resuming_a_file_of_the_run(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("config.yaml", "best.safetensors"):
        (tmp_path / "run" / name).touch()
    refused(run("resume", tmp_path / "run" / "best.safetensors"), f"mean {tmp_path / 'run'}?")


def test_an_output_that_exists(run: Run, photos: Path, tmp_path: Path, model: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    refused(run("train", photos, *FAST, "--out", tmp_path / "run"), "exists")
    out = tmp_path / "out.csv"
    out.write_text("mine")
    refused(run("predict", model, photos, "--out", out), "out.csv", "exists", "--force")
    refused(run("evaluate", model, photos, "--json", out), "exists")
    assert out.read_text() == "mine"
    assert (tmp_path / "run" / "mine.txt").read_text() == "mine"
    assert run("predict", model, photos, "--out", out, "--force")[0] == 0
    assert run("predict", model, photos, "--out", tmp_path / "out.CSV")[0] == 0
    assert (tmp_path / "out.CSV").read_text() == out.read_text()
    assert run("convert", model, tmp_path / "M.SAFETENSORS")[0] == 0
    assert run("check", photos, "--write-split", tmp_path / "S.CSV", "--fail-on", "never")[0] == 0
    assert out.read_text().startswith("path,label,probability,status,label_1")


def test_outputs_that_cannot_be_written(
    run: Run, photos: Path, tmp_path: Path, model: Path
) -> None:
    refused(run("predict", model, photos, "--out", tmp_path / "no" / "o.csv"), "not a folder")
    refused(run("predict", model, photos, "--out", tmp_path), "is a folder")
    refused(run("predict", model, photos, "--out", tmp_path / "o.xlsx"), ".parquet", ".csv")


@pytest.mark.parametrize("module", ["resnets.weights.model_file", "resnets.training.checkpoint"])
def test_a_disk_that_fills_up_in_training(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(f"{module}.save_file", full)
    before = snapshot(photos)
    refused(run("train", photos, *FAST, "--out", tmp_path / "run"), "No space left", "run")
    assert snapshot(photos) == before
    # Without a first checkpoint there is no run, and its name is free again.
    assert (tmp_path / "run").exists() == module.endswith("model_file")


def test_a_disk_that_fills_up_in_predict(
    run: Run, photos: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "rows.jsonl"
    out.write_text("old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("resnets.files.sync", full)
    refused(run("predict", model, photos, "--out", out, "--force"), "No space left", str(out))
    assert out.read_text() == "old"
    assert not list(tmp_path.glob(".rows*"))


# -- models -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model file of the two classes ``dark`` and ``light``, untrained."""
    from resnets.data.preprocess import Preprocess
    from resnets.nn import ResNet
    from resnets.weights import model_file
    from resnets.zoo import get_spec

    spec = get_spec("resnet20").replace(num_classes=2, image_size=16)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    weights = ResNet(spec).state_dict()
    preprocess = Preprocess.for_photos(16, 16)
    model_file.save(model_file.Model(spec, ("dark", "light"), preprocess, weights), path)
    return path


def test_model_files_that_are_none(run: Run, photos: Path, tmp_path: Path, model: Path) -> None:
    content = model.read_bytes()
    files: dict[str, tuple[bytes, str]] = {
        "truncated.safetensors": (content[:-100], "truncated"),
        "stub.safetensors": (content[:5], "truncated"),
        "empty.safetensors": (b"", "truncated"),
        "flipped.safetensors": (content[:-5] + b"\x01" + content[-4:], "SHA-256"),
        "text.safetensors": (b"these are no weights at all", "not a safetensors"),
    }
    for name, (broken, word) in files.items():
        (tmp_path / name).write_bytes(broken)
        refused(run("predict", tmp_path / name, photos), name, word)
        refused(run("evaluate", tmp_path / name, photos), name, word)
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pth")
    refused(run("predict", tmp_path / "a.pth", photos), "a.pth", "pickle")
    refused(run("predict", tmp_path / "none.safetensors", photos), "none.safetensors")
    refused(run("describe", tmp_path / "truncated.safetensors"), "truncated")
    refused(run("describe", "resnet_50"), "resnet50")
    refused(run("resume", tmp_path), "not a run folder")


def test_a_mistyped_command_is_told_in_one_line(run: Run, photos: Path) -> None:
    for command, word in (
        (["trian", photos], "Did you mean 'train'"),
        (["train"], "missing argument 'data'"),
        (["train", photos, "--epoch", "3"], "--epochs"),
        (["train", photos, "--epochs", "0"], "--epochs"),
        (["train", photos, "--epochs", "many"], "--epochs"),
        (["predict", "m", photos, "--top", "0"], "--top"),
    ):
        status, _, error = run(*command)
        assert status == 2
        assert len(error.splitlines()) == 1
        assert word in error
    status, shown, _ = run()
    assert (status, "Usage" in shown) == (2, True)


def test_evaluate_names_what_is_hard(run: Run, photos: Path, model: Path) -> None:
    status, shown, _ = run("evaluate", model, photos, "--split", "all")
    assert status == 0
    assert re.search(r"^right +\d+ of \d+$", shown, re.MULTILINE)
    assert re.search(r"^taken +(dark for light|light for dark) \(\d+\)", shown, re.MULTILINE)


def test_other_classes_are_listed(run: Run, photos: Path, model: Path) -> None:
    draw(photos / "grey" / "1.png", 100)
    draw(photos / "grey" / "2.png", 101)
    draw(photos / "grey" / "3.png", 102)
    refused(run("evaluate", model, photos), "only in the data: grey")


def test_predict_gives_every_input_a_row(
    run: Run, photos: Path, tmp_path: Path, model: Path
) -> None:
    (photos / "dark" / "00 empty.png").write_bytes(b"")
    missing = tmp_path / "missing.png"
    out = tmp_path / "rows.csv"
    status, _, error = run("predict", model, photos / "dark", missing, "--out", out)
    assert status == 0
    assert "2 of 14" in error
    rows = out.read_text().splitlines()[1:]
    assert len(rows) == 14
    assert "dark/00 empty.png,,,empty file," in rows[1]
    assert "missing.png,,,file not found" in rows[-1]
    (photos / "dark" / "phone.heic").write_bytes(b"")
    (photos / "dark" / ".hidden.png").write_bytes(b"")
    status, _, error = run("predict", model, photos / "dark", "--out", out, "--force")
    assert status == 0
    assert "ignored: other files (1)" in error
    assert "ignored: hidden files (1)" in error
    status, printed, _ = run("predict", model, photos / "dark", "--out", "-", "--top", 2)
    assert status == 0
    answers = [json.loads(line) for line in printed.splitlines()]
    assert sorted(len(answer["top"]) for answer in answers) == [0] + [2] * 12
    shown = run("predict", model, photos / "dark", "--top", 2)[1].splitlines()
    assert sorted(len(line.split("\t")) for line in shown) == [3] + [5] * 12
    assert run("predict", model, missing)[0] == 2
    refused(run("predict", model, str(tmp_path / "*.gif")), "*.gif")


def _png_header(width: int, height: int) -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


# -- explain, and what is asked of predict and evaluate -------------------------------------------


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("explain MODEL nothing.png -k 3", ["-k 3: is for --neighbours"]),
        ("explain MODEL nothing.png --path-column p", ["--path-column p: is for --neighbours"]),
        ("explain MODEL PHOTOS --out o.txt", ["--out o.txt", ".html", ".png"]),
        ("explain MODEL PHOTOS --out no/o.html", ["--out no/o.html: no is not a folder"]),
        ("explain MODEL PHOTOS --method magic", ["--method magic"]),
        ("explain MODEL PHOTOS --layer layer7", ["--layer layer7", "no such stage"]),
        ("explain MODEL PHOTOS --class drak", ["--class drak", "did you mean dark?"]),
        ("explain MODEL PHOTOS --neighbours nothing", ["nothing"]),
        ("explain MODEL empty/*.png", ["empty/*.png"]),
        ("explain MODEL PHOTOS --out no/o", ["--out no/o: no is not a folder"]),
        ("explain MODEL PHOTOS --json PHOTOS", ["--json", "is a folder"]),
        ("predict MODEL PHOTOS --out o.txt", ["--out o.txt", ".parquet, .csv or .jsonl"]),
        ("predict MODEL PHOTOS --out no/o.csv", ["--out no/o.csv: no is not a folder"]),
        ("models --json no/o.json", ["--json no/o.json: no is not a folder"]),
        ("check PHOTOS --json no/o.json", ["--json no/o.json: no is not a folder"]),
        ("convert MODEL no/o.safetensors", ["DST no/o.safetensors: no is not a folder"]),
        ("convert MODEL MODEL", ["DST", "exists"]),
        ("predict MODEL PHOTOS --keep 0.9", ["--keep 0.9: is for --reject"]),
        ("predict MODEL PHOTOS --reject", ["--reject", "evaluate MODEL DATA --calibrate"]),
        ("predict CALLED PHOTOS --reject", ["--reject", "a class called unknown"]),
        ("evaluate MODEL PHOTOS --calibrate o.pt", ["o.pt", ".safetensors"]),
        (
            "evaluate MODEL PHOTOS --calibrate o.safetensors --split test",
            ["--calibrate --split test", "take val"],
        ),
        ("evaluate MODEL FEW --calibrate o.safetensors --split all", ["--calibrate: 4 photos"]),
        ("evaluate MODEL PHOTOS --robustness blurr", ["--robustness blurr", "did you mean blur?"]),
        ("evaluate MODEL PHOTOS --limit 5", ["--limit 5: is for --robustness"]),
        ("evaluate MODEL PHOTOS --against nothing.safetensors", ["nothing.safetensors"]),
        ("evaluate MODEL PHOTOS --against CALLED", ["only in", "unknown"]),
        ("evaluate MODEL PHOTOS --slice site", ["--slice site", "no table", "folder:1"]),
        ("evaluate MODEL PHOTOS --slice folder:0", ["--slice folder:0", "from 1"]),
        (
            "evaluate MODEL PHOTOS --report o.pdf",
            ["--report o.pdf: name a file that ends in .html"],
        ),
        ("evaluate MODEL PHOTOS --out o.csv", ["--out o.csv: name a file that ends in .parquet"]),
        ("evaluate MODEL PHOTOS --map o.pdf", ["--map o.pdf", "ends in .html or .png"]),
        ("evaluate MODEL PHOTOS --map no/o.html", ["no is not a folder"]),
        ("evaluate MODEL FEW --map o.html --split all", ["--map: 4 photos", "10 or more"]),
        ("evaluate MODEL PHOTOS --report PHOTOS", ["--report", "is a folder"]),
        ("evaluate MODEL PHOTOS --calibrate MODEL", ["--calibrate", "exists"]),
        ("describe MODEL --diagram o.png", ["--diagram o.png: name a file that ends in .svg"]),
        ("check PHOTOS --report o.pdf", ["--report o.pdf: name a file that ends in .html"]),
        ("evaluate MODEL PHOTOS --calibrate MODEL --force", ["is what is read here"]),
        ("evaluate MODEL PHOTOS --report o.html --json o.html", ["named for two outputs"]),
        ("evaluate MODEL PHOTOS --split tets", ["no split 'tets'", "did you mean test?"]),
        ("convert MODEL MODEL --force", ["is what is read here"]),
        ("explain MODEL PHOTOS --out PHOTOS --force", ["is what is read here"]),
        ("check PHOTOS --report o.html --json o.html", ["named for two outputs"]),
    ],
)
def test_what_cannot_be_asked_of_a_model(
    run: Run,
    photos: Path,
    model: Path,
    tmp_path: Path,
    command: str,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from resnets.weights import model_file

    called, few = tmp_path / "called.safetensors", tmp_path / "few"
    classes = ("light", "unknown")
    model_file.save(dataclasses.replace(model_file.load(model), classes=classes), called)
    for name in ("dark/0.png", "dark/1.png", "light/0.png", "light/1.png"):
        (few / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / name, few / name)
    before = snapshot(tmp_path)
    monkeypatch.chdir(tmp_path)
    known = {"MODEL": model, "PHOTOS": photos, "CALLED": called, "FEW": few}
    refused(run(*(known.get(word, word) for word in command.split())), *words)
    assert snapshot(tmp_path) == before
