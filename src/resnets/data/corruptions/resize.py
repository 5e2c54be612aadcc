"""Scaling photos that are numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Photo = NDArray[Any]


def middle(photo: Photo, height: float, width: float, shape: tuple[int, ...]) -> Photo:
    """Return the middle ``height × width`` of a photo ``H W C`` scaled to the sides `shape`."""
    top, left = (photo.shape[0] - height) / 2, (photo.shape[1] - width) / 2
    box = (left, top, left + width, top + height)
    planes = [
        Image.fromarray(plane).resize((shape[1], shape[0]), Image.Resampling.BILINEAR, box=box)
        for plane in np.ascontiguousarray(photo.transpose(2, 0, 1), np.float32)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


def enlarge(photo: Photo, factor: float) -> Photo:
    """Return the middle of a photo, 1/factor of its sides, as large as the whole."""
    height, width = photo.shape[:2]
    return middle(photo, height / factor, width / factor, (height, width))
