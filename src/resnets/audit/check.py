"""The whole check of a data set: every photo decoded once, everything compared, nothing changed."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.audit.classes import check_classes, check_names
from resnets.audit.duplicates import Copies, check_copies, check_groups, find_copies
from resnets.audit.facts import Facts, read_facts
from resnets.audit.findings import Findings
from resnets.audit.folders import check_folders
from resnets.audit.kinds import Severity
from resnets.audit.opening import Opened, open_data
from resnets.audit.photos import check_photos
from resnets.audit.splitting import keep_splits, split_groups, write_split_table
from resnets.audit.tables import check_table, find_table, group_column, table_rows
from resnets.console import Console
from resnets.data.scan import walk
from resnets.data.split import Fractions
from resnets.errors import UserError
from resnets.version import VERSION


@dataclass(frozen=True)
class Audit:
    """What a check has found.

    Attributes:
      data, facts, copies: what was looked at, and what is known of it.
      findings: what is wrong.
      leaks: of each held-out split, how many photos have a copy in train (see `check_copies`).
      groups: what the user said belongs together, a text for each photo; empty if nothing.
      seconds: that it took.
    """

    data: Opened
    facts: Facts
    copies: Copies
    findings: Findings
    leaks: dict[str, dict[str, int]]
    groups: Sequence[str]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, fit for JSON."""
        splits, data = self.data.splits.tolist(), self.data
        return {
            "version": VERSION,
            "data": data.root,
            "photos": len(data.ids),
            "decoded": int(self.facts.rows["ok"].sum()),
            "classes": len(data.classes),
            "splits": {name: splits.count(name) for name in sorted(set(splits) - {""})},
            "drawn": [*data.drawn],
            **{f"{severity}s": self.findings.count(severity) for severity in Severity},
            "leaks": self.leaks,
            "near_pairs": len(self.copies.pairs),
            "seconds": round(self.seconds, 1),
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def all_groups(self) -> NDArray[np.int64]:
        """Return the number of each photo's group, ``N``: photos that copies connect, nearly the
        same ones too, and the user's."""
        return self.copies.groups(*([self.groups] if self.groups else []))

    def write_split(self, file: Path, fractions: Fractions, keep: bool = False) -> dict[str, int]:
        """Write a split table in which no group straddles; return the photos of each split.

        Groups are those of `all_groups`. With `keep` photos stay in their splits, except for those
        of groups that straddle, and of one group of each class that has no training photos.
        """
        data, groups = self.data, self.all_groups()
        splits = (
            keep_splits(data.splits, data.labels, groups)
            if keep
            else split_groups(data.ids, data.labels, groups, fractions)
        )
        write_split_table(file, data.ids, splits)
        names = splits.tolist()
        return {name: names.count(name) for name in ("train", "val", "test") if name in names}


def check(
    data: str,
    *,
    workers: int = 1,
    near: bool = True,
    group: str | None = None,
    group_by: str | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    console: Console | None = None,
    **split: Any,
) -> Audit:
    """Check a data set: every file in full, every photo against every other.

    Args:
      data: a folder, table, array file or built-in name.
      workers: threads that decode.
      near: look for photos that are nearly the same, too.
      group: a regular expression; photos in whose ids it finds the same text (that of its first
        group, if it has one) belong together.
      group_by: a column of the table; photos with the same value belong together.
      path_column, label_column, split: as `open_dataset` takes them.

    Raises:
      UserError: there is nothing to look at, or an option does not fit the data.
    """
    began, console, findings = time.monotonic(), console or Console(), Findings()
    columns = {"path_column": path_column, "label_column": label_column}
    opened = open_data(data, findings, **columns, **split)
    groups = _groups(data, opened, group, group_by, columns)
    folders = _check_layout(Path(data), opened, columns, findings)
    with console.track("Decoding photos", len(opened.ids)) as advance:
        facts = read_facts(opened.reader, len(opened.ids), workers, advance)
    check_photos(facts, opened.ids, findings)
    check_names(opened.classes, folders, findings)
    check_classes(opened, facts, findings)
    with console.track("Comparing photos", int(facts.rows["ok"].sum())) as advance:
        copies = find_copies(facts, near, advance)
    leaks = check_copies(copies, opened, findings)
    check_groups(groups, opened, findings)
    seconds = time.monotonic() - began
    return Audit(opened, facts, copies, findings, leaks, groups, seconds)


def _check_layout(
    path: Path, opened: Opened, columns: Mapping[str, str | None], findings: Findings
) -> list[str]:
    """Add what is wrong with files and rows; return the class folders."""
    if not path.exists():  # a data set of the package
        return []
    if opened.kind == "folders":
        return check_folders(path, opened.ids, findings)
    table = find_table(path)
    if table is None:
        return []
    rows = table_rows(table, **columns)
    check_table(rows, findings)
    named = {row.path for row in rows}
    if rows and path.is_dir():
        for photo in walk(table.parent, Counter()):
            if photo not in named:
                findings.add("not-in-table", photo)
    return []


def _groups(
    data: str,
    opened: Opened,
    pattern: str | None,
    column: str | None,
    columns: Mapping[str, str | None],
) -> Sequence[str]:
    """Return the user's group of each photo, or nothing."""
    if pattern and column:
        raise UserError("--group and --group-column: give one of them")
    if column:
        table = find_table(Path(data))
        if table is None:
            raise UserError(f"--group-column {column}: {data} is no table")
        found = group_column(table, column, **columns)
        return [found.get(name, "") for name in opened.ids]
    if not pattern:
        return []
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--group {pattern}: not a regular expression ({error})") from None
    matches = [wanted.search(name) for name in opened.ids]
    if not any(matches):
        raise UserError(
            f"--group {pattern}: matches no photo; they are called {', '.join(opened.ids[:2])}, …"
        )
    return [(m.group(1) if wanted.groups else m.group()) or "" if m else "" for m in matches]
