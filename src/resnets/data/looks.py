"""What photos look like, in numbers: to tell on which of them a model fails."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOOKS = ("brightness", "contrast", "sharpness")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as the decoder's
SIDE = 256


def looks(photo: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Return `LOOKS` of a prepared photo ``H W C``: 0 to 255, but for sharpness.

    Brightness is the mean of the luma, contrast its standard deviation, and sharpness the standard
    deviation of its Laplacian (Pech-Pacheco et al. 2000): at the size that the network sees, so
    that a large photo that is soft can be as sharp as a small one. Beyond `SIDE` pixels every
    second or third is looked at.
    """
    step = -(-max(photo.shape[:2]) // SIDE)
    pixels = photo[::step, ::step].astype(np.float32)
    grey = pixels[..., 0] if pixels.shape[2] == 1 else pixels @ LUMA
    inner = grey[1:-1, 1:-1]
    edges = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return float(grey.mean()), float(grey.std()), float(edges.std()) if edges.size else 0.0
