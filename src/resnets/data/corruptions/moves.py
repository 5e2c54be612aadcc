"""The same photo a little elsewhere; each takes a photo ``H W C`` (float32 in 0…1)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.data.corruptions.resize import middle

Photo = NDArray[Any]


def mirror(photo: Photo, rng: np.random.Generator) -> Photo:
    """Mirror left to right."""
    return photo[:, ::-1]


def shift(photo: Photo, rng: np.random.Generator, pixels: float) -> Photo:
    """Move by so many pixels in any direction; the edge is repeated where nothing is known."""
    angle, pad = rng.uniform(0, 2 * math.pi), math.ceil(pixels)
    top, left = pad + round(pixels * math.sin(angle)), pad + round(pixels * math.cos(angle))
    height, width = photo.shape[:2]
    return _grown(photo, pad)[top : top + height, left : left + width]


def scale(photo: Photo, rng: np.random.Generator, share: float) -> Photo:
    """Enlarge, or shrink within its repeated edge, by a share of the sides; by chance the one or
    the other."""
    height, width = photo.shape[:2]
    factor = 1 - share if rng.random() < 0.5 else 1 + share
    grown = _grown(photo, math.ceil(max(height, width) * share / 2))
    return middle(grown, height * factor, width * factor, (height, width))


def _grown(photo: Photo, pad: int) -> Photo:
    return np.pad(photo, [(pad, pad), (pad, pad), (0, 0)], mode="edge")
