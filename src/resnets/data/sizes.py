"""How large the photos of a data set are, from the headers of a sample of them."""

from __future__ import annotations

import io
import statistics
from pathlib import Path

import numpy as np
from PIL import Image

from resnets.data.images import FORMATS, check_file
from resnets.data.quiet import pillow_warnings_ignored
from resnets.data.samples import Samples

SAMPLE = 256


def median_short_side(samples: Samples) -> int | None:
    """Return the median short side in pixels of up to 256 evenly spaced photos; None if none opens.

    A photo turned by EXIF has the same short side, so the header is enough.
    """
    positions = np.unique(np.linspace(0, len(samples) - 1, SAMPLE).astype(int))
    sides = [side for i in positions if (side := _short_side(samples.read(int(i)))) is not None]
    return int(statistics.median(sides)) if sides else None


def _short_side(source: Path | bytes | np.ndarray) -> int | None:
    if isinstance(source, np.ndarray):
        return int(min(source.shape[:2]))
    try:
        if isinstance(source, Path):
            check_file(source)
        file = source if isinstance(source, Path) else io.BytesIO(source)
        with pillow_warnings_ignored(), Image.open(file, formats=FORMATS) as image:
            return min(image.size)
    except Exception:  # whatever is wrong with it, decoding will say
        return None
