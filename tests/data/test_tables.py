"""CSV and Parquet tables: paths, image bytes, splits, and what is wrong with them."""

from __future__ import annotations

import io
import json
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from resnets.data import parquet
from resnets.data.images import decode
from resnets.data.parquet import BytesReader
from resnets.data.samples import Samples
from resnets.data.sources import open_dataset
from resnets.errors import UserError

ROWS = [(f"img/{kind}{i}.jpg", kind) for kind in ("cat", "dog") for i in range(5)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "img").mkdir()
    for path, _ in ROWS:
        (tmp_path / path).touch()
    return tmp_path


def write(file: Path, header: str, rows: list[tuple[str, ...]], delimiter: str = ",") -> Path:
    lines = [header, *(delimiter.join(row) for row in rows)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def photo(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 4), shade).save(stream, "PNG")
    return stream.getvalue()


def write_shard(file: Path, shades: list[int], labels: list[int], group: int = 4) -> Path:
    """Write a table as Hugging Face datasets do: shade `i` has label ``labels[i]``."""
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("image", image), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    images = [{"bytes": photo(shade), "path": None} for shade in shades]
    table = pa.table({"image": images, "label": labels}, schema=schema)
    pq.write_table(table, file, row_group_size=group)
    return file


def shades(samples: Samples) -> list[int]:
    return [int(decode(samples.read(i))[0, 0, 0]) for i in range(len(samples))]


def error(data: Path, **options: str) -> str:
    with pytest.raises(UserError) as caught:
        open_dataset(data, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


# Tables of paths


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("path_name", ["path", "File", "filename", "IMAGE", "image_path"])
@pytest.mark.parametrize("label_name", ["label", "Class", "category", "fine"])
def test_csv(root: Path, delimiter: str, path_name: str, label_name: str) -> None:
    header = delimiter.join(["n", path_name, label_name])
    file = write(root / "t.csv", header, [("7", *row) for row in ROWS], delimiter)
    dataset = open_dataset(file)
    assert dataset.name == "t"
    assert dataset.classes == ("cat", "dog")
    assert {name: len(part) for name, part in dataset.splits.items()} == {
        "train": 6,
        "val": 2,
        "test": 2,
        "all": 10,
    }
    assert dataset.split_info["kind"] == "seeded"
    everything = dataset.splits["all"]
    assert everything.ids == tuple(path for path, _ in ROWS)
    assert everything.read(9) == root / "img/dog4.jpg"
    assert everything.labels.tolist() == [0] * 5 + [1] * 5


def test_a_folder_with_one_table_is_that_table(root: Path) -> None:
    write(root / "labels.csv", "path,label", ROWS)
    assert open_dataset(root).splits["all"].ids[0] == "img/cat0.jpg"


def test_a_table_of_loose_photos_in_split_folders(root: Path) -> None:
    for path in ("train/1.jpg", "train/2.jpg", "test/3.jpg", "test/4.jpg"):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).touch()
    rows = [("train/1.jpg", "a"), ("train/2.jpg", "b"), ("test/3.jpg", "a"), ("test/4.jpg", "b")]
    write(root / "t.csv", "path,label", rows)
    for path, _ in ROWS:
        (root / path).unlink()
    assert len(open_dataset(root, val_fraction=0, test_fraction=0).splits["train"]) == 4


def test_a_split_column_is_followed(root: Path) -> None:
    names = ["train", "train", "Validation", "TEST", "test"] * 2
    rows = [(*row, split) for row, split in zip(ROWS, names, strict=True)]
    dataset = open_dataset(write(root / "t.csv", "path,label,split", rows))
    assert {name: len(part) for name, part in dataset.splits.items()} == {
        "train": 4,
        "val": 2,
        "test": 4,
        "all": 10,
    }
    assert dataset.split_info["kind"] == "table"
    rows[3] = (*ROWS[3], "holdout")
    text = error(write(root / "t.csv", "path,label,split", rows))
    assert "holds 'holdout' in row 3" in text


def test_a_parquet_table_of_paths(root: Path) -> None:
    paths, labels = zip(*ROWS, strict=True)
    table = pa.table({"path": paths, "label": pa.array(labels).dictionary_encode()})
    pq.write_table(table, root / "t.parquet")
    dataset = open_dataset(root / "t.parquet")
    assert dataset.classes == ("cat", "dog")
    assert dataset.splits["all"].read(0) == root / "img/cat0.jpg"


def test_a_byte_order_mark_quotes_and_unicode(root: Path) -> None:
    rows = [(path, f'"{label}, caf\u00e9"') for path, label in ROWS]
    file = write(root / "t.csv", "path,label", rows)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert open_dataset(file).classes == ("cat, caf\u00e9", "dog, caf\u00e9")


def test_columns_can_be_named(root: Path) -> None:
    file = write(root / "t.csv", "where,what,label", [(*row, "x") for row in ROWS])
    assert "has no image column (columns: where, what, label): name the one" in error(file)
    dataset = open_dataset(file, path_column="where", label_column="what")
    assert dataset.classes == ("cat", "dog")
    text = error(file, path_column="wher")
    assert "has no column 'wher'" in text
    assert "did you mean where?" in text


def test_two_label_columns_are_ambiguous(root: Path) -> None:
    file = write(root / "t.csv", "path,label,class", [(*row, "x") for row in ROWS])
    text = error(file)
    assert "2 label columns, label and class" in text
    assert "label_column (--label-column)" in text
    assert open_dataset(file, label_column="label").classes == ("cat", "dog")


def test_missing_files_are_listed(root: Path) -> None:
    rows = [*ROWS, *((f"gone/{i}.jpg", "cat") for i in range(5))]
    text = error(write(root / "t.csv", "path,label", rows))
    assert "names 5 of 15 files that do not exist" in text
    assert "gone/0.jpg, gone/1.jpg, gone/2.jpg, …" in text


def test_an_image_listed_twice(root: Path) -> None:
    same = write(root / "t.csv", "path,label", [*ROWS, ("./img/cat0.jpg", "cat")])
    dataset = open_dataset(same)
    assert len(dataset.splits["all"]) == 10
    assert dataset.ignored == {"repeated rows": 1}
    text = error(write(root / "t.csv", "path,label", [*ROWS, ("img/cat0.jpg", "dog")]))
    assert "gives img/cat0.jpg two labels, cat in row 0 and dog in row 10" in text
    rows = [(*row, "train") for row in ROWS]
    text = error(write(root / "t.csv", "path,label,split", [*rows, (*ROWS[0], "test")]))
    assert "two splits, train in row 0 and test in row 10" in text


def test_labels_that_cannot_be_classes(root: Path) -> None:
    rows = [*ROWS[:3], ("img/cat3.jpg", ""), *ROWS[4:]]
    assert "has no label in row 3 (from 0)" in error(write(root / "t.csv", "path,label", rows))
    floats = [(path, f"{i}.0") for i, (path, _) in enumerate(ROWS)]
    assert "floating-point" in error(write(root / "t.csv", "path,label", floats))
    paths = [path for path, _ in ROWS]
    pq.write_table(pa.table({"path": paths, "label": [0.5] * 10}), root / "t.parquet")
    assert "floating-point" in error(root / "t.parquet")
    pq.write_table(pa.table({"path": paths, "label": [1, None] * 5}), root / "t.parquet")
    assert "has no label in row 1" in error(root / "t.parquet")


def test_rows_without_a_path(root: Path) -> None:
    rows = [*ROWS[:2], ("", "cat")]
    assert "has no path in row 2" in error(write(root / "t.csv", "path,label", rows))


def test_tables_that_cannot_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "has no labelled rows" in error(write(root / "t.csv", "path,label", []))
    (root / "t.csv").write_bytes(b"")
    assert "has no image column" in error(root / "t.csv")
    (root / "t.csv").write_bytes(b"path,label\n1.jpg,\xff\xfe\n")
    assert "cannot be read as a UTF-8 CSV table" in error(root / "t.csv")
    (root / "t.csv").write_bytes(b"path,label\n1.jpg,a,b,c\n")
    assert "cannot be read as a UTF-8 CSV table" in error(root / "t.csv")
    (root / "t.parquet").write_bytes(b"PAR1 is how it begins, and no more")
    assert "cannot be read as a Parquet table" in error(root / "t.parquet")
    (root / "t.parquet").write_bytes(b"")
    assert "cannot be read as a Parquet table" in error(root / "t.parquet")

    def refuse(*args: object, **options: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pq, "read_schema", refuse)
    assert "no permission to read" in error(root / "t.parquet")


def test_several_tables_need_a_name(root: Path) -> None:
    write(root / "one.csv", "path,label", ROWS)
    write(root / "two.csv", "path,label", ROWS)
    assert "several tables (one.csv, two.csv): name one" in error(root)


def test_tables_named_after_splits(root: Path) -> None:
    write(root / "train.csv", "path,label", [ROWS[0], ROWS[1], ROWS[5], ROWS[6]])
    write(root / "test.csv", "path,label", [ROWS[2], ROWS[7]])
    dataset = open_dataset(root)
    assert dataset.splits["test"].ids == ("img/cat2.jpg", "img/dog2.jpg")
    assert len(dataset.splits["val"]) == 2


# Tables of image bytes


def test_hugging_face_shards(tmp_path: Path) -> None:
    write_shard(tmp_path / "train-00000-of-00002.parquet", [10, 20, 30, 40, 50], [0, 1, 0, 1, 0], 2)
    write_shard(tmp_path / "train-00001-of-00002.parquet", [60, 70, 80], [1, 0, 1])
    write_shard(tmp_path / "test-00000-of-00001.parquet", [90, 100], [0, 1])
    dataset = open_dataset(tmp_path)
    assert dataset.classes == ("no", "yes")
    assert {name: len(part) for name, part in dataset.splits.items()} == {
        "train": 6,
        "val": 2,
        "test": 2,
        "all": 10,
    }
    everything = dataset.splits["all"]
    assert len(set(everything.ids)) == 10
    by_shade = dict(zip(shades(everything), everything.labels.tolist(), strict=True))
    assert by_shade == {shade: int(shade % 20 == 0) for shade in range(10, 101, 10)}
    assert shades(dataset.splits["test"]) == [90, 100]
    last = dataset.splits["test"].path(1)
    assert last == f"{tmp_path}/test-00000-of-00001.parquet#row 1"
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "data").symlink_to(tmp_path)
    assert len(open_dataset(tmp_path / "repository").splits["all"]) == 10


def test_one_file_of_bytes_has_rows_for_ids(tmp_path: Path) -> None:
    file = write_shard(tmp_path / "t.parquet", list(range(6)), [0, 1] * 3)
    everything = open_dataset(file).splits["all"]
    assert everything.ids[5] == "row 5"
    assert everything.path(5) == f"{file}#row 5"
    assert shades(everything) == list(range(6))


def test_rows_without_a_label_are_dropped_and_counted(tmp_path: Path) -> None:
    file = write_shard(tmp_path / "t.parquet", list(range(8)), [0, -1, 0, 0, 1, 1, -1, 1])
    dataset = open_dataset(file)
    assert dataset.ignored == {"rows without a label": 2}
    everything = dataset.splits["all"]
    assert shades(everything) == [0, 2, 3, 4, 5, 7]
    assert everything.ids[1] == "row 2"
    assert everything.path(1) == f"{file}#row 2"
    text = error(write_shard(tmp_path / "t.parquet", [0, 1], [0, 2]))
    assert "holds 2, but its metadata names 2 classes" in text


def test_a_binary_column_and_string_labels(tmp_path: Path) -> None:
    table = pa.table({"img": [photo(i) for i in range(6)], "label": ["b", "a"] * 3})
    pq.write_table(table, tmp_path / "t.parquet")
    dataset = open_dataset(tmp_path / "t.parquet")
    assert dataset.classes == ("a", "b")
    assert shades(dataset.splits["all"]) == list(range(6))
    twice = table.append_column("mask", table.column("img"))
    pq.write_table(twice, tmp_path / "t.parquet")
    assert "2 image columns, img and mask" in error(tmp_path / "t.parquet")
    chosen = open_dataset(tmp_path / "t.parquet", path_column="mask")
    assert shades(chosen.splits["all"]) == list(range(6))


def test_integer_labels_without_names_are_sorted_by_value(tmp_path: Path) -> None:
    table = pa.table({"image": [photo(i) for i in range(9)], "label": [2, 10, 1] * 3})
    pq.write_table(table, tmp_path / "t.parquet")
    assert open_dataset(tmp_path / "t.parquet").classes == ("1", "2", "10")


def test_rows_with_a_path_and_no_bytes_are_files(tmp_path: Path) -> None:
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": None, "path": "a/1.png"}, {"bytes": None, "path": None}], image)
    pq.write_table(pa.table({"image": rows}), tmp_path / "t.parquet")
    reader = BytesReader((tmp_path / "t.parquet",), "image")
    assert reader.read(0) == tmp_path / "a/1.png"
    assert reader.read(1) == b""


def test_a_column_that_holds_no_images(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [[1, 2]] * 6, "label": [0, 1] * 3}), tmp_path / "t.parquet")
    assert "column 'image' of" in error(tmp_path / "t.parquet")


def test_row_groups_are_read_when_asked_for_and_few_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_shard(tmp_path / "t.parquet", list(range(20)), [0, 1] * 10, group=5)
    monkeypatch.setattr(parquet, "CACHE_BYTES", 1)
    reader = BytesReader((file,), "image")
    assert reader._group.cache_info().currsize == 0
    for i in (0, 4, 19, 7, 0):
        assert decode(reader.read(i), 1)[0, 0, 0] == i  # type: ignore[arg-type]
    info = reader._group.cache_info()
    assert (info.currsize, info.maxsize) == (1, 1)
    assert (info.hits, info.misses) == (1, 4)


@pytest.mark.parametrize("budget", [1, 2**20])
def test_threads_share_the_reading_of_a_row_group(
    budget: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_shard(tmp_path / "t.parquet", list(range(8)), [0, 1] * 4, group=8)
    loads: list[int] = []
    load = BytesReader._load

    def slow(self: BytesReader, g: int) -> pa.ChunkedArray:
        loads.append(g)
        time.sleep(0.05)
        return load(self, g)

    monkeypatch.setattr(BytesReader, "_load", slow)
    monkeypatch.setattr(parquet, "CACHE_BYTES", budget)
    reader = BytesReader((file,), "image")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(reader.read, range(8)))
    assert found == [photo(shade) for shade in range(8)]
    assert loads == [0]


def test_a_reader_travels_to_another_process_without_its_data(tmp_path: Path) -> None:
    file = write_shard(tmp_path / "t.parquet", list(range(20)), [0, 1] * 10)
    samples = open_dataset(file).splits["val"]
    samples.read(0)
    copy = pickle.loads(pickle.dumps(samples.reader))
    np.testing.assert_array_equal(decode(copy.read(1)), decode(samples.read(1)))
    assert len(pickle.dumps(samples.reader)) < 1000
