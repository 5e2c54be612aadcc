from __future__ import annotations

from pathlib import Path

import pytest

from resnets.errors import UserError
from resnets.training.run_folder import LOCK, RunFolder


def test_a_table_of_splits_that_is_the_users_keeps_its_folder(tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_text("mine")
    with pytest.raises(UserError, match="exists: choose another --out"):
        RunFolder.create(tmp_path)
    assert (tmp_path / "splits.csv").read_text() == "mine"


def test_what_a_kill_before_the_first_file_leaves_is_no_run(tmp_path: Path) -> None:
    for name in (LOCK, "splits.csv", ".config.yaml.abc"):
        (tmp_path / name).touch()
    assert RunFolder.create(tmp_path).path == tmp_path


@pytest.mark.parametrize("there", [True, False])
def test_only_a_folder_that_was_made_is_removed(there: bool, tmp_path: Path) -> None:
    path = tmp_path / "run"
    if there:
        path.mkdir()
    folder = RunFolder.create(path)
    folder.write_splits({"train": ["a"]})
    folder.checkpoints.mkdir()
    folder.discard()
    assert path.exists() == there
    assert not there or not list(path.iterdir())
