"""Confidence intervals for proportions, and for their mean over the classes."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np


def wilson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval for a proportion, as fractions ``(low, high)`` with 0 ≤ low ≤ high ≤ 1.

    Unlike the textbook interval (p plus or minus z standard errors) it stays inside [0, 1], has a
    width above zero when every answer was right, and keeps close to its nominal coverage for small
    ``n``. With no observations nothing is known: ``(0.0, 1.0)``. Numbers that are not whole stand
    for a sample that tells as much as so many observations would.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (1927), 209-212; without continuity
    correction.

    Raises:
        ValueError: ``successes`` is not in 0..n, or ``confidence`` is not strictly between 0 and 1.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be in 0..{n}, got {successes}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At the ends the algebra gives exactly 0 and 1, floating point only nearly.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def balanced(
    successes: Sequence[int], n: Sequence[int], confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean of several proportions, such as the recalls of the classes.

    Wilson's interval for as many photos as would give the mean its variance, which is the sum of
    the classes' own: of each the unbiased estimate p (1 - p) / (n - 1), and of a class with one
    photo that of the mean. Where every answer is right, or none is, nothing varies, and the
    variance is that of equal proportions. Classes without photos do not count.

    ``tests/evaluate/test_coverage_of_intervals.py`` holds it to 95 %. The pooled test of all
    classes as one would be too narrow wherever their sizes differ.

    Source: the effective sample size of surveys, with Wilson's interval; see E. L. Korn and B. I.
    Graubard, Survey Methodology 24 (1998), 193-201.
    """
    right, photos = (np.asarray(values, np.float64) for values in (successes, n))
    right, photos = right[photos > 0], photos[photos > 0]
    if not len(photos):
        return 0.0, 1.0
    shares = right / photos
    mean = float(shares.mean())
    of_one = mean * (1 - mean)
    own = np.where(photos > 1, shares * (1 - shares) / np.maximum(photos - 1, 1), of_one)
    variance = float(own.sum()) / len(photos) ** 2
    equal = len(photos) ** 2 / float((1 / photos).sum())
    effective = of_one / variance if variance > 0 else equal
    return wilson(min(mean * effective, effective), effective, confidence)
