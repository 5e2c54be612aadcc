"""How classes are told apart on a map: by colour, and then by shape."""

from __future__ import annotations

import math

COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
"""Petroff 2021, "Accessible color sequences", arXiv:2107.02270: ten for all kinds of eyes."""

Polygon = tuple[tuple[float, float], ...]


def _regular(corners: int, turn: float, radius: float = 1.0) -> Polygon:
    angles = (2 * math.pi * (i + turn) / corners for i in range(corners))
    return tuple((radius * math.sin(a), -radius * math.cos(a)) for a in angles)


def _star(points: int, inner: float) -> Polygon:
    outer, dents = _regular(points, 0, 1.3), _regular(points, 0.5, inner)
    return tuple(corner for pair in zip(outer, dents, strict=True) for corner in pair)


SHAPES: tuple[Polygon, ...] = (
    _regular(24, 0),  # round
    _regular(4, 0.5, 1.2),  # square
    _regular(3, 0, 1.3),  # triangle
    _regular(4, 0, 1.3),  # diamond
    _regular(3, 0.5, 1.3),  # triangle that stands on its point
    _star(4, 0.45),
    _regular(6, 0, 1.15),
    _star(5, 0.55),
    tuple((1.3 * x, 0.65 * y) for x, y in _regular(4, 0.5)),  # lying
    tuple((0.65 * x, 1.3 * y) for x, y in _regular(4, 0.5)),  # standing
)
"""Corners around 0, of about the same area. With the colours they tell 100 classes apart."""


def mark(label: int) -> tuple[str, Polygon]:
    """Return the colour and the shape of a class; those of class 100 are those of class 0."""
    turns, colour = divmod(label, len(COLOURS))
    return COLOURS[colour], SHAPES[turns % len(SHAPES)]


def path(polygon: Polygon, radius: float) -> str:
    """Return the SVG path of a shape."""
    corners = "L".join(f"{radius * x:.2f} {radius * y:.2f}" for x, y in polygon)
    return f"M{corners}Z"
