"""What cameras, programs and codecs do; each takes a photo ``H W C`` (float32 in 0…1)."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

Photo = NDArray[Any]
Box = Image.Resampling.BOX


def contrast(photo: Photo, rng: np.random.Generator, kept: float) -> Photo:
    """Bring every value nearer to the mean of its channel."""
    mean = photo.mean((0, 1), keepdims=True)
    return np.asarray(mean + kept * (photo - mean))


def elastic(
    photo: Photo, rng: np.random.Generator, strength: float, sigma: float, corner: float
) -> Photo:
    """Stretch the photo as rubber: three of its points move by up to `corner` pixels, and each
    pixel by `strength` times what is left of noise in -1…1 that is smoothed by `sigma`."""
    height, width = photo.shape[:2]
    middle, third = np.array([height // 2, width // 2]), min(height, width) // 3
    points = middle + third * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = points + rng.uniform(-corner, corner, points.shape)
    # Where a pixel comes from: the affine map that takes the moved points back, a row of it each.
    back = np.linalg.solve(np.column_stack([moved, np.ones(3)]), points)
    noise = rng.uniform(-1, 1, (2, height, width))
    push = [strength * gaussian_filter(n, sigma, mode="reflect", truncate=3) for n in noise]
    there = np.indices((height, width)) + push
    source = np.einsum("ak,ahw->khw", back[:2], there) + back[2][:, None, None]
    planes = [
        map_coordinates(photo[..., c], source, order=1, mode="reflect")
        for c in range(photo.shape[2])
    ]
    return np.stack(planes, axis=2)


def pixelate(photo: Photo, rng: np.random.Generator, share: float) -> Photo:
    """Scale to a share of the sides, and back."""
    image = _image(photo)
    small = [max(int(side * share), 1) for side in image.size]
    return _photo(image.resize((small[0], small[1]), Box).resize(image.size, Box))


def jpeg(photo: Photo, rng: np.random.Generator, quality: float) -> Photo:
    """Compress as JPEG, at a quality of 1…100."""
    buffer = io.BytesIO()
    _image(photo).save(buffer, "JPEG", quality=round(quality))
    return _photo(Image.open(buffer))


def _image(photo: Photo) -> Image.Image:
    pixels = np.rint(photo * 255).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _photo(image: Image.Image) -> Photo:
    values = np.asarray(image, np.float32) / 255
    return values[..., None] if values.ndim == 2 else values
