"""`Preprocess`: the one way from a file to the numbers that a network reads.

Training's own evaluation, `evaluate`, `predict` and the Python API all go through the same two
steps, described by the same stored values: `prepare` (decode, scale, crop; uint8, cached) and
`normalize` (float). What a model was validated with is therefore what it is used with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnets.data.fit import FITS, INTERPOLATIONS, margin, resize_crop
from resnets.data.images import Source, decode_reduced

STATISTICS = {  # mean and standard deviation of ImageNet's pixels, in units of the full range
    3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    1: ((0.449,), (0.226,)),
}
DECODES: Mapping[str, int] = {"full": 0, "reduced": 2}
"""How many times `resize` a JPEG's short side must have once it is decoded; 0 for all of it."""
ORDERS: Mapping[str, Callable[[Tensor], Tensor]] = {"RGB": lambda x: x, "BGR": lambda x: x.flip(-1)}


@dataclass(frozen=True)
class Preprocess:
    """How photos become inputs; stored in the model file.

    The photo is scaled to `resize` pixels as `fit` says, and the centred `size` × `size` pixels are
    kept; then (pixel / 255 - mean) / std for each channel. `fit` is ``square`` (the centred square
    is scaled), ``short`` (the photo is scaled by its short side and then cropped, as torchvision
    and timm evaluate), ``short-floor`` (the same, but half a pixel of the margin is dropped, as by
    transformers) or ``stretch`` (both sides are scaled, as Keras loads photos).
    `order` is that of the channels, ``RGB`` or ``BGR``; mean and std have the same one.
    `decode` is ``full`` (every pixel of a file is decoded) or ``reduced``: a JPEG file to 1/2, 1/4
    or 1/8 of its sides where that leaves twice `resize`, which is quicker and, by half a level of
    255 on average, not the same pixels. With `mirrored` the network's answer is the mean of those
    to the photo and to its mirror image.

    Raises:
      ValueError: a field is out of range; the message names it.
    """

    size: int
    resize: int
    channels: int = 3
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = STATISTICS[3][0]
    std: tuple[float, ...] = STATISTICS[3][1]
    background: tuple[int, int, int] = (255, 255, 255)
    fit: str = "square"
    order: str = "RGB"
    decode: str = "full"
    mirrored: bool = False

    def __post_init__(self) -> None:
        if {type(self.size), type(self.resize)} != {int}:
            raise ValueError(f"size={self.size!r}, resize={self.resize!r}: both are ints")
        if not 1 <= self.size <= self.resize <= 8192:
            raise ValueError(f"size={self.size}, resize={self.resize}: 1 ≤ size ≤ resize ≤ 8192")
        if self.resize > 2 * self.size + 64:
            raise ValueError(f"size={self.size}, resize={self.resize}: resize ≤ 2 × size + 64")
        if not isinstance(self.mirrored, bool):
            raise ValueError(f"mirrored={self.mirrored!r} is not true or false")
        choices: Mapping[str, Iterable[str]] = {
            "interpolation": INTERPOLATIONS,
            "fit": FITS,
            "order": ORDERS,
            "decode": DECODES,
        }
        for name, known in choices.items():
            if getattr(self, name) not in tuple(known):
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is not one of: {', '.join(known)}"
                )
        if self.channels not in STATISTICS:
            raise ValueError(f"channels={self.channels}: photos are read with 1 or 3")
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean {self.mean} and std {self.std} need {self.channels} numbers")
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise ValueError(f"mean {self.mean} and std {self.std}: finite, and std positive")
        if len(self.background) != 3 or not set(self.background) <= set(range(256)):
            raise ValueError(f"background={self.background} is not three numbers in 0…255")

    @classmethod
    def for_photos(cls, size: int, resize: int, channels: int = 3) -> Self:
        """Return how a new network reads photos of 1 (grey) or 3 channels."""
        if channels not in STATISTICS:
            raise ValueError(f"channels={channels}: photos are read with 1 or 3")
        mean, std = STATISTICS[channels]
        return cls(size, resize, channels, mean=mean, std=std, decode="reduced")

    def to_dict(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read `to_dict`'s values back. Raises ValueError for anything else."""
        try:
            fields: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
            }
            return cls(**fields)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not a preprocessing description: {error}") from None

    def prepare(self, source: Source) -> NDArray[np.uint8]:
        """Decode one photo to ``resize resize C`` (uint8). Raises DecodeError with the reason."""
        return self.prepare_sized(source)[0]

    def prepare_sized(self, source: Source) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """Return the same, and the width and height of the photo itself, as people see it."""
        least = DECODES[self.decode] * self.resize
        image, part = decode_reduced(source, self.channels, self.background, least)
        square = resize_crop(image, self.resize, self.interpolation, self.fit, self.size, part)
        return square, (part.width, part.height)

    def center(self, images: Tensor, size: int | None = None) -> Tensor:
        """Cut the centred ``N size size C``; photos of that size already pass unchanged."""
        size = size or self.size
        start = margin(size, images.shape[1], self.fit)
        return images[:, start : start + size, start : start + size]

    def normalize(self, images: Tensor) -> Tensor:
        """Turn pixels ``N H W C`` (uint8, or float in 0…255) into the network's ``N C H W``.

        The result is laid out channels-last, as the pixels were.
        """
        scale = 1 / (255 * torch.tensor(self.std, dtype=torch.float32, device=images.device))
        shift = torch.tensor(self.mean, dtype=torch.float32, device=images.device) * 255
        # By rows: with three numbers at a time it takes ten times as long.
        rows, width = ORDERS[self.order](images).flatten(2), images.shape[2]
        values = (rows.float() - shift.repeat(width)).mul_(scale.repeat(width))
        return values.view(images.shape).permute(0, 3, 1, 2)

    def views(self, images: Tensor) -> list[Tensor]:
        """Return the versions of normalised photos ``N C H W`` whose answers are averaged."""
        return [images, images.flip(3)] if self.mirrored else [images]
