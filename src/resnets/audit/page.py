"""The page of a check: what was found, the photos in question, copies side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from resnets.audit.check import Audit
from resnets.audit.findings import Case, Finding
from resnets.audit.kinds import Severity
from resnets.data.images import DecodeError, decode
from resnets.pages import data_uri, thumbnail, within, write_page

PICTURES: Final = 3 * 2**20
"""Bytes of all thumbnails; the page is a third larger, and stays below 5 MB."""
SHOWN: Final = 12
"""Cases of a kind that are shown with their photos."""
LISTED: Final = 40
"""Cases of a kind that are named; the JSON has them all."""
PHOTOS: Final = 4
"""Photos of one case: a picture may have a hundred copies."""
SIDE: Final = 144


@dataclass(frozen=True)
class _Photo:
    name: str
    picture: str  # a data URI, empty where there is nothing to show
    label: str
    split: str


@dataclass(frozen=True)
class _Section:
    finding: Finding
    cases: Sequence[tuple[Case, Sequence[_Photo]]]
    listed: Sequence[Case]
    more: int


def write_check_page(found: Audit, out: Path) -> None:
    """Write what a check has found as one HTML file of less than 5 MB.

    The photos that it shows are decoded again.

    Raises:
      UserError: the file cannot be written.
    """
    findings = [*found.findings]
    wanted = [case for finding in findings for case in finding.cases[:SHOWN]]
    numbers = {name: i for i, name in enumerate(found.data.ids)}
    names = dict.fromkeys(name for case in wanted for name in case.where[:PHOTOS])
    pictures = dict(_pictures(found, [name for name in names if name in numbers], numbers))
    data = found.data
    described = found.to_dict()

    def photo(name: str) -> _Photo:
        i = numbers[name]
        label = data.classes[data.labels[i]] if data.labels[i] >= 0 else ""
        return _Photo(name, pictures.get(name, ""), label, str(data.splits[i]))

    def section(finding: Finding) -> _Section:
        shown = [
            (case, [photo(name) for name in case.where[:PHOTOS] if name in numbers])
            for case in finding.cases[:SHOWN]
        ]
        pictured = [(case, photos) for case, photos in shown if any(p.picture for p in photos)]
        seen = {id(case) for case, _ in pictured}
        rest = [case for case in finding.cases if id(case) not in seen]
        return _Section(finding, pictured, rest[:LISTED], len(rest[LISTED:]))

    write_page(
        out,
        "resnets.audit",
        "check.html.j2",
        name=data.name,
        root=data.root,
        described=described,
        drawn=bool(data.drawn),
        leaks=[(split, row) for split, row in found.leaks.items() if row["exact"] + row["near"]],
        counts={str(s): found.findings.count(s) for s in reversed(Severity)},
        sections=[section(finding) for finding in findings],
    )


def _pictures(
    found: Audit, names: Sequence[str], numbers: dict[str, int]
) -> Iterator[tuple[str, str]]:
    """Yield the photos that decode as thumbnails, as many as there is room for."""
    small = []
    for name in names:
        try:
            small.append((name, thumbnail(decode(found.data.reader.read(numbers[name])), SIDE)))
        except DecodeError:  # which its finding says
            continue
    fits = within((picture for _, picture in small), PICTURES)
    for (name, picture), there in zip(small, fits, strict=True):
        if there:
            yield name, data_uri(picture)
