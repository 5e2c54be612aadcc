"""From a decoded picture to the square that is kept: which part of it, scaled how."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnets.data.decode_errors import check_pixels
from resnets.errors import UserError, did_you_mean

Resampling = Image.Resampling
INTERPOLATIONS: Final = {
    "bilinear": Resampling.BILINEAR,
    "bicubic": Resampling.BICUBIC,
    "lanczos": Resampling.LANCZOS,
    "nearest": Resampling.NEAREST,
}


class Part(NamedTuple):
    """A photo of ``width × height`` pixels within a picture each of whose pixels shows ``step ×
    step`` of them; it begins `left` and `top` pixels, of its own, from the picture's corner."""

    width: int
    height: int
    step: int = 1
    left: int = 0
    top: int = 0

    def box(self, left: int, top: int, width: int, height: int) -> tuple[float, ...]:
        """Return where a rectangle of the photo is in the picture: left, top, right, bottom."""
        x, y = left + self.left, top + self.top
        return tuple(side / self.step for side in (x, y, x + width, y + height))


def resize_crop(
    image: NDArray[np.uint8],
    resize: int,
    interpolation: str,
    fit: str = "square",
    size: int | None = None,
    part: Part | None = None,
) -> NDArray[np.uint8]:
    """Scale an ``H W C`` uint8 image to ``resize resize C``, of which the centred `size` count.

    `fit` is one of `FITS`; an image of that size already comes back bit for bit. Scaling is
    antialiased (Pillow). `part` says what a reduced image shows.

    Raises:
        DecodeError: the scaled image would have more than `MAX_PIXELS`.
    """
    if interpolation not in INTERPOLATIONS:
        known = ", ".join(INTERPOLATIONS)
        near = did_you_mean(interpolation, INTERPOLATIONS)
        raise UserError(f"unknown interpolation {interpolation!r}: use one of {known}{near}")
    height, width, channels = image.shape
    part = part or Part(width, height)
    if part == (resize, resize, 1, 0, 0):
        return image
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    scaled = FITS[fit](picture, part, size or resize, resize, INTERPOLATIONS[interpolation])
    return np.array(scaled).reshape(resize, resize, channels)


def margin(size: int, resize: int, fit: str = "short") -> int:
    """Return where `size` centred pixels of `resize` begin; a half is rounded to the even number,
    as torchvision does, or with ``short-floor`` down, as transformers does."""
    return (resize - size) // 2 if fit == "short-floor" else round((resize - size) / 2)


def _square(
    picture: Image.Image, part: Part, size: int, resize: int, how: Resampling
) -> Image.Image:
    """Scale the centred square: the cost does not grow with what is cut off."""
    side = min(part.width, part.height)
    left, top = (part.width - side) // 2, (part.height - side) // 2
    return _scaled(picture, (resize, resize), how, part.box(left, top, side, side))


def _short(
    picture: Image.Image,
    part: Part,
    size: int,
    resize: int,
    how: Resampling,
    fit: str = "short",
) -> Image.Image:
    """Scale the whole photo by its short side, then crop: torchvision's and timm's evaluation.

    The long side is rounded down, which scales it a little less: not the same pixels as a square's.
    """
    short = min(part.width, part.height)
    width, height = (resize * side // short for side in (part.width, part.height))
    check_pixels(width * height)
    scaled = _whole(picture, part, (width, height), how)
    left, top = (margin(size, side, fit) - margin(size, resize, fit) for side in (width, height))
    return scaled.crop((left, top, left + resize, top + resize))


def _stretch(
    picture: Image.Image, part: Part, size: int, resize: int, how: Resampling
) -> Image.Image:
    """Scale both sides alike, whatever the shape: Keras' ``load_img(target_size=…)``."""
    return _whole(picture, part, (resize, resize), how)


def _whole(picture: Image.Image, part: Part, size: tuple[int, int], how: Resampling) -> Image.Image:
    return _scaled(picture, size, how, part.box(0, 0, part.width, part.height))


def _scaled(
    picture: Image.Image, size: tuple[int, int], how: Resampling, box: tuple[float, ...]
) -> Image.Image:
    return picture.resize(size, how, box)  # type: ignore[arg-type]


Fit = Callable[[Image.Image, Part, int, int, Resampling], Image.Image]
FITS: Final[dict[str, Fit]] = {
    "square": _square,
    "short": _short,
    "short-floor": partial(_short, fit="short-floor"),
    "stretch": _stretch,
}
