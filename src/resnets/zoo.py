"""The zoo: every architecture as a row, with what its authors and torchvision published.

`ZOO["resnet50"]` is a `Row`: the spec and its published figures, each with its source. A figure's
`step` is one unit of its last printed digit, and our own count must agree with it to that step.
Names follow the field: ``resnet50`` has its stride in the 3×3 (what torchvision and timm ship),
``resnet50_v1`` in the first 1×1 (the paper's network), ``resnet50_v2`` is pre-activation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from resnets.errors import UserError, did_you_mean
from resnets.spec import ResNetSpec, Stem

V1 = "He et al. 2015, arXiv:1512.03385"
V2 = "He et al. 2016, arXiv:1603.05027"
WRN = "Zagoruyko & Komodakis 2016, arXiv:1605.07146, Table 5"
TORCHVISION = "torchvision.models, IMAGENET1K_V1 weights"


@dataclass(frozen=True)
class Figure:
    """A published number.

    `kind` is ``params``, ``weights`` (parameters without those of the norms), ``macs`` or
    ``error`` (top-1, in percent).
    """

    kind: str
    value: float
    step: float
    source: str


@dataclass(frozen=True)
class Row:
    spec: ResNetSpec
    about: str
    published: tuple[Figure, ...] = ()


IMAGENET_WIDTHS = (64, 128, 256, 512)
IMAGENET_DEPTHS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),  # V2, section 4: 16 more blocks on the 28² maps of 152
}

# torchvision's parameters and GMACs; the paper's multiply-adds (Table 1) and 10-crop top-1 errors
# (Tables 2 and 3).
TORCHVISION_COUNTS: dict[int, tuple[float, float]] = {
    18: (11_689_512, 1.81e9),
    34: (21_797_672, 3.66e9),
    50: (25_557_032, 4.09e9),
    101: (44_549_160, 7.80e9),
    152: (60_192_808, 11.51e9),
}
TORCHVISION_ERRORS = {18: 30.242, 34: 26.686, 50: 23.870, 101: 22.626, 152: 21.688}
PAPER_MACS = {18: 1.8e9, 34: 3.6e9, 50: 3.8e9, 101: 7.6e9, 152: 11.3e9}
PAPER_ERRORS = {50: 22.85, 101: 21.75, 152: 21.43}
PLAIN_ERRORS = {18: 27.94, 34: 28.54}

CIFAR_STEM = Stem(width=16, kernel=3, stride=1, pool=False)
CIFAR_WIDTHS = (16, 32, 64)
# V1, Table 6: parameters, their last digit, and the test error on CIFAR-10.
CIFAR_COUNTS = {
    20: (0.27e6, 0.01e6, 8.75),
    32: (0.46e6, 0.01e6, 7.51),
    44: (0.66e6, 0.01e6, 7.17),
    56: (0.85e6, 0.01e6, 6.97),
    110: (1.7e6, 0.1e6, 6.43),
    1202: (19.4e6, 0.1e6, 7.93),
}
# V2, Tables 3 and 4: test error on CIFAR-10; parameters from WRN, where 10.2 M for the 1001 layers
# agrees with the convolutions and the classifier (10.18 M) and not with all parameters (10.33 M).
CIFAR_V2_COUNTS = {110: (1.7e6, 6.37), 164: (1.7e6, 5.46), 1001: (10.2e6, 4.92)}


def _imagenet(depth: int, suffix: str = "", prefix: str = "resnet", **changes: str) -> ResNetSpec:
    block, depths = IMAGENET_DEPTHS[depth]
    spec = ResNetSpec(f"{prefix}{depth}{suffix}", depths, IMAGENET_WIDTHS, block)
    return spec.replace(**changes)


def _cifar(depth: int, block: str = "basic", suffix: str = "", **changes: str) -> ResNetSpec:
    per_block = {"basic": 2, "bottleneck": 3}[block]
    blocks = (depth - 2) // (3 * per_block)
    spec = ResNetSpec(
        name=f"resnet{depth}{suffix}",
        depths=(blocks,) * 3,
        widths=CIFAR_WIDTHS,
        block=block,
        shortcut="A",
        stem=CIFAR_STEM,
        num_classes=10,
        image_size=32,
    )
    return spec.replace(**changes)


def _rows() -> Iterable[Row]:
    for depth, (params, macs) in TORCHVISION_COUNTS.items():
        yield Row(
            _imagenet(depth),
            "ImageNet ResNet, stride in the 3×3" if depth >= 50 else "ImageNet ResNet",
            (
                Figure("params", params, 1, TORCHVISION),
                Figure("macs", macs, 0.01e9, TORCHVISION),
                Figure("error", TORCHVISION_ERRORS[depth], 0.001, f"{TORCHVISION}, 224 px crop"),
            ),
        )
    for depth, error in PAPER_ERRORS.items():
        yield Row(
            _imagenet(depth, "_v1", stride_in="1x1"),
            "ImageNet ResNet as in the paper, stride in the first 1×1",
            (
                Figure("params", TORCHVISION_COUNTS[depth][0], 1, TORCHVISION),
                Figure("macs", PAPER_MACS[depth], 0.1e9, f"{V1}, Table 1"),
                Figure("error", error, 0.01, f"{V1}, Table 3, 10-crop"),
            ),
        )
    for option, error in {"A": 25.03, "C": 24.19}.items():
        yield Row(
            _imagenet(34, f"_{option.lower()}", shortcut=option),
            f"ImageNet ResNet, shortcut option {option}",
            (Figure("error", error, 0.01, f"{V1}, Table 3, 10-crop"),),
        )
    for depth in IMAGENET_DEPTHS:
        yield Row(
            _imagenet(depth, "_v2", order="pre"),
            "ImageNet pre-activation ResNet",
            (Figure("error", {152: 21.1, 200: 20.7}[depth], 0.1, f"{V2}, Table 5, 320 px crop"),)
            if depth in (152, 200)
            else (),
        )
    for depth, macs in PAPER_MACS.items():
        figures = [Figure("macs", macs, 0.1e9, f"{V1}, Table 1")] if depth < 50 else []
        if depth in PLAIN_ERRORS:
            figures.append(Figure("error", PLAIN_ERRORS[depth], 0.01, f"{V1}, Table 2, 10-crop"))
        yield Row(
            _imagenet(depth, prefix="plain", shortcut="none"),
            "ImageNet plain net: no shortcuts",
            tuple(figures),
        )
    for depth, (params, step, error) in CIFAR_COUNTS.items():
        yield Row(
            _cifar(depth),
            "CIFAR ResNet, shortcut option A",
            (
                Figure("params", params, step, f"{V1}, Table 6"),
                Figure("error", error, 0.01, f"{V1}, Table 6, CIFAR-10"),
            ),
        )
        yield Row(
            _cifar(depth, shortcut="none").replace(name=f"plain{depth}"),
            "CIFAR plain net: no shortcuts",
        )
    for depth, (params, error) in CIFAR_V2_COUNTS.items():
        deep = {"block": "bottleneck", "shortcut": "B", "stride_in": "1x1"} if depth > 110 else {}
        yield Row(
            _cifar(depth, suffix="_v2", order="pre", **deep),
            "CIFAR pre-activation ResNet",
            (
                Figure("weights", params, 0.1e6, WRN),
                Figure("error", error, 0.01, f"{V2}, Tables 3 and 4, CIFAR-10"),
            ),
        )


ZOO: dict[str, Row] = {row.spec.name: row for row in _rows()}


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the zoo that match a shell `pattern`, in the order of its rows."""
    return [name for name in ZOO if fnmatchcase(name, pattern)]


def get_spec(name: str) -> ResNetSpec:
    """Return the spec of a row. Raises UserError with the near names for one that is not there."""
    if name not in ZOO:
        hint = did_you_mean(name, ZOO) or "; `resnets models` lists them"
        raise UserError(f"unknown model {name!r}{hint}")
    return ZOO[name].spec
