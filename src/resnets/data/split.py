"""From a listing to train, val and test: as the source says, and the rest by a seeded hash."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnets.data.samples import Labels, Samples
from resnets.errors import UserError

SPLITS = ("train", "val", "test")

SplitNames = NDArray[np.str_]


@dataclass(frozen=True)
class Fractions:
    """How much of each class a seeded split gives to val and to test, and its seed.

    Raises:
        UserError: if the fractions leave nothing for training.
    """

    seed: int = 0
    val: float = 0.1
    test: float = 0.2

    def __post_init__(self) -> None:
        if not (self.val >= 0 and self.test >= 0 and self.val + self.test < 1):
            raise UserError(
                f"val_fraction {self.val:g} and test_fraction {self.test:g} do not leave a part "
                "for training: neither may be negative, and their sum must be below 1"
            )


def complete(
    samples: Samples, classes: Sequence[str], given: SplitNames | None, fractions: Fractions
) -> tuple[SplitNames, list[str]]:
    """Return the split of each of ``N`` samples, and which splits were drawn.

    Without splits, or with ``train`` alone, all are drawn. From ``train`` and ``test``, val is
    drawn out of train. Whatever else was given is left as it is.

    Raises:
        UserError: if a class has too few samples to draw from.
    """
    present = set() if given is None else set(np.unique(given).tolist())
    if given is None or present == {"train"}:
        drawn = draw(samples.ids, samples.labels, classes, fractions)
        return drawn, [name for name in SPLITS if (drawn == name).any()]
    if present != {"train", "test"} or fractions.val == 0:
        return given, []
    train = np.flatnonzero(given == "train")
    part = samples.subset(train)
    only_val = Fractions(fractions.seed, fractions.val, 0.0)
    splits = given.copy()
    splits[train] = draw(part.ids, part.labels, classes, only_val)
    return splits, ["val"]


def draw(
    ids: Sequence[str], labels: Labels, classes: Sequence[str], fractions: Fractions
) -> SplitNames:
    """Return ``train``, ``val`` or ``test`` for each of ``N`` samples, stratified by class.

    In every class the samples are ranked by a hash of (seed, id). The first of them, as many as
    the fraction says, rounded, are for test, the next for val; each split whose fraction is not 0
    has at least one, and so has train. As ranks do not depend on what else is there, a photo that
    is added moves at most three others.

    Raises:
        UserError: if a class has fewer samples than there are splits.
    """
    shares = {"train": 1.0, "val": fractions.val, "test": fractions.test}
    wanted = [name for name in SPLITS if shares[name] > 0]
    splits = np.full(len(ids), "train", dtype="<U5")
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(len(classes) + 1))
    for name, start, end in zip(classes, ends, ends[1:], strict=False):
        members = sorted(order[start:end].tolist(), key=lambda i: _rank(fractions.seed, ids[i]))
        if 0 < len(members) < len(wanted):
            raise _too_few(name, len(members), wanted)
        test = _share(fractions.test, len(members), len(members) - len(wanted) + 1)
        val = _share(fractions.val, len(members), len(members) - test - 1)
        splits[members[:test]] = "test"
        splits[members[test : test + val]] = "val"
    return splits


def from_table(ids: Sequence[str], table: Mapping[str, str]) -> SplitNames:
    """Return the split that `table` gives to each id.

    Raises:
        UserError: for ids that are not in the table, or splits other than train, val and test.
    """
    strange = sorted(set(table.values()) - set(SPLITS))
    if strange:
        raise UserError(f"the split table holds {strange[0]!r}: use train, val or test")
    missing = [name for name in ids if name not in table]
    if missing:
        raise UserError(
            f"the split table lacks {len(missing):,} of {len(ids):,} samples "
            f"({', '.join(missing[:3])}): add them, or leave the table out to split anew"
        )
    return np.asarray([table[name] for name in ids], dtype="<U5")


def check(
    samples: Samples, classes: Sequence[str], given: SplitNames | None, root: str
) -> list[str]:
    """Check that the classes can be learnt, and return notes on what is odd but usable.

    Raises:
        UserError: for a single class, or a class without training samples where others have some.
    """
    if len(classes) == 1:
        raise UserError(
            f"{root} has one class only, {classes[0]!r}: a classifier needs two at least, each in "
            "a folder of its own"
        )
    if given is None or "train" not in given:
        return []
    known = np.unique(samples.labels[given == "train"])
    notes = []
    for name in ("val", "test"):
        here = np.unique(samples.labels[given == name])
        unknown = [repr(classes[i]) for i in np.setdiff1d(here, known)]
        if unknown:
            raise UserError(
                f"the {name} split of {root} has {_count(unknown)} with no training photos: add "
                f"some to train, or remove the class from {name}"
            )
        absent = [repr(classes[i]) for i in np.setdiff1d(known, here)]
        if absent and len(here):
            notes.append(f"the {name} split has no photos of {_count(absent)}")
    return notes


def _count(names: Sequence[str]) -> str:
    listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"class {listed}" if len(names) == 1 else f"{len(names)} classes ({listed})"


def _share(fraction: float, count: int, at_most: int) -> int:
    return max(0, min(max(1, math.floor(fraction * count + 0.5)), at_most)) if fraction else 0


def _too_few(name: str, count: int, wanted: Sequence[str]) -> UserError:
    photos = "one training photo" if count == 1 else f"{count} training photos"
    return UserError(
        f"class {name!r} has {photos}, but {', '.join(wanted[:-1])} and {wanted[-1]} need one "
        "each: add photos, or remove the class"
    )


def _rank(seed: int, sample_id: str) -> bytes:
    key = f"{seed}\0{sample_id}".encode("utf-8", "backslashreplace")
    return hashlib.blake2b(key, digest_size=16).digest()
