"""What a row of the zoo is, and the published figures that rows are checked against."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from resnets.spec import ResNetSpec


@dataclass(frozen=True)
class Figure:
    """A published number; our own count must agree with it to one `step`, its last printed digit.

    `kind` is ``params``, ``weights`` (parameters without those of the norms), ``total`` (with the
    norms' running statistics), ``macs`` (at the row's image size, or at `size` pixels),
    ``macs+norms`` (which counts norms too, as timm does), ``top1`` or ``error`` (both in percent).
    `note` says which of several.
    """

    name: str
    kind: str
    value: float
    step: float
    size: int
    source: str
    note: str = ""


@dataclass(frozen=True)
class Row:
    """An architecture: its spec, a line about it, and `flaws` if it is here as a bad example."""

    spec: ResNetSpec
    about: str
    flaws: tuple[str, ...] = ()

    @property
    def published(self) -> tuple[Figure, ...]:
        """What its authors, and those who ship it, have published about it."""
        return tuple(figure for figure in _figures() if figure.name == self.spec.name)


@cache
def _figures() -> tuple[Figure, ...]:
    with files(__package__).joinpath("published.tsv").open(encoding="utf-8") as file:
        return tuple(
            Figure(
                row["name"],
                row["kind"],
                float(row["value"]),
                float(row["step"]),
                int(row["size"] or 0),
                row["source"],
                row["note"],
            )
            for row in csv.DictReader(file, delimiter="\t")
        )
