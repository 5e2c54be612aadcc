"""Names of the classes that published networks tell apart."""

from __future__ import annotations

CIFAR10 = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


def imagenet() -> tuple[str, ...]:
    """Return ImageNet's 1,000 names, in the order that every framework has them."""
    from torchvision.models import ResNet50_Weights

    return tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])


CIFAR_DIALECTS = ("cifar", "wrn", "keras-numbered")
"""Ten outputs of these projects are CIFAR-10's; of others they may be anything."""


def class_names(classes: int, dialect: str) -> tuple[tuple[str, ...], str]:
    """Return the names for a number of classes in a dialect, and where they are from."""
    if classes == 1000:
        return imagenet(), "ImageNet's"
    if classes == 10 and dialect in CIFAR_DIALECTS:
        return CIFAR10, "CIFAR-10's"
    return unnamed(classes), "numbered"


def unnamed(classes: int) -> tuple[str, ...]:
    """Return names for classes that nobody has named."""
    return tuple(f"class {i}" for i in range(classes))
