"""Snow, fog and light; each takes a photo ``H W C`` (float32 in 0…1)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.data.corruptions.blur import streaked
from resnets.data.corruptions.resize import enlarge
from resnets.data.looks import LUMA

Photo = NDArray[Any]


def snow(
    photo: Photo,
    rng: np.random.Generator,
    mean: float,
    deviation: float,
    size: float,
    threshold: float,
    radius: float,
    sigma: float,
    kept: float,
) -> Photo:
    """Let flakes of `size` pixels fall, and whiten what lies below them."""
    flakes = rng.normal(mean, deviation, (*photo.shape[:2], 1))
    flakes = enlarge(flakes, max(size, 1.0))
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1)
    flakes = streaked(flakes, radius, sigma, rng.uniform(-0.75 * math.pi, -0.25 * math.pi))
    grey = photo @ LUMA if photo.shape[2] == 3 else photo[..., 0]
    whitened = np.maximum(photo, 1.5 * grey[..., None] + 0.5)
    return np.asarray(kept * photo + (1 - kept) * whitened + flakes + np.rot90(flakes, 2))


def fog(photo: Photo, rng: np.random.Generator, density: float, decay: float) -> Photo:
    """Lay clouds over the photo, and keep its brightest value."""
    height, width = photo.shape[:2]
    clouds = plasma(max(height, width), decay, rng)[:height, :width, None]
    brightest = photo.max()
    return np.asarray((photo + density * clouds) * brightest / (brightest + density))


def plasma(side: int, decay: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return clouds, at least ``side side`` in 0…1, that tile.

    By midpoints, square and diamond in turn (Fournier, Fussell and Carpenter 1982, "Computer
    Rendering of Stochastic Models"): each has the mean of its four neighbours, and a chance part
    that is `decay`² times as small at each halving of the distance, as in the paper's code.
    """
    step = 1 << max(side - 1, 1).bit_length()
    heights, strength = np.zeros((step, step)), 1.0

    def chance(*neighbours: Photo) -> Photo:
        drawn = strength * rng.uniform(-1, 1, neighbours[0].shape)
        return np.asarray(np.mean(neighbours, axis=0) + drawn)

    while step > 1:
        half = step // 2
        corners = heights[::step, ::step]
        right, below = np.roll(corners, -1, 1), np.roll(corners, -1, 0)
        middles = chance(corners, right, below, np.roll(right, -1, 0))
        heights[half::step, half::step] = middles
        tops = chance(corners, right, middles, np.roll(middles, 1, 0))
        sides = chance(corners, below, middles, np.roll(middles, 1, 1))
        heights[::step, half::step], heights[half::step, ::step] = tops, sides
        step, strength = half, strength / decay**2
    heights -= heights.min()
    return np.asarray(heights / heights.max())


def brightness(photo: Photo, rng: np.random.Generator, more: float) -> Photo:
    """Raise each pixel's brightest channel, and the others with it: the value of HSV."""
    value = photo.max(2, keepdims=True)
    raised = np.minimum(value + more, 1)
    return np.asarray(np.where(value > 0, photo * (raised / np.maximum(value, 1e-6)), raised))
