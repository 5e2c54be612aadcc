"""Pictures of heat maps: over the photo, alone, and side by side with what the model says."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from resnets.explain.explainer import Explanation
from resnets.explain.maps import enlarge
from resnets.extras import library
from resnets.files import printable

COLOURS = "viridis"
"""Even steps for the eye, in order also for the colour-blind and in grey (Smith & van der Walt
2015)."""
OPACITY = 0.6
SIDE = 224
"""Pixels of a picture, at least; small photos are shown in whole multiples."""
MARGIN, TEXT, BAR = 16, 15, 12
PAPER, INK, SOFT = (255, 255, 255), (26, 32, 38), (88, 98, 108)


@cache
def colours() -> NDArray[np.uint8]:
    """Return the colour map, ``256 3``."""
    maps = library("matplotlib", "explain", "resnets explain").colormaps
    table: NDArray[np.uint8] = maps[COLOURS](np.arange(256), bytes=True)[:, :3]
    return table


def heat(cells: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    """Return a map ``h w`` in 0…1 in colours, ``side side 3``."""
    levels = np.rint(enlarge(cells[None], side)[0] * 255).astype(np.uint8)
    coloured: NDArray[np.uint8] = colours()[levels]
    return coloured


def photo(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what the network saw, ``H W C``, in three colours and whole multiples of its size."""
    side = shown_side(pixels)
    colour = pixels if pixels.shape[2] == 3 else pixels.repeat(3, 2)
    factor = side // pixels.shape[0]
    return colour.repeat(factor, 0).repeat(factor, 1)


def shown_side(pixels: NDArray[np.uint8]) -> int:
    size = int(pixels.shape[0])
    return size * max(1, round(SIDE / size))


def overlay(pixels: NDArray[np.uint8], cells: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a map over the photo in grey, as colours of its own would be mistaken for heat."""
    colour = photo(pixels)
    grey = np.asarray(Image.fromarray(colour).convert("L").convert("RGB"), np.float32)
    mixed = (1 - OPACITY) * grey + OPACITY * heat(cells, len(colour))
    return np.rint(mixed).astype(np.uint8)


def small_map(cells: NDArray[np.float32], side: int = 56) -> bytes:
    """Return a map alone as a small PNG."""
    return _encoded(Image.fromarray(heat(cells, side)).quantize(64), "PNG")


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    return _encoded(Image.fromarray(pixels), "JPEG", quality=88)


def colour_bar(width: int, height: int) -> NDArray[np.uint8]:
    """Return the colours from none (left) to most (right), ``height width 3``."""
    steps = np.linspace(0, 255, width).round().astype(np.uint8)
    return np.broadcast_to(colours()[steps], (height, width, 3)).copy()


def side_by_side(one: Explanation, caption: str) -> Image.Image:
    """Return the photo, the map over it, a colour bar, the classes and the tests in one picture.

    Args:
      one: of a photo that decodes.
      caption: how the map was made.
    """
    left, right = photo(one.pixels), overlay(one.pixels, one.cells)
    side = len(left)
    said = [f"{label}  {100 * p:.1f} %" for label, p in one.top]
    other = "" if one.label == one.top[0][0] else f"  {100 * one.probability:.1f} %"
    explained = _cut(f"what speaks for {one.label}", side - round(font().getlength(other))) + other
    tests = [line for test in tests_of(one) for line in _wrapped(test, 2 * side + MARGIN)]
    lines = [*tests, *_wrapped(caption, 2 * side + MARGIN)]
    text = TEXT + 6
    top = MARGIN // 2 + text
    below = top + side + MARGIN // 2
    start = below + max(len(said) * text, BAR + 6 + text) + MARGIN // 2
    height = start + len(lines) * text + MARGIN // 2
    sheet = Image.new("RGB", (2 * side + 3 * MARGIN, height), PAPER)
    draw, second = ImageDraw.Draw(sheet), side + 2 * MARGIN
    draw.text((MARGIN, MARGIN // 2), "as the network saw it", SOFT, font())
    draw.text((second, MARGIN // 2), explained, SOFT, font())
    sheet.paste(Image.fromarray(left), (MARGIN, top))
    sheet.paste(Image.fromarray(right), (second, top))
    for i, line in enumerate(said):
        draw.text((MARGIN, below + i * text), _cut(line, side), INK, font())
    sheet.paste(Image.fromarray(colour_bar(side, BAR)), (second, below + 4))
    draw.text((second, below + BAR + 6), "nothing", SOFT, font())
    draw.text((second + side, below + BAR + 6), "most", SOFT, font(), anchor="ra")
    for i, line in enumerate(lines):
        ink = INK if i < len(tests) else SOFT
        draw.text((MARGIN, start + i * text), line, ink, font())
    return sheet


def tests_of(one: Explanation) -> list[str]:
    """Return a sentence for each test of the map; none where it was not wanted."""
    verdict = [one.trial.verdict] if one.trial else []
    return verdict + [
        f"{name.capitalize()} {curve.area:.2f}, in random order {curve.random_area:.2f}: "
        f"{curve.verdict}."
        for name, curve in one.curves.items()
    ]


@cache
def font() -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which has most alphabets; it comes with matplotlib."""
    folder = library("matplotlib", "explain", "resnets explain").get_data_path()
    return ImageFont.truetype(str(Path(folder) / "fonts" / "ttf" / "DejaVuSans.ttf"), TEXT)


def _cut(text: str, width: int) -> str:
    """Shorten a text to a width in pixels."""
    text = printable(text).replace("\n", " ")
    if font().getlength(text) <= width:
        return text
    while text and font().getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font().getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_cut(word, width))
    return lines


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
