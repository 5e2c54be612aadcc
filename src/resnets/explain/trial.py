"""The test by random networks, of many photos at once, and what came out for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from resnets.explain.maps import Mapper, enlarge
from resnets.explain.randomised import (
    LIMIT,
    SEEDS,
    cascade,
    parts,
    randomised,
    rank_correlation,
    ssim,
)
from resnets.nn import ResNet

EXTENTS = ("full", "quick", "none")
KEPT = 2**30
"""Bytes of random networks that are kept for the next photos; further ones are made anew."""


@dataclass(frozen=True, eq=False)
class Alike:
    """How alike a map is to that of a network of which `part` (and in a cascade all before it) is
    random: the rank correlation of their cells, their SSIM, and the other map, ``h w``. Where all
    is random, `part` names the seed."""

    part: str
    rank: float
    ssim: float
    cells: NDArray[np.float32] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        return {"part": self.part, "rank_correlation": self.rank, "ssim": self.ssim}


@dataclass(frozen=True, eq=False)
class Trial:
    """The test of one map.

    Attributes:
      blank: the map itself has no evidence anywhere, so there is nothing to compare.
      random: networks that are random throughout, one for each seed.
      cascade: random from the classifier down to a part; alone: random in a part only.
    """

    blank: bool
    random: tuple[Alike, ...]
    cascade: tuple[Alike, ...] = ()
    alone: tuple[Alike, ...] = ()

    @property
    def rank(self) -> float:
        """The mean rank correlation with networks that are random throughout."""
        return float(np.mean([one.rank for one in self.random]))

    @property
    def ssim(self) -> float:
        return float(np.mean([one.ssim for one in self.random]))

    @property
    def passes(self) -> bool | None:
        return None if self.blank else self.rank <= LIMIT

    @property
    def verdict(self) -> str:
        """One sentence for people."""
        if self.passes is None:
            return "The map is empty: nothing at this layer speaks for the class; not tested."
        if self.passes:
            return "This map depends on what the network has learnt: passes."
        return (
            "This map does not depend on what the network has learnt: fails. Networks with random "
            "weights make much the same one; do not rely on it."
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "passes": self.passes,
            "verdict": self.verdict,
            "rank_correlation": self.rank,
            "ssim": self.ssim,
            "limit": LIMIT,
            "random": [one.to_json() for one in self.random],
            "cascade": [one.to_json() for one in self.cascade],
            "alone": [one.to_json() for one in self.alone],
        }


class Rivals:
    """The random networks of a network, made when they are first needed."""

    def __init__(self, net: ResNet, size: int, extent: str) -> None:
        self._net, self._size = net, size
        whole = parts(net)
        kinds: dict[str, list[tuple[str, tuple[str, ...], int]]] = {
            "random": [(f"seed {seed}", whole, seed) for seed in range(SEEDS)],
            "cascade": [(name, names, 0) for name, names in cascade(net).items()],
            "alone": [(name, (name,), 0) for name in whole],
        }
        self._kinds = {k: v for k, v in kinds.items() if extent == "full" or k == "random"}
        self._made: dict[tuple[tuple[str, ...], int], ResNet] = {}
        self._most = KEPT // sum(tensor.nbytes for tensor in net.state_dict().values())

    def __len__(self) -> int:
        return sum(map(len, self._kinds.values()))

    def test(
        self,
        mapper: Mapper,
        images: Tensor,
        classes: Tensor,
        own: NDArray[np.float32],
        done: Callable[[int], None] = lambda maps: None,
    ) -> list[Trial]:
        """Return the trial of each map ``N h w`` of normalised photos ``N C H W``."""
        found: dict[str, list[list[Alike]]] = {}
        known: dict[tuple[tuple[str, ...], int], NDArray[np.float32]] = {}
        mine = enlarge(own, self._size)
        for kind, rivals in self._kinds.items():
            found[kind] = [[] for _ in own]
            for part, names, seed in rivals:
                if (names, seed) not in known:  # the last step of the cascade is random throughout
                    known[names, seed] = mapper(self._rival(names, seed), images, classes)
                other = known[names, seed]
                ranks, alike = rank_correlation(own, other), ssim(mine, enlarge(other, self._size))
                for i, row in enumerate(found[kind]):
                    row.append(Alike(part, float(ranks[i]), float(alike[i]), other[i]))
                done(len(own))
        return [
            Trial(
                blank=bool(own[i].max() == 0),
                **{kind: tuple(rows[i]) for kind, rows in found.items()},
            )
            for i in range(len(own))
        ]

    def _rival(self, names: tuple[str, ...], seed: int) -> ResNet:
        """Return a random network; the first are kept, as every batch asks for all in order."""
        made = self._made.get((names, seed)) or randomised(self._net, names, seed, self._size)
        if len(self._made) < self._most:
            self._made[names, seed] = made
        return made
