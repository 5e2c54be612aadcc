"""What was found: cases by kind, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from resnets.audit.kinds import KINDS, Kind, Severity
from resnets.files import printable

EXAMPLES: Final = 3
"""Cases that are named before they are counted."""


@dataclass(frozen=True)
class Case:
    """One case of a fault.

    Attributes:
      where: the photos, files, folders or classes that it is about; copies come together.
      detail: what there is to say about this very one.
    """

    where: tuple[str, ...]
    detail: str = ""

    def __str__(self) -> str:
        return " = ".join(self.where) + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True)
class Finding:
    """All cases of one kind of fault."""

    kind: Kind
    cases: tuple[Case, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind.name,
            "severity": str(self.kind.severity),
            "what": self.kind.what,
            "way_out": self.kind.way_out,
            "count": len(self.cases),
            "cases": [{"where": [*case.where], "detail": case.detail} for case in self.cases],
        }


class Findings:
    """Collects cases; iterates over the kinds that have any, the worst first."""

    def __init__(self) -> None:
        self._cases: dict[str, list[Case]] = {name: [] for name in KINDS}

    def add(self, kind: str, *where: str, detail: str = "") -> None:
        self._cases[kind].append(Case(tuple(map(printable, where)), printable(detail)))

    def __getitem__(self, kind: str) -> tuple[Case, ...]:
        return tuple(self._cases[kind])

    def __iter__(self) -> Iterator[Finding]:
        names = [name for name, cases in self._cases.items() if cases]
        for name in sorted(names, key=lambda name: -KINDS[name].severity):
            yield Finding(KINDS[name], tuple(self._cases[name]))

    def count(self, severity: Severity) -> int:
        """Return how many cases there are of a severity."""
        return sum(len(finding.cases) for finding in self if finding.kind.severity == severity)

    @property
    def worst(self) -> Severity | None:
        return max((finding.kind.severity for finding in self), default=None)
