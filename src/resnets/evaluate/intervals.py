"""Confidence intervals for proportions."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval for a proportion, as fractions ``(low, high)`` with 0 ≤ low ≤ high ≤ 1.

    Unlike the textbook interval (p plus or minus z standard errors) it stays inside [0, 1], has a
    width above zero when every answer was right, and keeps close to its nominal coverage for small
    ``n``. With no observations nothing is known: ``(0.0, 1.0)``.

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
