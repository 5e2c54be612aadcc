"""What is odd about photos, told by their facts; and which files give no photo at all."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnets.audit.facts import FLAGS, Facts
from resnets.audit.findings import Findings

BLANK: Final = 3.0
"""Standard deviation of the grey levels below which a photo shows nothing."""
GREY: Final = 8.0
"""Distance between colour channels up to which a photo is grey: JPEG adds a little."""
RARE: Final = 0.2
"""Share of all photos up to which grey ones, or colour ones, are the odd ones."""

REASONS: Final = (
    (r"^empty file", "empty-file"),
    (r"^truncated", "truncated"),
    (r"^broken .* header", "broken-header"),
    (r"^broken", "broken"),
    (r"^not an image", "not-an-image"),
    (r"is not supported$", "unsupported-format"),
    (r"pixels \(limit", "bomb"),
    (r"bytes \(limit", "too-large"),
    (r"^no permission", "no-permission"),
    (r"^file not found", "missing"),
    (r"^not a regular file|^a folder", "special-file"),
    (r"floating-point|Lab image|^32-bit grey|^array of", "unsupported-pixels"),
    (r"", "unreadable"),
)
"""What the decoder says, and the kind of finding that it is: the first that fits."""


@dataclass(frozen=True)
class _Usual:
    """What the photos that decode are like."""

    side: float
    ratio: float
    grey: float

    @classmethod
    def of(cls, facts: Facts) -> _Usual:
        rows = facts.rows[facts.rows["ok"]]
        if not len(rows):
            return cls(0.0, 1.0, 0.0)
        return cls(
            side=float(np.median(_short(rows))),
            ratio=float(np.median(_ratio(rows))),
            grey=float((rows["colour"] <= GREY).mean()),
        )


Rows = NDArray[np.void]
Mask = NDArray[np.bool_]


def _short(rows: Rows) -> NDArray[np.int32]:
    short: NDArray[np.int32] = np.minimum(rows["width"], rows["height"])
    return short


def _ratio(rows: Rows) -> NDArray[np.float64]:
    long: NDArray[np.int32] = np.maximum(rows["width"], rows["height"])
    return long / np.maximum(_short(rows), 1)


def _banded(facts: Facts) -> Mask:
    """Tell which photos end in plain grey, as decoders fill what a JPEG does not have."""
    found = np.zeros(len(facts.rows), bool)
    for i in np.flatnonzero(facts.rows["ok"] & (facts.rows["deviation"] > 4 * BLANK)):
        low, high = facts.pictures[i, -6:].astype(float), facts.pictures[i, :16].astype(float)
        found[i] = low.std() < 1.0 and 124 <= low.mean() <= 132 and high.std() > 4 * BLANK
    return found


RULES: Final[dict[str, Callable[[Facts, _Usual], Mask]]] = {
    "blank": lambda f, u: f.rows["deviation"] < BLANK,
    "dark": lambda f, u: (f.rows["mean"] < 16) & (f.rows["deviation"] >= BLANK),
    "bright": lambda f, u: (f.rows["mean"] > 245) & (f.rows["deviation"] >= BLANK),
    "grey-band": lambda f, u: _banded(f),
    "tiny": lambda f, u: _short(f.rows) < u.side / 4,
    "huge": lambda f, u: _short(f.rows) > 6 * u.side,
    "aspect": lambda f, u: _ratio(f.rows) > max(3.0, 2 * u.ratio),
    "grey": lambda f, u: (
        (f.rows["colour"] <= GREY) & (u.grey <= RARE) & (f.rows["deviation"] >= BLANK)
    ),
    "colour": lambda f, u: (f.rows["colour"] > GREY) & (u.grey >= 1 - RARE),
}
"""Which of the photos that decode are odd, in sight of what the others are like."""


def check_photos(facts: Facts, ids: Sequence[str], findings: Findings) -> None:
    """Add what is wrong with single photos."""
    for i in sorted(facts.reasons):
        why = facts.reasons[i]
        kind = next(kind for pattern, kind in REASONS if re.search(pattern, why))
        findings.add(kind, ids[i], detail=why)
    usual, good = _Usual.of(facts), facts.rows["ok"]
    for kind, rule in RULES.items():
        for i in np.flatnonzero(rule(facts, usual) & good).tolist():
            findings.add(kind, ids[i], detail=_describe(facts.rows[i]))
    for kind in FLAGS:
        for i in np.flatnonzero(facts.flag(kind) & good).tolist():
            findings.add(kind, ids[i])
    known = Image.registered_extensions()
    for i in np.flatnonzero(facts.rows["format"] != "").tolist():
        suffix = os.path.splitext(ids[i])[1].lower()
        told, found = known.get(suffix), str(facts.rows["format"][i])
        if told and told != found and (told, found) not in (("JPEG", "MPO"), ("PNG", "APNG")):
            findings.add("wrong-extension", ids[i], detail=f"{suffix}, but {found}")


def _describe(row: np.void) -> str:
    size = f"{row['width']} × {row['height']} px"
    return f"{size}, grey level {row['mean']:.0f} ± {row['deviation']:.0f}"
