"""Deletion and insertion: does the class go when what the map marks goes, and come when it comes?

Petsiuk et al. 2018, "RISE", arXiv:1806.07421, section 4.1. Pixels are taken in the order of the
map: for deletion they are replaced by the mean colour, for insertion they come into a blurred
photo. The share of the probability under each curve is compared with that of maps whose cells are
in random order, so that they are as smooth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from resnets.explain.maps import enlarge

POINTS = 11
"""Points of a curve, from 0 to all pixels."""
ORDERS = 5
"""Random orders that a map is compared with."""
Answer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Curve:
    """The probability of the class as pixels go or come, ``POINTS``, and the area below it.

    `random` is the mean curve of the maps in random order, `random_areas` one area for each.
    """

    name: str
    values: tuple[float, ...]
    random: tuple[float, ...]
    random_areas: tuple[float, ...]

    @property
    def area(self) -> float:
        return _area(self.values)

    @property
    def random_area(self) -> float:
        return _area(self.random)

    @property
    def better(self) -> bool:
        """Whether the map does better than every one in random order."""
        if self.name == "deletion":
            return self.area < min(self.random_areas)
        return self.area > max(self.random_areas)

    @property
    def verdict(self) -> str:
        """What `better` says, for people."""
        return f"{'' if self.better else 'not '}better than every random order"

    def to_json(self) -> dict[str, Any]:
        return {
            "area": self.area,
            "random_area": self.random_area,
            "better_than_random": self.better,
            "curve": [round(value, 4) for value in self.values],
            "random_curve": [round(value, 4) for value in self.random],
            "random_areas": list(self.random_areas),
        }


def curves(
    answer: Answer, image: Tensor, label: int, cells: NDArray[np.float32], seed: int = 0
) -> dict[str, Curve]:
    """Return the curves ``deletion`` and ``insertion`` of one map.

    Args:
      answer: gives probabilities ``N classes`` of normalised photos ``N C H W``.
      image: the photo ``C H W``, normalised: 0 is the mean colour.
      label: the class.
      cells: the map ``h w``.
      seed: of the random orders.
    """
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(cells.ravel()).reshape(cells.shape) for _ in range(ORDERS)]
    side = image.shape[-1]
    maps = enlarge(np.stack([cells, *shuffled]).astype(np.float32), side)
    # Ties, as where there is no evidence at all, are broken at random rather than row by row.
    ranks = np.lexsort(
        (rng.random(maps.shape).reshape(len(maps), -1), -maps.reshape(len(maps), -1))
    )
    order = torch.from_numpy(ranks.argsort(1)).view(-1, side, side).to(image.device)
    ends = {"deletion": (image, torch.zeros_like(image)), "insertion": (_blurred(image), image)}
    found = {}
    for name, (before, after) in ends.items():
        values = np.stack([_curve(answer, before, after, o, label) for o in order])
        random = values[1:].mean(0)
        areas = tuple(_area(tuple(v)) for v in values[1:])
        found[name] = Curve(name, tuple(values[0].tolist()), tuple(random.tolist()), areas)
    return found


def _curve(
    answer: Answer, before: Tensor, after: Tensor, order: Tensor, label: int
) -> NDArray[np.float64]:
    counts = torch.linspace(0, order.numel(), POINTS, device=order.device).view(-1, 1, 1, 1)
    steps = torch.where(order < counts, after, before)
    return answer(steps)[:, label].cpu().double().numpy()


def _blurred(image: Tensor) -> Tensor:
    """Return a photo of which only the large patches of colour are left: σ is a quarter of its
    side."""
    sigma = max(1.0, image.shape[-1] / 4)
    kernel = 2 * ((image.shape[-1] - 1) // 2) + 1
    blurred: Tensor = gaussian_blur(image, [kernel, kernel], [sigma, sigma])
    return blurred


def _area(values: tuple[float, ...]) -> float:
    """Return the area under a curve over 0…1, by trapezoids."""
    return float(np.trapezoid(values, dx=1 / (len(values) - 1)))
