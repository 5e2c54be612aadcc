"""Pages for people: one HTML file each, with nothing outside it.

Everything that comes from the data (class names, paths, facts) is escaped, and a content security
policy inside the file forbids scripts and requests, whatever a class may be called. A page's own
template extends ``page.html.j2``, which has the style, the light and dark colours and the policy.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from resnets.files import atomic

MEDIA_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}
THUMBNAIL = 160
"""Pixels of the longer side of a thumbnail."""


def write_page(out: Path, package: str, template: str, **values: Any) -> None:
    """Write a page, atomically: `out` is the old file or the new, never half.

    Args:
        out: the file; its folder must exist.
        package: the package whose ``templates`` hold the template, such as ``resnets.evaluate``.
        template: its name.
        values: what the template asks for.

    Raises:
        ValueError: a picture is neither PNG nor JPEG.
        UserError: the file cannot be written; what was there before is untouched.
    """
    html = _environment(package).get_template(template).render(**values)
    with atomic(out) as temporary:
        temporary.write_bytes(html.encode("utf-8", "replace"))  # names may hold lone surrogates


def thumbnail(pixels: NDArray[np.uint8], side: int = THUMBNAIL) -> bytes:
    """Return a photo ``H W C`` as a small JPEG; of one that is smaller, every pixel."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def within(pictures: Iterable[bytes], budget: int) -> Iterator[bool]:
    """Tell of each picture, in order, whether it fits into what is left of `budget` bytes.

    Base64 makes them a third larger in the page.
    """
    for picture in pictures:
        fits = len(picture) <= budget
        budget -= len(picture) if fits else 0
        yield fits


def percent(fraction: float) -> str:
    """``0.978`` → ``"97.8"``. Only exactly all and exactly none read 100.0 and 0.0."""
    tenths = round(1000 * fraction)
    if 0.0 < fraction < 1.0:
        tenths = min(max(tenths, 1), 999)
    return f"{tenths / 10:.1f}"


def data_uri(picture: bytes) -> str:
    """``data:image/png;base64,...`` for PNG or JPEG bytes; ValueError for others."""
    for magic, media_type in MEDIA_TYPES.items():
        if picture.startswith(magic):
            return f"data:{media_type};base64,{base64.b64encode(picture).decode('ascii')}"
    raise ValueError(f"a thumbnail must be PNG or JPEG bytes, got {picture[:8]!r}")


def breakable(path: str) -> Markup:
    """A path, escaped, that a browser may break after each slash."""
    return Markup("/<wbr>").join(path.split("/"))


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(__name__)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"breakable": breakable, "data_uri": data_uri, "percent": percent}
    return environment
