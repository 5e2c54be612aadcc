"""Splits by whole groups: nothing straddles, classes stay in proportion, train takes the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnets.audit.check import check
from resnets.audit.splitting import keep_splits, split_groups, write_split_table
from resnets.data.sources import open_dataset
from resnets.data.split import Fractions
from resnets.data.tables import read_split_table
from resnets.errors import UserError

Cases = Callable[[str], Any]


def _ids(count: int) -> list[str]:
    return [f"photo {i}" for i in range(count)]


@given(
    groups=st.lists(st.integers(0, 20), min_size=1, max_size=80),
    seed=st.integers(0, 5),
    val=st.sampled_from([0.0, 0.1, 0.3]),
)
def test_no_group_straddles_and_every_class_is_taught(
    groups: list[int], seed: int, val: float
) -> None:
    numbers = np.asarray(groups)
    labels = np.asarray([(i * 7 + seed) % 3 for i in range(len(groups))])
    splits = split_groups(_ids(len(groups)), labels, numbers, Fractions(seed, val, 0.2))
    for group in set(groups):
        assert len(set(splits[numbers == group].tolist())) == 1
    assert set(labels[splits == "train"]) == set(labels)
    assert val or "val" not in splits


def test_single_photos_are_split_exactly() -> None:
    labels = np.repeat([0, 1], [100, 50])
    splits = split_groups(_ids(150), labels, np.arange(150), Fractions())
    for label, count in ((0, 100), (1, 50)):
        own = splits[labels == label]
        assert {s: int((own == s).sum()) for s in ("train", "val", "test")} == {
            "train": count * 7 // 10,
            "val": count // 10,
            "test": count // 5,
        }


def test_groups_keep_classes_close_to_the_fractions() -> None:
    rng = np.random.default_rng(0)
    groups = np.sort(rng.integers(0, 150, 1000))
    labels = rng.integers(0, 5, 150)[groups]
    splits = split_groups(_ids(1000), labels, groups, Fractions())
    for label in range(5):
        share = (splits[labels == label] == "test").mean()
        assert 0.15 < share < 0.25


def test_the_seed_decides() -> None:
    labels, groups = np.zeros(60, np.int64), np.arange(60)
    first, same, other = (
        split_groups(_ids(60), labels, groups, Fractions(seed)).tolist() for seed in (1, 1, 2)
    )
    assert first == same != other


def test_splits_are_kept_but_for_groups_that_straddle() -> None:
    splits = np.asarray(["train", "train", "val", "test", "train"])
    groups = np.asarray([0, 1, 1, 2, 2])
    kept = keep_splits(splits, np.zeros(5, np.int64), groups)
    assert kept.tolist() == ["train", "val", "val", "test", "test"]
    with pytest.raises(UserError, match="no splits to keep"):
        keep_splits(np.asarray(["", ""]), np.asarray([0, 0]), np.asarray([0, 1]))


def test_a_class_that_straddling_groups_took_from_train_is_taught_all_the_same() -> None:
    splits = np.asarray(["train", "train", "test", "test", "test", "train"])
    labels, groups = np.asarray([0, 1, 1, 1, 1, 0]), np.asarray([0, 1, 1, 1, 2, 3])
    kept = keep_splits(splits, labels, groups)
    assert kept.tolist() == ["train", "test", "test", "test", "train", "train"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_written_table_is_read(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"split{suffix}"
    write_split_table(file, ["a, b.jpg", "é.jpg"], np.asarray(["train", "test"]))
    assert read_split_table(file) == {"a, b.jpg": "train", "é.jpg": "test"}


@pytest.mark.parametrize("keep", [False, True])
def test_leaks_are_gone_with_the_split_that_was_written(
    cases: Cases, tmp_path: Path, keep: bool
) -> None:
    case, file = cases("folder"), tmp_path / "split.csv"
    assert case.found.leaks["test"]["exact"] > 0
    counts = case.found.write_split(file, Fractions(), keep)
    assert sum(counts.values()) == len(case.found.data.ids)
    table = read_split_table(file)
    assert set(table) == set(case.found.data.ids)
    groups = case.found.copies.groups()
    names = np.asarray([table[name] for name in case.found.data.ids])
    assert all(len(set(names[groups == group].tolist())) == 1 for group in set(groups.tolist()))
    options = {} if "val" in counts else {"val_fraction": 0.0}  # as the command says
    dataset = open_dataset(case.root, split_table=file, **options)
    assert {k: len(v) for k, v in dataset.splits.items() if k != "all"} == counts


def test_what_the_user_groups_stays_together(make_folder: Callable[..., Path]) -> None:
    root = make_folder(count=40)
    found = check(str(root), group=r"/(\d)\d*\.png")
    groups = found.copies.groups(found.groups)
    assert len(set(groups.tolist())) == 10
    splits = found.data.splits
    torn = [
        g for g in range(10) if len(set(splits[np.asarray(found.groups) == str(g)].tolist())) > 1
    ]
    assert len(found.findings["group-leak"]) == len(torn) > 0
