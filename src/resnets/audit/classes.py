"""What is wrong with classes and splits as such: names, numbers, and what gives a class away."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from resnets.audit.facts import Facts
from resnets.audit.findings import Findings
from resnets.audit.opening import Opened
from resnets.data.labels import class_name

SMALL: Final = 10
IMBALANCE: Final = 10
HELD_OUT: Final = 100
"""Photos below which the interval of an accuracy of 90 % is wider than 12 points."""
OWN, OTHERS = 0.9, 0.1
"""A kind of file gives a class away if it has this share of its photos, and of no other's more."""

ALIKE: Final[dict[str, Callable[[str], str]]] = {
    "class-case": str.casefold,
    "class-spacing": lambda name: re.sub(r"[\s_-]+", "", name),
    "class-unicode": lambda name: _skeleton(name),
}
"""How names are written for those that look the same to be the same."""
_LOOKALIKES: Final = str.maketrans("аеорсухіАВЕКМНОРСТХ", "aeopcyxiABEKMHOPCTX")


def _skeleton(name: str) -> str:
    """Write a name without Unicode's variants of a letter, and Cyrillic in Latin look-alikes."""
    return unicodedata.normalize("NFKC", name).translate(_LOOKALIKES)


def check_names(classes: Iterable[str], folders: Iterable[str], findings: Findings) -> None:
    """Add class names that look alike, or odd; `folders` are those of the classes."""
    names = sorted(set(classes))
    for kind, written in ALIKE.items():
        alike: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            alike[written(name)].append(name)
        for same in alike.values():
            if len(same) > 1:
                findings.add(kind, *same)
    for name in names:
        odd = [f"U+{ord(c):04X}" for c in name if unicodedata.category(c) in ("Cc", "Cf")]
        if odd or name != name.strip():
            findings.add("class-name-odd", repr(name), detail=", ".join(odd))
    forms: defaultdict[str, set[str]] = defaultdict(set)
    for folder in folders:
        own = os.path.basename(folder.rstrip("/"))
        forms[class_name(own)].add(own)
    for merged in forms.values():
        if len(merged) > 1:
            findings.add("class-merged", *sorted(map(ascii, merged)))


def check_classes(data: Opened, facts: Facts, findings: Findings) -> None:
    """Add what the numbers of photos show: of those that decode, by class and split."""
    good = facts.rows["ok"] & (data.labels >= 0)
    counts = {
        split: np.bincount(data.labels[good & (data.splits == split)], minlength=len(data.classes))
        for split in sorted(set(data.splits.tolist()))
    }
    check_counts(data.classes, counts, findings)
    _check_shortcuts(data, facts, good, findings)


def check_counts(
    classes: Sequence[str], counts: Mapping[str, NDArray[np.int64]], findings: Findings
) -> None:
    """Add what the numbers of photos show: `counts` has those of each class, by split."""
    total = sum(counts.values(), np.zeros(len(classes), np.int64))
    train = counts.get("train", total)
    for name, here, learnt in zip(classes, total, train, strict=True):
        if not here:
            findings.add("class-unreadable", name)
        elif not learnt:
            findings.add("class-not-in-train", name)
        elif learnt < SMALL:
            findings.add("class-small", name, detail=f"{learnt}")
    for split in sorted(counts.keys() & {"val", "test"}):
        tested = counts[split]
        for name, here, learnt in zip(classes, tested, train, strict=True):
            if learnt and not here:
                findings.add("class-not-in-split", name, detail=split)
        if tested.sum() < HELD_OUT:
            findings.add("split-small", split, detail=f"{tested.sum()} photos")
    present = train[train > 0]
    if len(present) and present.max() >= IMBALANCE * present.min():
        most, least = classes[int(train.argmax())], classes[_least(train)]
        detail = f"{present.max():,} and {present.min():,} training photos"
        findings.add("imbalance", most, least, detail=detail)


def _least(counts: NDArray[np.int64]) -> int:
    return int(np.where(counts > 0, counts, counts.max() + 1).argmin())


def _check_shortcuts(
    data: Opened, facts: Facts, good: NDArray[np.bool_], findings: Findings
) -> None:
    """Add classes that a network could tell by the kind of file alone."""
    rows, labels = facts.rows[good], data.labels[good]
    sizes = [f"{w} × {h} px" for w, h in zip(rows["width"], rows["height"], strict=True)]
    for values in (rows["format"], np.asarray(sizes)):
        for value, share in _shares(values, labels, len(data.classes)):
            first, second = np.argsort(-share)[:2] if len(share) > 1 else (0, 0)
            if first != second and share[first] >= OWN and share[second] <= OTHERS:
                detail = f"{share[first]:.0%} {value}, of others {share[second]:.0%} at most"
                findings.add("format-tells-class", data.classes[first], detail=detail)


def _shares(
    values: NDArray[np.str_], labels: NDArray[np.int64], classes: int
) -> Iterable[tuple[str, NDArray[np.float64]]]:
    """Yield each value, and what share of each class has it; of classes with `SMALL` or more."""
    total = np.bincount(labels, minlength=classes)
    names: Sequence[str] = np.unique(values).tolist()
    for name in names if len(names) <= 1000 else ():
        found = np.bincount(labels[values == name], minlength=classes)
        yield name, np.where(total >= SMALL, found / np.maximum(total, 1), 0.0)
