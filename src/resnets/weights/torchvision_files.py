"""The files that torchvision publishes: for fetching them, and for knowing one by its name."""

from __future__ import annotations

from functools import cache
from typing import Any

ROWS = ("resnet", "resnext", "wide_resnet")
TAGS = {"IMAGENET1K_V1": "v1", "IMAGENET1K_V2": "v2"}
SHA256 = {
    # torchvision publishes the first eight digits, in the names of the files. These are in full,
    # as several projects that pin the files have them; of the other files the eight must do.
    digest[:8]: digest
    for digest in (
        "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",  # resnet18.v1
        "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",  # resnet34.v1
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",  # resnet50.v1
        "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",  # resnet50.v2
        "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a",  # resnet101.v1
        "cd907fc2a0de2292b2ba2b27d2216bc672d84632d1cf20058d01c0c03b5e020e",  # resnet101.v2
        "394f9c45966e3651a89bbb78a48410a6755854ce4a5ab64927cf1c7247f85e58",  # resnet152.v1
        "95faca4d11227dddf8633dbb5ff6c8a9003c1aa5b8945c73834b8007b10950b8",  # wide_resnet50_2.v1
        "9ba9bcbebc349d733a72eb7608143fd754e4689ac8d8ce2916ca0bdff6443950",  # wide_resnet50_2.v2
        "32ee11565f95f2f07223b243ada444a6457c4b90a88e6e293922813faf6dfd06",  # wide_resnet101_2.v1
    )
}


@cache
def torchvision_weights() -> dict[str, Any]:
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
    """Return the name of the file that holds them."""
    return str(weights.url).rpartition("/")[2]


def sha256(weights: Any) -> str:
    """Return the SHA-256 of that file, or its first eight digits where no more is known."""
    digits = file_name(weights).rpartition("-")[2].partition(".")[0]
    return SHA256.get(digits, digits)
