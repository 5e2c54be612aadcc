"""The check as a whole: any source, the command line, the page; nothing of the user's changes."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate import by_kind
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngImageFile

from resnets.audit.check import check
from resnets.audit.page import write_check_page
from resnets.data.sources import open_dataset
from resnets.errors import UserError
from resnets.files import printable

Make = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


def kinds(found: Any) -> set[str]:
    return {finding.kind.name for finding in found.findings}


# -- sources --------------------------------------------------------------------------------------


def test_a_clean_folder_has_next_to_nothing(make_folder: Make) -> None:
    found = check(str(make_folder(count=30)))
    assert kinds(found) == {"split-small"}
    assert found.facts.rows["ok"].all()


def test_arrays_and_tables_of_bytes(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    x[20] = x[3]
    np.savez(tmp_path / "arrays.npz", x=x, y=np.arange(40) % 2)
    found = check(str(tmp_path / "arrays.npz"))
    copies = [case for kind in ("exact-labels", "exact-leak") for case in found.findings[kind]]
    assert {case.where for case in copies} == {("row 3", "row 20")}


def test_a_link_to_nothing_is_told_once(make_folder: Make) -> None:
    root = make_folder()
    links = {
        "missing": ["class 0/gone.png", "class 1/\udcff.JPG"],
        "broken-link": ["class 0/notes", "class 2", "loose.png"],
        "link-loop": ["class 0/self.png"],
    }
    for name in (name for names in links.values() for name in names):
        (root / name).symlink_to("self.png" if "self" in name else "nowhere.png")
    found = by_kind(check(str(root)).to_dict())
    told = {kind: [[printable(name)] for name in names] for kind, names in links.items()}
    assert {kind: sorted(found[kind]) for kind in links} == told
    everything = [where for cases in found.values() for where in cases]
    for name in (printable(name) for names in links.values() for name in names):
        named = [where for where in everything if where == [name]]
        assert len(named) == (2 if "\\x" in name else 1)  # names that are not UTF-8 are, too


def test_copies_that_were_saved_anew_are_found_between_two_folders(
    make_folder: Make, tmp_path: Path
) -> None:
    root, new = make_folder(count=20), tmp_path / "new"
    for file in root.rglob("*1*.png"):
        (new / file.parent.name).mkdir(parents=True, exist_ok=True)
        with Image.open(file) as image:
            image.save(new / file.parent.name / f"{file.stem} again.jpg", quality=80)
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "train").symlink_to(root)
    (tmp_path / "both" / "test").symlink_to(new)
    found = check(str(tmp_path / "both"), val_fraction=0.0)
    assert found.leaks == {"test": {"photos": 22, "exact": 0, "near": 22}}
    pairs = {frozenset(case.where) for case in found.findings["near-leak"]}
    assert frozenset(("train/class 0/1.png", "test/class 0/1 again.jpg")) in pairs


def test_a_split_table_is_what_is_checked(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder(count=20)
    (root / "class 0" / "copy.png").write_bytes((root / "class 0" / "0.png").read_bytes())
    ids = open_dataset(root).splits["all"].ids
    held = {"class 0/copy.png": "test", "class 1/1.png": "test"}
    found = check(str(root), split_table={name: held.get(name, "train") for name in ids})
    assert found.leaks["test"] == {"photos": 2, "exact": 1, "near": 0}
    (case,) = found.findings["exact-leak"]
    assert set(case.where) == {"class 0/0.png", "class 0/copy.png"}


def test_what_training_refuses_is_an_error_in_its_words(make_folder: Make) -> None:
    root = make_folder(classes=1)
    with pytest.raises(UserError) as refusal:
        open_dataset(root)
    (case,) = check(str(root)).findings["refused"]
    assert case.detail == str(refusal.value)


def test_two_folders_of_one_split_are_looked_into_all_the_same(make_folder: Make) -> None:
    root = make_folder(name="data/train")
    make_folder(name="data/training")
    found = check(str(root.parent))
    assert {"refused", "exact-copies"} <= kinds(found)
    assert len(found.data.ids) == 48
    assert found.data.classes == ("class 0", "class 1")


def test_data_without_a_single_photo(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder(count=2)
    for file in root.rglob("*.png"):
        file.write_bytes(b"no photo")
    found = check(str(root))
    assert len(found.findings["not-an-image"]) == 4
    assert len(found.findings["class-unreadable"]) == 2
    write_check_page(found, tmp_path / "check.html")
    (tmp_path / "empty").mkdir()
    found = check(str(tmp_path / "empty"))
    assert "is empty" in found.findings["refused"][0].detail
    write_check_page(found, tmp_path / "empty.html")


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that says how large it is, and holds next to nothing of it."""
    with io.BytesIO() as file:
        Image.new("1", (8, 8)).save(file, "PNG")
        content = bytearray(file.getvalue())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def test_photos_are_decoded_once_and_too_large_ones_never(
    make_folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder(count=3)
    (root / "class 0" / "huge.png").write_bytes(png_header(13_000, 12_000))
    sizes = []
    load_prepare = PngImageFile.load_prepare

    def note(image: PngImageFile) -> None:
        sizes.append(image.size)
        load_prepare(image)

    monkeypatch.setattr(PngImageFile, "load_prepare", note)
    (case,) = check(str(root)).findings["bomb"]
    assert case.where == ("class 0/huge.png",)
    assert sizes == [(32, 32)] * 6


def test_exif_behind_the_pixels_of_a_png_is_seen(make_folder: Make) -> None:
    root = make_folder()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    photo = root / "class 0" / "0.png"
    content = photo.read_bytes()
    photo.write_bytes(content[:-12] + chunk + content[-12:])  # before IEND
    assert [case.where for case in check(str(root)).findings["turned"]] == [("class 0/0.png",)]


def test_without_near(make_folder: Make) -> None:
    root = make_folder()
    with Image.open(root / "class 0" / "0.png") as image:
        image.resize((40, 40)).save(root / "class 0" / "larger.png")
    assert len(check(str(root)).copies.pairs) == 1
    assert len(check(str(root), near=False).copies.pairs) == 0


# -- the command ----------------------------------------------------------------------------------


def snapshot(root: Path) -> list[tuple[str, int, int, bytes]]:
    return [
        (str(path), info.st_mtime_ns, info.st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(root.rglob("*"))
        for info in [path.lstat()]
    ]


def test_the_command(make_folder: Make, tmp_path: Path, run: Run) -> None:
    root = make_folder(count=20)
    (root / "class 1" / "twin.png").write_bytes((root / "class 0" / "0.png").read_bytes())
    before = snapshot(root)
    table = tmp_path / "split.csv"
    status, output, said = run("check", root, "--write-split", table)
    assert status == 1
    assert "the same pixels with different labels" in output
    assert "class 0/0.png = class 1/twin.png" in output
    assert said.endswith(f"--split-table {table}\n")
    _, _, said = run("check", root, "--write-split", tmp_path / "b.csv", "--val-fraction", 0)
    assert said.endswith("b.csv --val-fraction 0\n")
    assert snapshot(root) == before
    status, output, _ = run("check", root, "--split-table", table, "--json", "-")
    found = json.loads(output)
    assert "exact-leak" not in {finding["kind"] for finding in found["findings"]}
    assert found["errors"] == 1


@pytest.mark.parametrize(
    ("fail_on", "status"), [("note", 1), ("warning", 0), ("error", 0), ("never", 0)]
)
def test_the_exit_status_goes_by_severity(
    make_folder: Make, run: Run, fail_on: str, status: int
) -> None:
    assert run("check", make_folder(count=30), "--fail-on", fail_on)[0] == status


# -- the page -------------------------------------------------------------------------------------


def test_the_page_is_whole(
    cases: Callable[[str], Any], tmp_path: Path, browser: Callable[[Path], None]
) -> None:
    page = tmp_path / "check.html"
    write_check_page(cases("folder").found, page)
    assert page.stat().st_size < 5_000_000
    browser(page)
    text = page.read_text()
    assert text.count("<img") > 50
    for finding in cases("folder").found.findings:
        assert f'id="{finding.kind.name}"' in text


def test_names_are_text_in_the_page(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder()
    os.rename(root / "class 0", root / "<script>alert(1)<")
    (root / "class 1" / "<img src=x>.png").write_bytes(b"")
    page = tmp_path / "check.html"
    write_check_page(check(str(root)), page)
    text = page.read_text()
    assert "<script" not in text
    assert "<img src=x>" not in text
    assert "&lt;img src=x&gt;" in text
