"""Copies: which photos are the same or nearly the same, and what that spoils."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from resnets.audit.facts import Facts
from resnets.audit.findings import Findings
from resnets.audit.near import SMALL, Floats, Pairs, near_pairs
from resnets.audit.opening import Opened
from resnets.audit.photos import BLANK

KINDS = {True: ("exact-leak", "exact-labels", "exact-copies"),
         False: ("near-leak", "near-labels", "near-copies")}  # fmt: skip
"""Names of findings: across splits, with different labels, and else; of the same pixels, or not."""


@dataclass(frozen=True)
class Copies:
    """Photos that belong together.

    Attributes:
      pixels: ``N``: photos with the same pixels have the same number; each that does not decode has
        its own.
      pairs: ``P 2``, nearly the same; of photos with the same pixels the first stands for all.
      scores: how alike the two of each pair are, up to 1.
    """

    pixels: NDArray[np.int64]
    pairs: Pairs
    scores: Floats

    def groups(self, *others: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of each photo's group, ``N``: all that copies connect, and photos that
        have the same text in one of `others` (an empty one connects nothing)."""
        count = len(self.pixels)
        links = [_links(self.pixels), self.pairs]
        for texts in others:
            _, numbers = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
            empty = np.asarray([not text for text in texts], bool)
            numbers[empty] = len(numbers) + np.flatnonzero(empty)
            links.append(_links(numbers))
        i, j = np.concatenate(links).T
        graph = coo_matrix((np.ones(len(i), bool), (i, j)), shape=(count, count))
        found: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
        return found


def find_copies(
    facts: Facts, near: bool = True, advance: Callable[[int], object] = lambda count: None
) -> Copies:
    """Compare all photos with each other: pixels by their digests, and, if `near`, pictures."""
    good = np.flatnonzero(facts.rows["ok"])
    pixels = len(good) + np.arange(len(facts.rows))
    _, first, same = np.unique(facts.rows["digest"][good], return_index=True, return_inverse=True)
    pixels[good] = same
    ones = np.sort(good[first])
    ones = ones[facts.rows["deviation"][ones] >= BLANK]  # what is empty resembles all that is
    if not near:
        return Copies(pixels, np.zeros((0, 2), np.int64), np.zeros(0, np.float32))
    small = np.minimum(facts.rows["width"], facts.rows["height"]) < SMALL
    return Copies(pixels, *near_pairs(facts.pictures, ones, small, advance))


def check_copies(copies: Copies, data: Opened, findings: Findings) -> dict[str, dict[str, int]]:
    """Add all copies; return how many photos of each split have one in a split that was learnt
    from: ``{"test": {"photos": 10000, "exact": 1, "near": 2}}``, `near` without those."""
    sets = [members for members in _members(copies.pixels) if len(members) > 1]
    for members in sets:
        _add(members, True, "", data, findings)
    same = {int(members[0]): members for members in sets}
    spoilt = {kind: np.zeros(len(copies.pixels), bool) for kind in ("exact", "near")}
    for members in sets:
        _spoil(members, data.splits, spoilt["exact"])
    for (i, j), score in zip(copies.pairs.tolist(), copies.scores, strict=True):
        members = np.concatenate([same.get(i, np.asarray([i])), same.get(j, np.asarray([j]))])
        _spoil(members, data.splits, spoilt["near"])
        _add(np.asarray([i, j]), False, f"{score:.3f} alike", data, findings, members)
    spoilt["near"] &= ~spoilt["exact"]
    return {
        split: {
            "photos": int((data.splits == split).sum()),
            **{kind: int(mask[data.splits == split].sum()) for kind, mask in spoilt.items()},
        }
        for split in ("val", "test")
        if (data.splits == split).any()
    }


def check_groups(groups: Sequence[str], data: Opened, findings: Findings) -> None:
    """Add groups of the user's, such as photos of one person, that lie in two splits."""
    splits: dict[str, dict[str, str]] = {}
    if not groups:
        return
    for group, split, name in zip(groups, data.splits.tolist(), data.ids, strict=True):
        if group:
            splits.setdefault(group, {}).setdefault(split, name)
    for group, found in splits.items():
        if len(found) > 1:
            findings.add("group-leak", *found.values(), detail=f"{group}: {', '.join(found)}")


def _add(
    shown: NDArray[np.int64],
    exact: bool,
    detail: str,
    data: Opened,
    findings: Findings,
    members: NDArray[np.int64] | None = None,
) -> None:
    members = shown if members is None else members
    leak, labels, copies = KINDS[exact]
    splits, classes = data.splits[members], data.labels[members]
    true = {leak: len(set(splits.tolist())) > 1, labels: len(set(classes.tolist()) - {-1}) > 1}
    for kind in [kind for kind, there in true.items() if there] or [copies]:
        findings.add(kind, *(data.ids[i] for i in shown), detail=detail)


def _spoil(members: NDArray[np.int64], splits: NDArray[np.str_], spoilt: NDArray[np.bool_]) -> None:
    here = splits[members]
    if (here == "train").any():
        spoilt[members[here != "train"]] = True


def _members(numbers: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    order = np.argsort(numbers, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)


def _links(numbers: NDArray[np.int64]) -> Pairs:
    """Return pairs that connect all photos of one number: each with the next."""
    order = np.argsort(numbers, kind="stable")
    same = np.diff(numbers[order]) == 0
    links: Pairs = np.stack([order[:-1][same], order[1:][same]], 1)
    return links
