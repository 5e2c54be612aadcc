"""Geometry of the report's line charts; the template turns it into SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, isfinite, log10
from operator import itemgetter

WIDTH, HEIGHT = 340, 210  # user units of the SVG
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 30  # margins around the plot
POINTS = 400  # a longer curve is thinned to about this many
MARKED = 40  # a shorter curve also gets a dot, with a tooltip, at every point


@dataclass(frozen=True)
class Plan:
    """What one chart draws: `series` maps a column of the history to its label."""

    title: str
    series: Mapping[str, str]
    named: str  # the point that the caption names, a key of PICK
    scale: float = 1.0
    unit: str = ""
    from_zero: bool = False
    top: float = inf  # no tick above it


PLANS = (
    Plan("Loss", {"train_loss": "training", "val_loss": "validation"}, "lowest"),
    Plan("Validation top-1", {"val_top1": "validation"}, "highest", 100, " %", top=100),
    Plan("Learning rate", {"lr": "learning rate"}, "highest", from_zero=True),
)
PICK = {"lowest": min, "highest": max}


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Mark:
    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Line:
    """One curve: a CSS class, an SVG path, its dots, a caption (``lowest 0.112 in epoch 9``)."""

    kind: str
    path: str
    marks: tuple[Mark, ...]
    peak: Mark
    caption: str


@dataclass(frozen=True)
class Chart:
    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def charts(history: Sequence[Mapping[str, float]]) -> list[Chart]:
    """One chart for each plan that has at least one point; missing values are gaps, not errors."""
    drawn = (_chart(plan, history) for plan in PLANS)
    return [chart for chart in drawn if chart is not None]


def column(history: Sequence[Mapping[str, float]], key: str) -> list[tuple[float, float]]:
    """The finite values of one column as ``(epoch, value)``."""
    return [
        (float(row["epoch"]), float(row[key]))
        for row in history
        if row.get(key) is not None and "epoch" in row and isfinite(row[key])
    ]


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that enclose ``low..high``.

    A range too narrow for labels of six digits is drawn as a flat line, in a wider range.
    """
    if high - low <= max(1e-5 * abs(high), 1e-5 * abs(low), 1e-30):
        margin = abs(low) * 0.1 or 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / about
    power = 10.0 ** floor(log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def _chart(plan: Plan, history: Sequence[Mapping[str, float]]) -> Chart | None:
    columns = {
        label: [(epoch, value * plan.scale) for epoch, value in column(history, key)]
        for key, label in plan.series.items()
    }
    columns = {label: points for label, points in columns.items() if points}
    if not columns:
        return None
    epochs = [epoch for points in columns.values() for epoch, _ in points]
    values = [value for points in columns.values() for _, value in points]
    y_ticks = nice_ticks(0.0 if plan.from_zero else min(values), max(values))
    y_ticks = [tick for tick in y_ticks if tick <= plan.top]
    x_low, x_high = min(epochs), max(max(epochs), min(epochs) + 1)

    def x(epoch: float) -> float:
        return round(LEFT + (epoch - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        share = (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def line(name: str, points: list[tuple[float, float]]) -> Line:
        thin = points[:: ceil(len(points) / POINTS)]
        drawn = thin if thin[-1] == points[-1] else [*thin, points[-1]]
        marks = tuple(
            Mark(x(e), y(v), f"{name}, epoch {e:g}: {v:.4g}{plan.unit}") for e, v in drawn
        )
        epoch, value = PICK[plan.named](points, key=itemgetter(1))
        caption = f"{name}: {plan.named} {value:.4g}{plan.unit} in epoch {epoch:g}"
        return Line(
            kind=name.replace(" ", "-"),
            path="M" + "L".join(f"{mark.x:g} {mark.y:g}" for mark in marks),
            marks=marks if len(marks) <= MARKED else (),
            peak=Mark(x(epoch), y(value), caption),
            caption=caption,
        )

    whole = [tick for tick in nice_ticks(x_low, x_high, about=8) if tick == int(tick)]
    return Chart(
        title=plan.title,
        lines=tuple(line(label, points) for label, points in columns.items()),
        x_ticks=tuple(Tick(x(t), f"{t:g}") for t in whole if x_low <= t <= x_high),
        y_ticks=tuple(Tick(y(t), f"{t:.6g}{plan.unit}") for t in y_ticks),
    )
