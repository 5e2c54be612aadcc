"""Noise of the sensor and of the line; each takes a photo ``H W C`` (float32 in 0…1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Photo = NDArray[Any]


def gaussian(photo: Photo, rng: np.random.Generator, deviation: float) -> Photo:
    """Add normal noise, as in low light."""
    return photo + deviation * rng.standard_normal(photo.shape)


def shot(photo: Photo, rng: np.random.Generator, photons: float) -> Photo:
    """Count light by the photon, `photons` for white."""
    return rng.poisson(photo * photons) / photons


def impulse(photo: Photo, rng: np.random.Generator, share: float) -> Photo:
    """Set a share of the values to black or white, as broken bits do."""
    drawn = rng.random(photo.shape)
    salted = np.where(drawn > 1 - share / 2, 1.0, photo)
    return np.where(drawn < share / 2, 0.0, salted)


def speckle(photo: Photo, rng: np.random.Generator, deviation: float) -> Photo:
    """Add normal noise that is the larger the brighter the pixel."""
    return photo + photo * deviation * rng.standard_normal(photo.shape)
