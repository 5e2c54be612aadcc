"""Every kind of fault is found where it was planted, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from gate import by_kind, judge, judge_copies, made_up

from resnets.audit.kinds import KINDS, Severity
from resnets.audit.photos import REASONS

Cases = Callable[[str], Any]
SETS = ("folder", "table", "grey")
COPIES = {"exact-leak", "near-leak"}
UNNAMED = {"unreadable"}
"""For what no one has thought of: an error of the system while a file is read."""


def _wanted(case: Any) -> list[Any]:
    """Leave out what cannot be planted here: root reads files and folders that are closed."""
    closed = () if os.geteuid() else ("no-permission", "folder-unreadable")
    return [fault for fault in case.planted if fault.kind not in closed]


@pytest.mark.parametrize("name", SETS)
def test_every_planted_fault_is_found(cases: Cases, name: str) -> None:
    case = cases(name)
    rows = judge(_wanted(case), case.found.to_dict())
    assert {kind for kind, row in rows.items() if row["missed"]} == set()


def test_every_kind_is_planted(cases: Cases) -> None:
    planted = {fault.kind for name in SETS for fault in cases(name).planted}
    assert planted | COPIES | UNNAMED == set(KINDS)


def test_reasons_lead_to_kinds() -> None:
    assert {kind for _, kind in REASONS} <= set(KINDS)


def test_good_photos_are_not_spoken_of(cases: Cases) -> None:
    case = cases("folder")
    good = set(case.good)
    single = {
        finding.kind.name: where
        for finding in case.found.findings
        for where in finding.cases
        if len(where.where) == 1 and where.where[0] in good
    }
    assert single == {}


def test_copies_across_splits(cases: Cases) -> None:
    case = cases("folder")
    rows = judge_copies(case.copies, case.found.to_dict())
    assert len(rows) == 7
    assert {manner: row["found"] for manner, row in rows.items()} == {
        manner: row["planted"] for manner, row in rows.items()
    }


def test_false_alarms_are_few(cases: Cases) -> None:
    case = cases("folder")
    wrong = made_up(case.copies, case.planted, case.found.to_dict())
    count = len(case.found.data.ids)
    assert len(wrong) <= 0.001 * count * (count - 1) / 2


def test_a_permission_that_is_missing(
    make_folder: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathlib import Path

    from resnets.audit.check import check

    root = make_folder()
    closed = root / "class 0" / "0.png"
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path == closed:
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    found = by_kind(check(str(root)).to_dict())
    assert found["no-permission"] == [["class 0/0.png"]]


def test_kinds_are_ordered_by_severity(cases: Cases) -> None:
    found = cases("folder").found.findings
    severities = [finding.kind.severity for finding in found]
    assert severities == sorted(severities, reverse=True)
    assert found.worst is Severity.ERROR
    total = sum(len(finding.cases) for finding in found)
    assert sum(found.count(severity) for severity in Severity) == total
