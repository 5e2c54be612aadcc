"""The files that torchvision publishes: for fetching them, and for knowing one by its name."""

from __future__ import annotations

from functools import cache
from typing import Any

ROWS = ("resnet", "resnext", "wide_resnet")
TAGS = {"IMAGENET1K_V1": "v1", "IMAGENET1K_V2": "v2"}


@cache
def published() -> dict[str, Any]:
    """Return torchvision's weights by name, ``resnet50.v2``."""
    from torchvision.models import get_model_weights, list_models

    return {
        f"{row}.{TAGS[weights.name]}": weights
        for row in list_models()
        if row.startswith(ROWS)
        for weights in get_model_weights(row)
        if weights.name in TAGS
    }


def file_name(weights: Any) -> str:
    """Return the name of the file that holds them, which ends in digits of its SHA-256."""
    return str(weights.url).rpartition("/")[2]
