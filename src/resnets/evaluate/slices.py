"""Where a model is worse: the photos in groups, by what they are and by what is known of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact

from resnets.evaluate.intervals import wilson

GROUPS = 4
MOST = 20
"""Values of one column that are a slice each; the photos of all others are one together."""
EMPTY = "(empty)"
"""The part of the photos of which a fact is not known."""
LEVEL = 0.05
DIGITS = range(3, 18)
"""Of the numbers that name a part: as many as tell the parts of a column apart."""

Values = Sequence[str] | NDArray[np.floating]


@dataclass(frozen=True)
class Slice:
    """The photos of which `fact` is `value`, and how many of them are right.

    Attributes:
        n, top1, low, high: their number, the share that is right, its 95 % Wilson interval.
        rest: the share that is right of all other photos.
        p_value: of Fisher's exact test of these against those.
        differs: ``worse``, ``better``, or empty where chance may explain it: Holm's correction for
            all slices of the report leaves a chance of 5 % that any of them is marked wrongly.
    """

    fact: str
    value: str
    n: int
    top1: float
    low: float
    high: float
    rest: float
    p_value: float
    differs: str


def slices(right: NDArray[np.bool_], facts: Mapping[str, Values]) -> tuple[Slice, ...]:
    """Part photos by each fact, in order; a fact that is the same for all gives no slice.

    Args:
        right: whether the answer was, ``N``.
        facts: by name, ``N`` values each: numbers, which are parted into quarters (NaN where it is
            not known), or texts, each of which is a slice (empty where it is not known). What is
            not known is a part of its own, the last: the parts of a fact sum to ``N``.
    """
    found, hits = [], int(right.sum())
    for fact, values in facts.items():
        groups = _quarters(values) if isinstance(values, np.ndarray) else _names(values)
        for value, members in groups.items() if len(groups) > 1 else ():
            n, good = len(members), int(right[members].sum())
            others = [hits - good, len(right) - n - (hits - good)]
            p_value = float(fisher_exact([[good, n - good], others]).pvalue)
            rest = others[0] / (len(right) - n)
            found.append(Slice(fact, value, n, good / n, *wilson(good, n), rest, p_value, ""))
    marked = holm([part.p_value for part in found])
    return tuple(
        Slice(**(vars(part) | {"differs": "worse" if part.top1 < part.rest else "better"}))
        if mark
        else part
        for part, mark in zip(found, marked, strict=True)
    )


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Tell which of several tests reject, with a chance of at most `level` that any does wrongly.

    However they depend on each other (Holm 1979, Scandinavian Journal of Statistics 6).
    """
    rejected = [False] * len(p_values)
    for tried, i in enumerate(np.argsort(p_values, kind="stable").tolist()):
        if p_values[i] > level / (len(p_values) - tried):
            break
        rejected[i] = True
    return rejected


def _quarters(values: NDArray[np.floating]) -> dict[str, NDArray[np.int64]]:
    """Part numbers at their quartiles; equal ones stay together, so there may be fewer parts."""
    told = np.isfinite(values)
    known, unknown = np.flatnonzero(told), np.flatnonzero(~told)
    if not len(known):
        return {EMPTY: unknown}
    of = values[known]
    inner = np.quantile(of, np.arange(1, GROUPS) / GROUPS, method="inverted_cdf")
    # Where most have the largest value, that is a part, too: else there would be but one.
    inner = np.minimum(inner, of[of < of.max()].max(initial=of.min()))
    group = np.searchsorted(np.unique(inner), of, side="left")
    parts = [known[group == g] for g in np.unique(group)]
    for digits in DIGITS:
        named = {_range(values[part], digits): part for part in parts}
        if len(named) == len(parts):  # else two parts read alike
            break
    return named | ({EMPTY: unknown} if len(unknown) else {})


def _range(values: NDArray[np.floating], digits: int) -> str:
    low, high = (_short(float(value), digits) for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def _short(value: float, digits: int) -> str:
    decimals = digits - 1 - math.floor(math.log10(abs(value))) if value else 0
    text = f"{value:,.{max(decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _names(values: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    names, group, counts = np.unique(
        np.asarray(values, object).astype(str), return_inverse=True, return_counts=True
    )
    order = [i for i in np.argsort(-counts, kind="stable") if names[i]]
    own = order if len(order) <= MOST + 1 else order[:MOST]
    found = {str(names[i]): np.flatnonzero(group == i) for i in own}
    if len(own) < len(order):
        rest = np.flatnonzero(np.isin(group, order[MOST:]))
        found[f"{len(order) - MOST:,} other values"] = rest
    if "" in names:
        found[EMPTY] = np.flatnonzero(names[group] == "")
    return found
