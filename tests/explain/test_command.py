"""``resnets explain`` and ``resnets evaluate --map``, from the command line to the page."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnets.explain import pictures
from resnets.explain.explainer import BATCH, Explainer
from resnets.explain.methods import METHODS
from resnets.explain.output import Output, line

Make = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]
Browser = Callable[[Path], None]


def test_a_page_of_many_photos(
    make: Make, photos: Path, tmp_path: Path, run: Run, browser: Browser
) -> None:
    out, rows = tmp_path / "page.html", tmp_path / "rows.json"
    odd = tmp_path / "photos" / ("<b>" + "long" * 20 + ".png")
    (photos / "0.png").rename(odd)
    command = ("explain", make(), photos, "--out", out, "--json", rows, "--device", "cpu")
    status, printed, said = run(*command, "--neighbours", "sign-digits", "-k", 3)
    assert status == 0, said
    assert "maps     " in said
    assert " at layer3" in said
    assert "1 of 4 are not explained" in said
    assert len(printed.splitlines()) == 4
    text = out.read_text()
    assert "<b>long" not in text
    assert "<script" not in text
    assert text.count("<article>") == 3
    assert "Rank correlation with 3 networks" in text
    assert "Deletion" in text
    assert "Nearest photos to it" in text
    assert out.stat().st_size < 5e6
    values = json.loads(rows.read_text())
    assert values["layer"] == "layer3"
    for name in ("deletion", "insertion"):
        better = sum(row[name]["better_than_random"] for row in values["photos"] if name in row)
        assert f"<dd>{better} <small>of 3: {name}</small></dd>" in text
    assert [row["status"] == "ok" for row in values["photos"]].count(True) == 3
    browser(out)
    status, _, said = run(*command)
    assert status == 2
    assert "exists" in said


def test_a_picture_of_one_photo(make: Make, photos: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "one.png"
    options = ("--out", out, "--test", "quick", "--device", "cpu")
    status, _, said = run("explain", make(), photos / "60.png", *options)
    assert status == 0, said
    with Image.open(out) as picture:
        assert picture.width > 2 * 224
        assert picture.height > 224
    status, _, said = run("explain", make(), photos, "--out", tmp_path / "two.png")
    assert status == 2
    assert "there are 4" in said


def test_a_folder_has_a_picture_of_each_and_a_page(
    make: Make, photos: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "out"
    options = ("--out", out, "--test", "none", "--class", "0", "--device", "cpu")
    status, printed, said = run("explain", make(), photos, *options, "--json", "-")
    assert status == 0, said
    assert sorted(path.name for path in out.iterdir()) == [
        "1-0.png",
        "2-60.png",
        "3-90.png",
        "explain.html",
    ]
    assert {
        row.get("explained", {}).get("label", "0") for row in json.loads(printed)["photos"]
    } == {"0"}
    assert "not of this run" not in said
    status, _, said = run("explain", make(), photos, *options)
    assert status == 2
    assert "not empty" in said
    status, _, said = run("explain", make(), photos / "90.png", *options, "--force")
    assert status == 0, said
    assert "pictures that are not of this run: 3, such as 1-0.png" in said
    assert len(list(out.iterdir())) == 5


@pytest.mark.parametrize("name", ["a.HTML", "a.PNG"])
def test_an_ending_counts_in_any_case(
    name: str, make: Make, photos: Path, tmp_path: Path, run: Run
) -> None:
    made, out = make(), tmp_path / "out" / name
    out.parent.mkdir()
    options = ("--out", out, "--test", "none", "--device", "cpu")
    status, _, said = run("explain", made, photos / "0.png", *options)
    assert status == 0, said
    assert [*out.parent.iterdir()] == [out]
    assert out.read_bytes()[:5] == (b"<!doc" if name == "a.HTML" else b"\x89PNG\r")
    status, _, said = run("explain", made, photos / "0.png", *options)
    assert status == 2
    assert f"--out {out} exists" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--out", "a.txt"), "a page is .html"),
        (("--method", "magic"), "--method magic: unknown; one of: "),
        (("--class", "cat"), "no such class"),
        (("--layer", "stem"), "no such stage"),
        (
            ("--method", "occlusion", "--layer", "layer1"),
            "--layer layer1: is for the methods gradcam, hirescam, xgradcam; occlusion has no",
        ),
        (("-k", "3"), "-k 3: is for --neighbours"),
        (("--nearest", "3"), "-k 3: is for --neighbours"),
        (("--path-column", "p"), "--path-column p: is for --neighbours"),
        (("--label-column", "l"), "--label-column l: is for --neighbours"),
    ],
)
def test_bad_options_get_one_line(
    options: tuple[str, ...], words: str, make: Make, photos: Path, tmp_path: Path, run: Run
) -> None:
    out = () if "--out" in options else ("--out", tmp_path / "o.html")
    status, _, said = run("explain", make(), photos, *out, *options)
    assert status == 2
    assert words in said
    assert not (tmp_path / "o.html").exists()


def test_a_line_says_what_the_network_says_and_what_is_explained(make: Make, photos: Path) -> None:
    explainer = Explainer.load(make(), "cpu", test="quick")
    (own,) = explainer.explain([("a", photos / "0.png")])
    label, p = own.top[0]
    tests = [f"{name} {'yes' if own.curves[name].better else 'no'}" for name in own.curves]
    assert line(own).split("\t")[:3] == ["a", label, f"{p:.4f}"]
    assert line(own).endswith(f"\tbetter than random order: {', '.join(tests)}")
    assert [test.partition(" ")[0] for test in tests] == ["deletion", "insertion"]
    other, q = own.top[1]
    (one,) = explainer.explain([("a", photos / "0.png")], other)
    assert line(one).startswith(f"a\t{label}\t{p:.4f}, explained: {other} {q:.4f}\t")


def test_the_lines_of_a_picture_do_not_overlap(
    make: Make, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer = Explainer.load(make(classes=tuple("0123456789")), "cpu", test="quick")
    written: list[tuple[str, tuple[float, ...]]] = []
    draw = pictures.ImageDraw.ImageDraw.text

    def text(pen: Any, at: Any, words: str, ink: Any, font: Any, **options: Any) -> None:
        written.append((words, pen.textbbox(at, words, font, **options)))
        draw(pen, at, words, ink, font, **options)

    for top in (1, 5):
        (one,) = explainer.explain([("a", photos / "0.png")], top=top)
        with monkeypatch.context() as patch:
            patch.setattr(pictures.ImageDraw.ImageDraw, "text", text)
            written.clear()
            sheet = pictures.side_by_side(one, "how it was made")
        whole = " ".join(words for words, _ in written)
        for name, curve in one.curves.items():
            areas = f"{curve.area:.2f}, in random order {curve.random_area:.2f}"
            assert f"{name.capitalize()} {areas}: {curve.verdict}." in whole
        for i, (words, (left, upper, right, lower)) in enumerate(written):
            assert 0 <= left < right <= sheet.width, words
            assert 0 <= upper < lower <= sheet.height, words
            for others, box in written[:i]:
                apart = right <= box[0] or box[2] <= left or lower <= box[1] or box[3] <= upper
                assert apart, (words, others)


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("page.html", "stopped; nothing is written"),
        ("out", r"stopped; pictures of \d+ of 300 photos are in .*out, without a page of them"),
    ],
)
def test_ctrl_c_says_what_is_written(
    out: str, words: str, make: Make, photos: Path, tmp_path: Path
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for i in range(300):
        os.link(photos / "0.png", many / f"{i}.png")
    command = ("explain", make(), many, "--out", tmp_path / out, "--test", "none")
    process = subprocess.Popen(
        [sys.executable, "-m", "resnets", *map(str, command), "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    assert process.stderr.readline().startswith("maps ")
    deadline = time.monotonic() + 120
    while out == "out" and not any((tmp_path / out).glob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch(words, printed.strip())
    assert not list(tmp_path.rglob("*.html"))


def test_the_help_names_every_method(run: Run) -> None:
    _, printed, _ = run("explain", "--help")
    assert all(re.search(rf"\b{re.escape(name)}\b", printed) for name in METHODS)


def test_nothing_but_broken_photos(make: Make, photos: Path, tmp_path: Path, run: Run) -> None:
    page, picture = tmp_path / "o.html", tmp_path / "o.png"
    status, printed, said = run("explain", make(), photos / "broken.png", "--out", page)
    assert status == 2
    assert "not an image" in printed
    assert f"wrote    {page}" in said
    status, printed, said = run("explain", make(), photos / "broken.png", "--out", picture)
    assert status == 2
    assert "not an image" in printed
    assert "wrote" not in said
    assert not picture.exists()


def test_pictures_are_written_as_they_come_and_few_are_kept(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnets.explain.page.MOST", 3)
    explainer = Explainer.load(make(), "cpu", test="none")
    photos = np.random.default_rng(0).integers(0, 255, (2 * BATCH, 32, 32, 3)).astype(np.uint8)
    output = Output(explainer, tmp_path / "out", len(photos))
    alive = []
    for number, one in enumerate(explainer.explain((f"{i}", p) for i, p in enumerate(photos)), 1):
        output.add(one)
        alive.append(weakref.ref(one))
        assert len(list((tmp_path / "out").iterdir())) == number
    del one
    gc.collect()
    assert sum(reference() is not None for reference in alive) == 3
    output.close()
    text = (tmp_path / "out" / "explain.html").read_text()
    assert text.count("<article>") == 3
    assert f"The first 3 of {2 * BATCH} are shown" in text


def test_a_map_of_a_split(make: Make, tmp_path: Path, run: Run, browser: Browser) -> None:
    model = make(classes=tuple("0123456789"))
    page, picture = tmp_path / "map.html", tmp_path / "map.PNG"
    status, printed, said = run(
        "evaluate", model, "sign-digits", "--split", "val", "--map", page, "--json", "-"
    )
    assert status == 0, said
    figures = json.loads(printed)["map"]
    assert figures["n"] == 209
    assert 0.5 < figures["trustworthiness"] <= 1
    assert 0 < figures["neighbours_right"] <= 1
    text = page.read_text()
    assert text.count("<use ") == 209
    assert "Who is near whom" in text
    browser(page)
    status, _, said = run("evaluate", model, "sign-digits", "--split", "val", "--map", picture)
    assert status == 0, said
    with Image.open(picture) as drawn:
        assert drawn.width >= 1000
    status, _, said = run("evaluate", model, "sign-digits", "--map", tmp_path / "map.pdf")
    assert status == 2
    assert ".html or .png" in said
