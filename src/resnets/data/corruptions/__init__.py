"""Common corruptions of photos at five severities, and small moves, as a table.

They are those of Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", arXiv:1903.12261, with the published parameters of ImageNet-C for
224 px and of CIFAR-10-C for 32 px; sides in between take what lies between, by the logarithm of the
side, and beyond them lengths grow and shrink with the side. Frost is left out: it is made of
pictures of frost. The moves (mirror, shift, scale) are ours.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.data.corruptions import blur, digital, moves, noise, weather

SMALL, LARGE = 32, 224
"""Sides of the photos that the published parameters are for."""
SEVERITIES = 5
MOVES = "moves"
Row = tuple[float, ...]
Photo = NDArray[Any]


@dataclass(frozen=True)
class Corruption:
    """What is done to a photo.

    Attributes:
      group: ``noise``, ``blur``, ``weather``, ``digital`` or ``moves``.
      apply: takes a photo ``H W C`` (float32 in 0…1), a generator and parameters, and returns such.
      small, large: its parameters by severity, for sides of 32 and of 224 pixels.
      lengths: which of them are in pixels.
    """

    group: str
    apply: Callable[..., Photo]
    small: Sequence[Row]
    large: Sequence[Row]
    lengths: tuple[int, ...] = ()

    @property
    def severities(self) -> range:
        return range(1, len(self.small) + 1)

    def parameters(self, severity: int, side: int) -> Row:
        """Return the parameters for photos of a side."""
        near = min(max(side, SMALL), LARGE)
        share = math.log(near / SMALL) / math.log(LARGE / SMALL)
        pairs = zip(self.small[severity - 1], self.large[severity - 1], strict=True)
        values = [low + share * (high - low) for low, high in pairs]
        return tuple(
            value * side / near if i in self.lengths else value for i, value in enumerate(values)
        )


def each(*values: float) -> list[Row]:
    return [(value,) for value in values]


CORRUPTIONS = {
    "gaussian-noise": Corruption(
        "noise",
        noise.gaussian,
        each(0.04, 0.06, 0.08, 0.09, 0.1),
        each(0.08, 0.12, 0.18, 0.26, 0.38),
    ),
    "shot-noise": Corruption(
        "noise", noise.shot, each(500, 250, 100, 75, 50), each(60, 25, 12, 5, 3)
    ),
    "impulse-noise": Corruption(
        "noise",
        noise.impulse,
        each(0.01, 0.02, 0.03, 0.05, 0.07),
        each(0.03, 0.06, 0.09, 0.17, 0.27),
    ),
    "speckle-noise": Corruption(
        "noise", noise.speckle, each(0.06, 0.1, 0.12, 0.16, 0.2), each(0.15, 0.2, 0.35, 0.45, 0.6)
    ),
    "defocus-blur": Corruption(
        "blur",
        blur.defocus,
        [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
        [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
        lengths=(0,),
    ),
    "glass-blur": Corruption(
        "blur",
        blur.glass,
        [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
        [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
        lengths=(0, 1),
    ),
    "motion-blur": Corruption(
        "blur",
        blur.motion,
        [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
        [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
        lengths=(0, 1),
    ),
    "zoom-blur": Corruption(
        "blur",
        blur.zoom,
        [(0.05, 0.01), (0.1, 0.01), (0.15, 0.01), (0.2, 0.01), (0.25, 0.01)],
        [(0.1, 0.01), (0.15, 0.01), (0.2, 0.02), (0.24, 0.02), (0.3, 0.03)],
    ),
    "snow": Corruption(
        "weather",
        weather.snow,
        [
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ],
        [
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ],
        lengths=(2, 4, 5),
    ),
    "fog": Corruption(
        "weather",
        weather.fog,
        [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
        [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
    ),
    "brightness": Corruption(
        "weather",
        weather.brightness,
        each(0.05, 0.1, 0.15, 0.2, 0.3),
        each(0.1, 0.2, 0.3, 0.4, 0.5),
    ),
    "contrast": Corruption(
        "digital",
        digital.contrast,
        each(0.75, 0.5, 0.4, 0.3, 0.15),
        each(0.4, 0.3, 0.2, 0.1, 0.05),
    ),
    "elastic": Corruption(
        "digital",
        digital.elastic,
        [(0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)],
        [
            (488, 170.8, 24.4),
            (488, 19.52, 48.8),
            (12.2, 2.44, 4.88),
            (17.08, 2.44, 4.88),
            (29.28, 2.44, 4.88),
        ],
        lengths=(0, 1, 2),
    ),
    "pixelate": Corruption(
        "digital",
        digital.pixelate,
        each(0.95, 0.9, 0.85, 0.75, 0.65),
        each(0.6, 0.5, 0.4, 0.3, 0.25),
    ),
    "jpeg": Corruption("digital", digital.jpeg, each(80, 65, 58, 50, 40), each(25, 18, 15, 10, 7)),
    "mirror": Corruption(MOVES, moves.mirror, [()], [()]),
    "shift": Corruption(
        MOVES, moves.shift, each(1, 2, 3, 4, 5), each(7, 14, 21, 28, 35), lengths=(0,)
    ),
    "scale": Corruption(
        MOVES, moves.scale, each(0.04, 0.08, 0.12, 0.16, 0.2), each(0.04, 0.08, 0.12, 0.16, 0.2)
    ),
}


def corrupt(
    photo: NDArray[np.uint8], name: str, severity: int, key: int, seed: int = 0
) -> NDArray[np.uint8]:
    """Return a photo ``H W C`` (1 or 3 channels) corrupted; of severity 0 the photo itself.

    What is drawn is a function of (seed, name, key) alone, `key` being the photo's: of one photo
    all severities have the same pattern of noise.

    Raises:
      KeyError: there is no such corruption.
      IndexError: it has no such severity.
    """
    if severity == 0:
        return photo
    kind = CORRUPTIONS[name]
    # In uint64 from the start: NumPy makes floats of a list with such large numbers.
    words = np.array([seed & 0xFFFFFFFFFFFFFFFF, zlib.crc32(name.encode())], np.uint64)
    start = np.array([0, 0, 0, key], np.uint64)
    rng = np.random.Generator(np.random.Philox(key=words, counter=start))
    parameters = kind.parameters(severity, min(photo.shape[:2]))
    changed = kind.apply(photo.astype(np.float32) / 255, rng, *parameters)
    return np.asarray(np.rint(np.clip(changed, 0, 1) * 255), np.uint8)
