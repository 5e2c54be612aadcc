"""Durations as people write them: ``90``, ``90s``, ``5m``, ``1.5h``."""

from __future__ import annotations

import re

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float | None:
    """Return the seconds that a text says, or None if it says none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([smh]?)", text.strip())
    return float(match[1]) * UNITS[match[2]] if match else None


def spoken(seconds: float) -> str:
    """Return a duration for people: ``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
