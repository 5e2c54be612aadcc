"""Rows of predictions: names of any kind, in files and on the screen."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from resnets.predict import Prediction
from resnets.rows import open_rows

ODD = Prediction(os.fsdecode(b"caf\xe9/\xc3\xa9.jpg"), "犬", 0.75, "ok", (("犬", 0.75),))
GONE = Prediction("gone.jpg", None, None, "file not found", ())
SHOWN = "caf\\xe9/é.jpg"


def test_names_that_are_no_utf_8_can_be_saved(tmp_path: Path) -> None:
    for suffix in ("jsonl", "csv", "parquet"):
        with open_rows(tmp_path / f"rows.{suffix}", 1) as write:
            write(ODD)
            write(GONE)
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["path"] for line in lines] == [SHOWN, "gone.jpg"]
    table = (tmp_path / "rows.csv").read_text(encoding="utf-8").splitlines()
    assert table[1:] == [f"{SHOWN},犬,0.75,ok,犬,0.75", "gone.jpg,,,file not found,,"]
    assert pq.read_table(tmp_path / "rows.parquet")["path"].to_pylist() == [SHOWN, "gone.jpg"]


def test_an_ending_counts_in_any_case(tmp_path: Path) -> None:
    for suffix in ("jsonl", "csv", "parquet"):
        for written in (suffix, suffix.upper()):
            with open_rows(tmp_path / f"rows.{written}", 1) as write:
                write(GONE)
        plain, upper = (tmp_path / f"rows.{name}" for name in (suffix, suffix.upper()))
        assert upper.read_bytes() == plain.read_bytes()


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-8", f"{SHOWN}\t犬\t0.7500\n"), ("ascii", "caf\\xe9/\\xe9.jpg\t\\u72ac\t0.7500\n")],
)
def test_any_screen_can_show_them(
    encoding: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict", newline="")
    monkeypatch.setattr(sys, "stdout", screen)
    with open_rows(None, 1) as write:
        write(ODD)
        write(GONE)
    screen.seek(0)
    assert screen.read() == f"{expected}gone.jpg\t-\tfile not found\n"


def test_control_characters_are_shown_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, label = "a\x1b[31m\tb\nc\x9b.jpg", "d\te"
    row = Prediction(name, label, 0.75, "ok", ((label, 0.75),), novelty=0.5)
    with open_rows(None, 1, novelty=True) as write:
        write(row)
    shown = ["a\\x1b[31m\\x09b\\x0ac\\x9b.jpg", "d\\x09e", "0.5000", "d\\x09e", "0.7500"]
    assert capsys.readouterr().out == "\t".join(shown) + "\n"
    for suffix in ("jsonl", "csv", "parquet"):
        with open_rows(tmp_path / f"rows.{suffix}", 1) as write:
            write(row)
    assert json.loads((tmp_path / "rows.jsonl").read_text(encoding="utf-8"))["path"] == name
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as file:
        assert [entry["path"] for entry in csv.DictReader(file)] == [name]
    assert pq.read_table(tmp_path / "rows.parquet")["path"].to_pylist() == [name]
