"""Augmentation, for a whole batch at once, from numbers that the data plan hands in.

A transform is a small frozen object: `draws` says how many uniform numbers it takes per photo, and
calling it with a batch and those numbers, ``N draws``, is a pure function. Geometry works on
prepared photos ``N H W C``, pixels in 0…255 (uint8 or float); `Augment` strings the chosen ones
together with the normalisation and returns the network's ``N C H W``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from resnets.data.preprocess import Preprocess


class Transform(Protocol):
    @property
    def draws(self) -> int: ...

    def __call__(self, images: Tensor, u: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class RandomFlip:
    """Mirror every other photo, left to right."""

    draws: int = 1

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        return torch.where((u[:, 0] < 0.5)[:, None, None, None], images.flip(2), images)


@dataclass(frozen=True)
class PadCrop:
    """Pad by `pad` pixels of colour `fill` and cut a random ``size × size`` (v1, section 4.2)."""

    size: int
    pad: int
    fill: tuple[int, ...]
    draws: int = 2

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        n, height, width, channels = images.shape
        fill = torch.tensor(self.fill, dtype=images.dtype, device=images.device)
        padded = fill.repeat(n, height + 2 * self.pad, width + 2 * self.pad, 1)
        padded[:, self.pad : self.pad + height, self.pad : self.pad + width] = images
        # Every place of the crop is a view, of whose rows each is one piece of memory: a copy of
        # the chosen views is far less work than to look up every pixel.
        rows = padded.flatten(2).unfold(1, self.size, 1)
        places = rows.unfold(2, self.size * channels, channels)
        room = torch.tensor(places.shape[1:3], device=images.device)
        top, left = (u * room).long().unbind(1)
        which = torch.arange(n, device=images.device)
        return places[which, top, left].view(n, self.size, self.size, channels)


@dataclass(frozen=True)
class ResizedCrop:
    """Cut a random part and scale it to ``size × size``, perhaps turned by some degrees.

    The part has `scale` of the area and an aspect between 3/4 and 4/3 (Szegedy et al. 2015,
    arXiv:1409.4842, section 6). Sampling is bilinear; outside the photo its edge is repeated.
    """

    size: int
    scale: tuple[float, float]
    degrees: float = 0.0
    aspect: float = 4 / 3
    draws: int = 5

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        area = self.scale[0] + (self.scale[1] - self.scale[0]) * u[:, 0]
        stretch = torch.exp((2 * u[:, 1] - 1) * math.log(self.aspect) / 2)
        width = (area.sqrt() * stretch).clamp(max=1)
        height = (area.sqrt() / stretch).clamp(max=1)
        x, y = (2 * u[:, 2] - 1) * (1 - width), (2 * u[:, 3] - 1) * (1 - height)
        angle = (2 * u[:, 4] - 1) * math.radians(self.degrees)
        cos, sin = angle.cos(), angle.sin()
        # Where each pixel comes from is a sum of a part of its column and a part of its row.
        side = torch.arange(self.size, device=images.device)
        side = (2 * side + 1) / self.size - 1
        turns = ((width * cos, -height * sin, x), (width * sin, height * cos, y))
        grid = torch.empty(len(images), self.size, self.size, 2, device=images.device)
        for axis, (right, down, middle) in enumerate(turns):
            rows = down[:, None] * side + middle[:, None]
            columns = right[:, None] * side
            torch.add(rows[:, :, None], columns[:, None, :], out=grid[..., axis])
        pixels = images.permute(0, 3, 1, 2).float()
        return F.grid_sample(
            pixels, grid, mode="bilinear", padding_mode="border", align_corners=False
        ).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast and saturation by factors in ``1 ± strength``.

    Contrast turns about the middle of the range rather than each photo's mean, so that the result
    is free of reductions, whose rounding depends on the number of threads.
    """

    strength: float
    draws: int = 3

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        brightness, contrast, saturation = (
            1 + (2 * u[:, i] - 1)[:, None, None, None] * self.strength for i in range(3)
        )
        # By planes, as a crop leaves them, and in as few passes over them as can be.
        planes = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        pixels = torch.addcmul(127.5 * (1 - contrast), planes, brightness * contrast)
        if pixels.shape[1] == 3:
            grey = pixels[:, :1] * 0.299
            grey.add_(pixels[:, 1:2], alpha=0.587).add_(pixels[:, 2:], alpha=0.114)
            torch.lerp(grey, pixels, saturation, out=pixels)
        return pixels.clamp_(0, 255).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class RandomErase:
    """Cover a random rectangle of up to a third of the area with `fill`, by a `probability`.

    Zhong et al. 2017, arXiv:1708.04896.
    """

    probability: float
    fill: tuple[int, ...]
    draws: int = 5

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        _, height, width, _ = images.shape
        area = 0.02 + (1 / 3 - 0.02) * u[:, 1]
        stretch = torch.exp((2 * u[:, 2] - 1) * math.log(0.3) / 2)
        tall, wide = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)
        tall = torch.where(u[:, 0] < self.probability, tall, 0.0)
        top, left = u[:, 3] * (1 - tall), u[:, 4] * (1 - wide)
        rows = (torch.arange(height, device=images.device) + 0.5) / height
        columns = (torch.arange(width, device=images.device) + 0.5) / width
        inside_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
        inside_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
        hole = (inside_rows[:, :, None] & inside_columns[:, None, :])[..., None]
        fill = torch.tensor(self.fill, dtype=images.dtype, device=images.device)
        return torch.where(hole, fill, images)


@dataclass(frozen=True)
class Augment:
    """The transforms of a recipe in order, then the centre of `size` and the normalisation."""

    transforms: Sequence[Transform]
    preprocess: Preprocess
    size: int

    @property
    def draws(self) -> int:
        return sum(transform.draws for transform in self.transforms)

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        """Return ``N C size size`` of prepared photos ``N resize resize C`` and ``N draws``."""
        taken = 0
        for transform in self.transforms:
            images = transform(images, u[:, taken : taken + transform.draws])
            taken += transform.draws
        return self.preprocess.normalize(self.preprocess.center(images, self.size))


def mix(
    images: Tensor, targets: Tensor, u: Tensor, mixup: float, cutmix: float
) -> tuple[Tensor, Tensor]:
    """Blend each photo with its mirror position in the batch, and the targets alike.

    `images` ``N C H W``, `targets` ``N classes`` (probabilities), `u` three uniform numbers.
    `mixup` and `cutmix` are the chances of the one or the other for this batch; the share is
    uniform in [0, 1), which is Beta(1, 1). Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019,
    arXiv:1905.04899.
    """
    choice, share = float(u[0]), float(u[1])
    if choice < mixup:
        images = torch.lerp(images.flip(0), images, share)
    elif choice < mixup + cutmix:
        images, share = _cut(images, share, float(u[2]))
    else:
        return images, targets
    return images, targets * share + targets.flip(0) * (1 - share)


def _cut(images: Tensor, share: float, place: float) -> tuple[Tensor, float]:
    height, width = images.shape[2:]
    tall, wide = round(height * math.sqrt(1 - share)), round(width * math.sqrt(1 - share))
    positions = (height - tall + 1) * (width - wide + 1)
    top, left = divmod(int(place * positions), width - wide + 1)
    mixed = images.clone()
    box = (..., slice(top, top + tall), slice(left, left + wide))
    mixed[box] = images.flip(0)[box]
    return mixed, 1 - tall * wide / (height * width)
