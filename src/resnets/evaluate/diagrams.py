"""Geometry of two diagrams: confidence against accuracy, and accuracy against coverage."""

from __future__ import annotations

from dataclasses import dataclass

from resnets.evaluate.calibration import Calibration
from resnets.evaluate.coverage import Coverage
from resnets.evaluate.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Tick, nice_ticks
from resnets.pages import percent

__all__ = ["BOTTOM", "HEIGHT", "LEFT", "RIGHT", "TOP", "WIDTH", "reliability", "tradeoff"]

FEW = 10
"""Photos below which a bar is drawn faint: its height says little."""


@dataclass(frozen=True)
class Bar:
    """A bin: its bar from `x`, `width` wide, up to `y`; a line from `low` to `high` for the
    interval; `at` is where its mean confidence is."""

    x: float
    width: float
    y: float
    low: float
    high: float
    at: float
    faint: bool
    label: str


@dataclass(frozen=True)
class Reliability:
    bars: tuple[Bar, ...]
    before: str
    ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Tradeoff:
    path: str
    band: str
    ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]


def x(share: float) -> float:
    """Return where a share of 0 to 1 is drawn, in user units."""
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def y(share: float, low: float = 0.0, high: float = 1.0) -> float:
    return round(HEIGHT - BOTTOM - (share - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)


def reliability(calibration: Calibration, before: Calibration | None = None) -> Reliability:
    """Draw the bins with photos; `before` is a line through those of the model as it was."""
    bars = []
    for part in calibration.bins:
        if part.accuracy is None or part.confidence is None:
            continue
        assert part.accuracy_low is not None
        assert part.accuracy_high is not None
        bars.append(
            Bar(
                x(part.low),
                round(x(part.high) - x(part.low), 1),
                y(part.accuracy),
                y(part.accuracy_low),
                y(part.accuracy_high),
                x(part.confidence),
                part.n < FEW,
                f"sure by {percent(part.low)} to {percent(part.high)} %, on average "
                f"{percent(part.confidence)} %: {percent(part.accuracy)} % of {part.n:,} right",
            )
        )
    points = [
        f"{x(part.confidence):g} {y(part.accuracy):g}"
        for part in (before.bins if before else ())
        if part.accuracy is not None and part.confidence is not None and part.n >= FEW
    ]
    return Reliability(
        tuple(bars), "M" + "L".join(points) if points else "", _shares(y), _shares(x)
    )


def tradeoff(coverage: Coverage) -> Tradeoff:
    """Draw accuracy against coverage; the scale begins below the least accuracy."""
    ticks = nice_ticks(100 * min(value for _, value in coverage.curve), 100.0)
    ticks = [tick for tick in ticks if tick <= 100]
    low, high = ticks[0] / 100, ticks[-1] / 100
    points = [f"{x(share):g} {y(value, low, high):g}" for share, value in coverage.curve]
    foot = y(low, low, high)
    first, last = x(coverage.curve[0][0]), x(coverage.curve[-1][0])
    return Tradeoff(
        path="M" + "L".join(points),
        band=f"M{first:g} {foot:g}L" + "L".join(points) + f"L{last:g} {foot:g}Z",
        ticks=tuple(Tick(y(tick / 100, low, high), f"{tick:.6g} %") for tick in ticks),
        x_ticks=_shares(x),
    )


def _shares(place: object) -> tuple[Tick, ...]:
    assert callable(place)
    return tuple(Tick(place(share / 100), f"{share} %") for share in range(0, 101, 20))
