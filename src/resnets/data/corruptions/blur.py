"""Blur of the lens, of glass and of motion; each takes a photo ``H W C`` (float32 in 0…1)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from resnets.data.corruptions.resize import enlarge

Photo = NDArray[Any]


def smooth(photo: Photo, sigma: float) -> Photo:
    """Blur by a Gaussian; the edge is repeated beyond the photo."""
    return np.asarray(gaussian_filter(photo, (sigma, sigma, 0), mode="nearest"))


def defocus(photo: Photo, rng: np.random.Generator, radius: float, alias: float) -> Photo:
    """Turn each point into a disc, whose edge is smoothed by `alias`."""
    reach = math.ceil(radius) + (1 if radius <= 8 else 2)
    axis = np.arange(-reach, reach + 1)
    disc = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(float)
    kernel = gaussian_filter(disc / disc.sum(), alias, radius=1 if radius <= 8 else 2)
    padded = np.pad(photo, [(reach, reach), (reach, reach), (0, 0)], mode="reflect")
    return np.asarray(fftconvolve(padded, kernel[..., None], mode="valid", axes=(0, 1)))


def glass(
    photo: Photo, rng: np.random.Generator, sigma: float, reach: float, times: float
) -> Photo:
    """Take each pixel from somewhere within `reach`, between two blurs.

    The published code sets out to swap pixels, and copies them: each gets the value of a neighbour
    from `reach` pixels before it to `reach` - 1 after it, down and across.
    """
    height, width = photo.shape[:2]
    rows, columns = np.indices((height, width))
    found, most = smooth(photo, sigma), max(round(reach), 1)
    for _ in range(round(times)):
        down, right = rng.integers(-most, most, (2, height, width))
        down, right = np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, width - 1)
        found = found[down, right]
    return smooth(found, sigma)


def motion(photo: Photo, rng: np.random.Generator, radius: float, sigma: float) -> Photo:
    """Drag each point along a line at up to 45° from the horizon, weaker with the distance."""
    return streaked(photo, radius, sigma, rng.uniform(-math.pi / 4, math.pi / 4))


def streaked(photo: Photo, radius: float, sigma: float, angle: float) -> Photo:
    """Drag each point in the direction `angle` (radians), by up to twice the radius."""
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    kept = steps[weights > 1e-3 * weights.sum()]
    weights = weights[kept] / weights[kept].sum()
    down, right = (np.rint(kept * f(angle)).astype(int) for f in (math.sin, math.cos))
    pad = int(kept[-1])
    padded = np.pad(photo, [(pad, pad), (pad, pad), (0, 0)], mode="edge")
    height, width = photo.shape[:2]
    dragged = np.zeros_like(photo)
    for weight, y, x in zip(weights, pad + down, pad + right, strict=True):
        dragged += np.float32(weight) * padded[y : y + height, x : x + width]
    return dragged


def zoom(photo: Photo, rng: np.random.Generator, most: float, step: float) -> Photo:
    """Move towards the photo while it is taken: the mean of it and enlargements up to 1 + most."""
    factors = 1 + step * np.arange(round(most / step) + 1)
    enlarged = [enlarge(photo, factor) for factor in factors]
    return np.asarray(np.mean([photo, *enlarged], axis=0))
