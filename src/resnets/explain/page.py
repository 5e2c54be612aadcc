"""The page of `resnets explain`: every photo with its map, its tests and its nearest photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnets.explain import pictures
from resnets.explain.explainer import Explainer, Explanation
from resnets.explain.faithful import ORDERS, Curve
from resnets.explain.randomised import LIMIT, SEEDS
from resnets.pages import within, write_page

MOST = 250
"""Photos on a page; of others nothing is kept."""
PICTURE_BYTES = 2_700_000
"""For all pictures together, before base64 makes them a third larger."""
WIDTH, HEIGHT = 200, 84
"""Of a chart, in its own units."""


class Page:
    """A page that photos are added to as they are explained.

    It holds at most `MOST` of them, counts the others, and leaves pictures out where it would be
    too large with them.
    """

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []
        self._counts = {"inputs": 0, "good": 0, "tested": 0, "passed": 0}
        self._better = {"deletion": 0, "insertion": 0}

    def add(self, one: Explanation) -> None:
        self._counts["inputs"] += 1
        self._counts["good"] += one.status == "ok"
        self._counts["tested"] += one.trial is not None
        self._counts["passed"] += one.trial is not None and one.trial.passes is True
        for name, curve in one.curves.items():
            self._better[name] += curve.better
        if len(self._entries) < MOST:
            self._entries.append(_entry(one))

    def write(self, explainer: Explainer, out: Path) -> None:
        """Write it. Raises UserError if it cannot be written."""
        fits = within((entry["weight"] for entry in self._entries), PICTURE_BYTES)
        for entry, room in zip(self._entries, fits, strict=True):
            entry["shown"] = room
        write_page(
            out,
            "resnets.explain",
            "explain.html.j2",
            entries=self._entries,
            explainer=explainer,
            model=explainer.predictor.model,
            limit=LIMIT,
            seeds=SEEDS,
            orders=ORDERS,
            bar=pictures.jpeg(pictures.colour_bar(256, 8)),
            chart={"width": WIDTH, "height": HEIGHT},
            better=self._better,
            **self._counts,
        )


def _entry(one: Explanation) -> dict[str, Any]:
    """Return what the template needs of a photo: `one`, its pictures and its charts."""
    if one.status != "ok":
        return {"one": one, "weight": b"", "shown": False}
    photo = pictures.jpeg(pictures.photo(one.pixels))
    over = pictures.jpeg(pictures.overlay(one.pixels, one.cells))
    trial = one.trial
    rivals = {
        "Random from the classifier down to": trial.cascade if trial else (),
        "Random in one part alone": trial.alone if trial else (),
        "Random throughout, other seeds": trial.random[1:] if trial else (),
    }
    strips = {
        title: [(alike, pictures.small_map(alike.cells)) for alike in row]
        for title, row in rivals.items()
        if row
    }
    maps = [picture for row in strips.values() for _, picture in row]
    own = pictures.small_map(one.cells)
    near = [neighbour.thumbnail for neighbour in one.neighbours]
    return {
        "one": one,
        "photo": photo,
        "over": over,
        "own": own,
        "strips": strips,
        "charts": [(name, _chart(curve), curve) for name, curve in one.curves.items()],
        "weight": b"".join([photo, over, own, *maps, *near]),
    }


def _chart(curve: Curve) -> dict[str, str]:
    """Return the points of SVG polylines."""
    return {"map": _points(curve.values), "random": _points(curve.random)}


def _points(values: Sequence[float]) -> str:
    last = len(values) - 1
    return " ".join(
        f"{i * WIDTH / last:.1f},{HEIGHT * (1 - value):.1f}" for i, value in enumerate(values)
    )
