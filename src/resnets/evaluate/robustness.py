"""How much of an accuracy corruptions leave: the figures, and what terminal and report show."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.evaluate.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, nice_ticks
from resnets.evaluate.intervals import wilson
from resnets.pages import percent

Z = NormalDist().inv_cdf(0.975)
LOST = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Shares of accuracy lost at which a cell of the report gets a stronger colour."""
Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Cell:
    """One corruption at one severity. Shares are fractions; the interval is Wilson's, 95 %.

    Attributes:
      consistency: share of the photos whose answer, right or wrong, stays what it was.
      level: how strongly the loss is coloured, 0 (hardly any) to 5.
    """

    severity: int
    top1: float
    top1_low: float
    top1_high: float
    consistency: float
    level: int


@dataclass(frozen=True)
class Row:
    """One corruption at all its severities."""

    name: str
    group: str
    cells: tuple[Cell, ...]

    @property
    def top1(self) -> float:
        return float(np.mean([cell.top1 for cell in self.cells]))

    @property
    def consistency(self) -> float:
        return float(np.mean([cell.consistency for cell in self.cells]))


@dataclass(frozen=True)
class Robustness:
    """A classifier on the same photos, clean and corrupted. Shares are fractions.

    Attributes:
      n: photos, and `side` their pixels.
      clean, clean_low, clean_high: top-1 of these photos as they are, with its 95 % interval.
      mean, mean_low, mean_high: mean top-1 over all corruptions and severities, moves left out; its
        interval is that of the photos' own means, as one photo's answers hang together. None
        without corruptions.
      rows: by corruption.
    """

    n: int
    side: int
    clean: float
    clean_low: float
    clean_high: float
    mean: float | None
    mean_low: float | None
    mean_high: float | None
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        rows = [
            {"name": row.name, "group": row.group, "top1": row.top1, "consistency": row.consistency}
            | {"severities": [_plain(cell) for cell in row.cells]}
            for row in self.rows
        ]
        return vars(self) | {"rows": rows}

    def lines(self) -> Iterator[str]:
        """Yield lines for a terminal: a table of top-1 in %, and what it comes to."""
        most = max(len(row.cells) for row in self.rows)
        width = max(len(row.name) for row in self.rows)
        heads = "".join(f"{severity:>7}" for severity in range(1, most + 1))
        yield f"{'severity':{width}}{heads}   mean   same answer"
        for row in self.rows:
            values = "".join(f"{percent(cell.top1):>7}" for cell in row.cells)
            yield (
                f"{row.name:{width}}{values:{7 * most}}{percent(row.top1):>7}"
                f"{percent(row.consistency):>14}"
            )
        low, high = percent(self.clean_low), percent(self.clean_high)
        clean = f"clean {percent(self.clean)} % ({low}–{high} %)"
        if self.mean is None or self.mean_low is None or self.mean_high is None:
            yield f"{clean}, n = {self.n:,}"
            return
        yield (
            f"corrupted {percent(self.mean)} % ({percent(self.mean_low)}–"
            f"{percent(self.mean_high)} %) on average, {clean}, n = {self.n:,}"
        )


def summarise(
    clean: Right,
    right: Mapping[tuple[str, int], Right],
    same: Mapping[tuple[str, int], Right],
    groups: Mapping[str, str],
    side: int,
    moves: str,
) -> Robustness:
    """Return the figures.

    Args:
      clean: which photos are right as they are, ``N``.
      right, same: by (corruption, severity), which are right, and which keep their answer.
      groups: of each corruption; those of `moves` are no part of the mean.
      side: of the photos, pixels.
    """
    n, base = len(clean), float(clean.mean())
    rows = tuple(
        Row(
            name,
            group,
            tuple(
                _cell(severity, values, same[name, severity], base)
                for (of, severity), values in right.items()
                if of == name
            ),
        )
        for name, group in groups.items()
    )
    averaged = [values for (name, _), values in right.items() if groups[name] != moves]
    mean = low = high = None
    if averaged:
        own = np.mean(averaged, axis=0)
        mean = float(own.mean())
        half = Z * float(own.std(ddof=1)) / sqrt(n) if n > 1 else 1.0
        low, high = max(mean - half, 0.0), min(mean + half, 1.0)
    return Robustness(n, side, base, *wilson(int(clean.sum()), n), mean, low, high, rows)


def _cell(severity: int, right: Right, same: Right, clean: float) -> Cell:
    top1 = float(right.mean())
    interval = wilson(int(right.sum()), len(right))
    level = bisect_right(LOST, clean - top1)
    return Cell(severity, top1, *interval, float(same.mean()), level)


def _plain(cell: Cell) -> dict[str, Any]:
    return {name: value for name, value in asdict(cell).items() if name != "level"}


# -- the figure of the report ---------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """The mean of a group of corruptions over severities, as an SVG path with its points."""

    group: str
    path: str
    points: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class Figure:
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def figure(result: Robustness) -> Figure:
    """Return the geometry of top-1 by severity, 0 being the clean photos, a line a group."""
    groups: dict[str, list[Row]] = {}
    for row in result.rows:
        groups.setdefault(row.group, []).append(row)
    most = max(len(row.cells) for row in result.rows)
    ticks = [tick for tick in nice_ticks(0, 100) if tick <= 100]

    def x(severity: float) -> float:
        return round(LEFT + severity / most * (WIDTH - LEFT - RIGHT), 1)

    def y(share: float) -> float:
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def line(group: str, rows: Sequence[Row]) -> Line:
        values = [result.clean]
        for severity in range(1, most + 1):
            found = [c.top1 for row in rows for c in row.cells if c.severity == severity]
            values += [float(np.mean(found))] if found else []
        points = tuple(
            (x(i), y(value), f"{group}, severity {i}: {percent(value)} %")
            for i, value in enumerate(values)
        )
        return Line(group, "M" + "L".join(f"{px:g} {py:g}" for px, py, _ in points), points)

    return Figure(
        lines=tuple(line(group, rows) for group, rows in groups.items()),
        x_ticks=tuple((x(i), str(i) if i else "clean") for i in range(most + 1)),
        y_ticks=tuple((y(tick / 100), f"{tick:g} %") for tick in ticks),
    )
