"""The map of `resnets evaluate --map`: photos of a split, laid out by what the network sees."""

from __future__ import annotations

import io
from collections.abc import Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from resnets.console import Console
from resnets.data.cache import ImageCache
from resnets.errors import UserError
from resnets.explain.embedding import FEWEST, NEAR, Plane, call_out, lay_out
from resnets.explain.maps import readied
from resnets.explain.marks import Polygon, mark, path
from resnets.files import atomic, printable
from resnets.judging.scoring import SplitResult
from resnets.pages import thumbnail, write_page
from resnets.predict import Predictor
from resnets.training.features import features_of

MOST = 2000
"""Photos on a map; of more, so many are drawn with `SEED`."""
SEED = 0
SIDE = 1000
"""Of the map, in its own units, with a margin for what is drawn around the outermost points."""
MARGIN = 40
RADIUS = 5.0
PICTURES, PICTURE_SIDE = 60, 62
"""Thumbnails at most, and their side in units of the map."""
NAMES, NAME_WIDTH, NAME_HEIGHT = 40, 110, 26
"""Names of classes written on the map at most, and the room that each takes."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """A map and its photos, ``N`` of each.

    Attributes:
      plane: where they are.
      labels, said: their classes and the network's answers.
      names: where they lie.
      pictures: thumbnails of some, by number, and where their middle is, in the map's units.
      of: photos of the split that decode.
    """

    plane: Plane
    labels: NDArray[np.int64]
    said: NDArray[np.int64]
    names: tuple[str, ...]
    pictures: dict[int, tuple[bytes, tuple[float, float]]] = field(repr=False)
    classes: tuple[str, ...]
    of: int

    def __len__(self) -> int:
        return len(self.names)

    @property
    def at(self) -> NDArray[np.float64]:
        """The points in the map's units, ``N 2``."""
        return MARGIN + self.plane.points * (SIDE - 2 * MARGIN)

    @property
    def wrong(self) -> NDArray[np.bool_]:
        wrong: NDArray[np.bool_] = self.labels != self.said
        return wrong

    def to_json(self) -> dict[str, Any]:
        return {
            "n": len(self),
            "of": self.of,
            "seed": SEED,
            "trustworthiness": self.plane.trustworthiness,
            "neighbours_right": self.plane.neighbours_right,
            "neighbours": NEAR,
        }

    def shown_classes(self) -> NDArray[np.int64]:
        """Return the classes that have a photo on the map."""
        return np.unique(self.labels)

    def written(self) -> list[tuple[int, tuple[float, float]]]:
        """Return classes whose names are written, and where: at the photo in the middle of theirs.

        The largest classes come first; a name that would lie on another is left to the legend.
        """
        placed: list[tuple[int, tuple[float, float]]] = []
        sizes = np.bincount(self.labels)
        for label in np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]:
            own = self.at[self.labels == label]
            x, y = own[np.abs(own - np.median(own, 0)).sum(1).argmin()]
            free = all(abs(x - a) > NAME_WIDTH or abs(y - b) > NAME_HEIGHT for _, (a, b) in placed)
            if free and len(placed) < NAMES:
                placed.append((int(label), (float(x), float(y))))
        return placed


def check(predictor: Predictor, samples: Sized) -> None:
    """Raise UserError for a model that is quantised, or too few photos for a map."""
    if predictor.model.quantization:
        raise UserError("--map: a model in int8 gives no features; take the one it was made from")
    if len(samples) < FEWEST:
        raise UserError(f"--map: {len(samples)} photos, and a map needs {FEWEST} or more")


def of_result(
    model: Path, result: SplitResult, device: str | None, workers: int | None, out: Path
) -> dict[str, Any]:
    """Draw and write the map of a judged split; return its figures.

    Raises:
      UserError: it cannot be drawn or written.
    """
    predictor = Predictor.load(model, device, workers=workers)
    atlas = draw(predictor, result, Console())
    write(
        atlas, f"{predictor.model.spec.name}, {len(predictor.classes)} classes", result.split, out
    )
    return atlas.to_json()


def draw(predictor: Predictor, result: SplitResult, console: Console) -> Atlas:
    """Lay out the photos of a judged split.

    Raises:
      UserError: there are too few, or the model is quantised.
    """
    scored = result.scored
    check(predictor, scored)
    net = predictor.machine.place(readied(predictor.model.network()))
    rows = np.arange(len(scored))
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(SEED).choice(rows, MOST, replace=False))
    with console.track("Features", len(rows)) as advance:
        found, values = features_of(net, result.cache, scored[rows], predictor.workers, advance)
    rows = rows[np.isin(scored[rows], found)]  # those that have not gone since
    labels = result.samples.labels[found]
    plane = lay_out(values, labels, SEED)
    said = result.probabilities[rows].argmax(1)
    return Atlas(
        plane=plane,
        labels=labels,
        said=said,
        names=tuple(result.samples.path(int(i)) for i in found),
        pictures=_pictures(plane.points, labels != said, found, result.cache),
        classes=predictor.classes,
        of=len(scored),
    )


def _pictures(
    points: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    found: NDArray[np.int64],
    cache: ImageCache,
) -> dict[int, tuple[bytes, tuple[float, float]]]:
    """Return thumbnails of some photos, mistakes and others by turns, and where they go."""
    rng, span = np.random.default_rng(SEED), SIDE - 2 * MARGIN
    drawn = rng.permutation(len(points))
    turn = np.where(wrong[drawn], np.cumsum(wrong[drawn]), np.cumsum(~wrong[drawn]))
    order = drawn[np.argsort(turn, kind="stable")]
    places = call_out(points, order, PICTURE_SIDE / span, PICTURES, -MARGIN / span)
    pictures = {}
    for i, (x, y) in places.items():
        _, photos = cache.get(found[i : i + 1])
        if len(photos):
            at = (MARGIN + x * span, MARGIN + y * span)
            pictures[i] = (thumbnail(photos[0], 2 * PICTURE_SIDE), at)
    return pictures


def write(atlas: Atlas, title: str, split: str, out: Path) -> None:
    """Write the map as a page or a picture. Raises UserError if it cannot be written."""
    if out.suffix.lower() == ".png":
        with atomic(out) as temporary:
            picture(atlas).save(temporary, "PNG")
        return
    at = atlas.at
    points = [
        {
            "x": f"{at[i, 0]:.1f}",
            "y": f"{at[i, 1]:.1f}",
            "label": int(atlas.labels[i]),
            "wrong": bool(atlas.wrong[i]),
            "name": atlas.names[i],
            "said": atlas.classes[atlas.said[i]],
            "picture": atlas.pictures.get(i, ("",))[0],
            "at": atlas.pictures.get(i, ("", (0.0, 0.0)))[-1],
        }
        # Mistakes are drawn last, as they are what is looked for.
        for i in np.argsort(atlas.wrong, kind="stable").tolist()
    ]
    write_page(
        out,
        "resnets.explain",
        "map.html.j2",
        title=title,
        split=split,
        atlas=atlas,
        points=points,
        marks={int(k): _mark(int(k)) for k in atlas.shown_classes()},
        counts=np.bincount(atlas.labels, minlength=len(atlas.classes)).tolist(),
        written=atlas.written(),
        side=SIDE,
        thumb=PICTURE_SIDE,
        near=NEAR,
        seed=SEED,
    )


def _mark(label: int) -> dict[str, str]:
    colour, shape = mark(label)
    return {"colour": colour, "path": path(shape, RADIUS)}


# -- as a picture ---------------------------------------------------------------------------------

SCALE = 2
PAPER, INK = (255, 255, 255), (26, 32, 38)


def picture(atlas: Atlas) -> Image.Image:
    """Return the map with its legend as a picture."""
    shown = atlas.shown_classes().tolist()
    columns, row = 5, 24
    legend = -(-len(shown) // columns) * row + 70
    sheet = Image.new("RGB", (SIDE * SCALE, (SIDE + legend) * SCALE), PAPER)
    pen = ImageDraw.Draw(sheet)
    at = atlas.at
    for i in np.argsort(atlas.wrong, kind="stable").tolist():
        _shape(pen, tuple(at[i]), int(atlas.labels[i]), bool(atlas.wrong[i]))
    half = PICTURE_SIDE / 2
    for i, (jpeg, (x, y)) in atlas.pictures.items():
        photo = Image.open(io.BytesIO(jpeg)).convert("RGB").resize((PICTURE_SIDE * SCALE,) * 2)
        colour = INK if atlas.wrong[i] else mark(int(atlas.labels[i]))[0]
        pen.line([(x * SCALE, y * SCALE), tuple(at[i] * SCALE)], colour, SCALE)
        box = [round(v * SCALE) for v in (x - half, y - half, x + half, y + half)]
        sheet.paste(photo, (box[0], box[1]))
        pen.rectangle(box, outline=colour, width=2 * SCALE)
    font = ImageFont.load_default(15 * SCALE)
    for label, (x, y) in atlas.written():
        name = printable(atlas.classes[label])[:24]
        place = (x * SCALE, (y - 12) * SCALE)
        pen.text(place, name, INK, font, anchor="ms", stroke_width=4, stroke_fill=PAPER)
    for i, label in enumerate(shown):
        x, y = (i % columns + 0.12) * SIDE / columns, SIDE + (i // columns + 0.5) * row
        _shape(pen, (x, y), label, False)
        text = printable(atlas.classes[label])[:20]
        pen.text(((x + 12) * SCALE, y * SCALE), text, INK, font, anchor="lm")
    said = (
        f"{len(atlas):,} photos; ringed in black: mistakes. Trustworthiness "
        f"{atlas.plane.trustworthiness:.2f}; the {NEAR} nearest name the class of "
        f"{100 * atlas.plane.neighbours_right:.1f} %. Only who is near whom means something."
    )
    pen.text((24 * SCALE, (SIDE + legend - 36) * SCALE), said, INK, font, anchor="lm")
    return sheet.resize((sheet.width * 3 // 4, sheet.height * 3 // 4), Image.Resampling.LANCZOS)


def _shape(pen: ImageDraw.ImageDraw, at: tuple[float, ...], label: int, wrong: bool) -> None:
    colour, shape = mark(label)
    pen.polygon(_corners(shape, at, RADIUS), fill=colour)
    if wrong:
        pen.polygon(_corners(shape, at, RADIUS + 1.5), outline=INK, width=2 * SCALE)


def _corners(shape: Polygon, at: tuple[float, ...], radius: float) -> list[tuple[float, float]]:
    return [((at[0] + radius * x) * SCALE, (at[1] + radius * y) * SCALE) for x, y in shape]
