"""Rows for ImageNet-sized photos, named as torchvision and timm name them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from resnets.spec import ResNetSpec, Stem
from resnets.zoo.rows import Row

WIDTHS = (64, 128, 256, 512)
DEPTHS = {
    10: ("basic", (1, 1, 1, 1)),
    14: ("bottleneck", (1, 1, 1, 1)),
    18: ("basic", (2, 2, 2, 2)),
    26: ("bottleneck", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),  # v2, section 4: 16 more blocks on the 28² maps of 152
    269: ("bottleneck", (3, 30, 48, 8)),
    270: ("bottleneck", (4, 29, 53, 4)),
    350: ("bottleneck", (4, 36, 72, 4)),
    420: ("bottleneck", (4, 44, 87, 4)),
}
# He et al. 2018, arXiv:1812.01187, section 4: C (three 3×3 for the 7×7), D (C, and the mean before
# a projection); s (C, twice as wide) and t (D, narrower towards the photo) are timm's and Gluon's.
DEEP = Stem(64, kernel=3, hidden=(32, 32))
LETTERS: dict[str, dict[str, Any]] = {
    "": {},
    "c": {"stem": DEEP},
    "d": {"stem": DEEP, "shortcut": "D"},
    "s": {"stem": Stem(128, kernel=3, hidden=(64, 64))},
    "t": {"stem": Stem(64, kernel=3, hidden=(24, 32)), "shortcut": "D"},
}
ABOUT_LETTERS = {
    "": "",
    "c": ", deep stem (C)",
    "d": ", deep stem and pooled projections (D)",
    "s": ", wide deep stem (s)",
    "t": ", tiered deep stem and pooled projections (t)",
}
LETTERED = {10: "t", 14: "t", 18: "-d", 26: "-dt", 34: "-d", 50: "-cdst", 101: "-cds"}
LETTERED |= {152: "-cds", 200: "-d"}

RS_SIZES = {50: 160, 101: 192, 152: 256, 200: 256, 270: 256, 350: 288, 420: 320}
BIT = {"50x1": (50, 1), "50x3": (50, 3), "101x1": (101, 1), "101x3": (101, 3)}
BIT |= {"152x2": (152, 2), "152x4": (152, 4)}


def imagenet(name: str, depth: int, letter: str = "", **changes: Any) -> ResNetSpec:
    """Return a spec of the family's depths, in one of its lettered variants, with changes."""
    block, depths = DEPTHS[depth]
    return ResNetSpec(name, depths, WIDTHS, block, **(LETTERS[letter] | changes))


def rows() -> Iterator[Row]:
    for depth, letters in LETTERED.items():
        for letter in letters.replace("-", " "):
            letter = letter.strip()
            about = "ImageNet ResNet" + (
                ", stride in the 3×3" if not letter and depth >= 50 else ""
            )
            yield Row(
                imagenet(f"resnet{depth}{letter}", depth, letter), about + ABOUT_LETTERS[letter]
            )
    yield from _paper()
    yield from _wider()
    yield from _gated()
    yield from _smooth()
    yield from _pre_activation()
    yield from _keras()


def _paper() -> Iterator[Row]:
    for depth in (50, 101, 152):
        yield Row(
            imagenet(f"resnet{depth}_v1", depth, stride_in="1x1"),
            "ImageNet ResNet as in the paper, stride in the first 1×1",
        )
    for option in "AC":
        yield Row(
            imagenet(f"resnet34_{option.lower()}", 34, shortcut=option),
            f"ImageNet ResNet, shortcut option {option}",
        )
    for depth in (18, 34, 50, 101, 152):
        yield Row(
            imagenet(f"plain{depth}", depth, shortcut="none"), "ImageNet plain net: no shortcuts"
        )


def _wider() -> Iterator[Row]:
    for depth, letter, groups, width in (
        (50, "", 32, 4),
        (50, "d", 32, 4),
        (101, "", 32, 4),
        (101, "", 32, 8),
        (101, "", 64, 4),
    ):
        yield Row(
            imagenet(
                f"resnext{depth}{letter}_{groups}x{width}d",
                depth,
                letter,
                groups=groups,
                group_width=width,
            ),
            f"ResNeXt, {groups} groups of {width}" + ABOUT_LETTERS[letter],
        )
    for depth in (50, 101):
        yield Row(
            imagenet(f"wide_resnet{depth}_2", depth, group_width=128),
            "Wide ResNet: 3×3 convolutions of twice the width",
        )


def _gated() -> Iterator[Row]:
    for depth, letter in (
        (18, ""),
        (34, ""),
        (50, ""),
        (50, "t"),
        (101, ""),
        (152, ""),
        (152, "d"),
    ):
        yield Row(
            imagenet(f"seresnet{depth}{letter}", depth, letter, attention="se"),
            "Squeeze-and-excitation ResNet" + ABOUT_LETTERS[letter],
        )
    yield Row(
        imagenet("seresnext50_32x4d", 50, groups=32, group_width=4, attention="se"),
        "Squeeze-and-excitation ResNeXt, 32 groups of 4",
    )
    for depth, letter in ((26, "t"), (50, "d"), (50, "t"), (101, "d"), (269, "d")):
        yield Row(
            imagenet(f"ecaresnet{depth}{letter}", depth, letter, attention="eca"),
            "Efficient channel attention" + ABOUT_LETTERS[letter],
        )
    for depth, size in RS_SIZES.items():
        yield Row(
            imagenet(
                f"resnetrs{depth}",
                depth,
                "d",
                stem=Stem(64, kernel=3, hidden=(32, 32), pool="conv"),
                attention="se",
                se_ratio=0.25,
                image_size=size,
            ),
            "ResNet-RS: D, squeeze-and-excitation, a convolution for the max pool",
        )


def _smooth() -> Iterator[Row]:
    for depth, letter, kind in (
        (50, "", "avg"),
        (50, "d", "avg"),
        (18, "", "blur"),
        (50, "", "blur"),
        (50, "d", "blur"),
    ):
        name = {"avg": "resnetaa", "blur": "resnetblur"}[kind]
        filters = {"avg": "means of 2×2", "blur": "a binomial filter"}[kind]
        yield Row(
            imagenet(f"{name}{depth}{letter}", depth, letter, antialias=kind),
            f"Anti-aliased: subsamples by {filters}" + ABOUT_LETTERS[letter],
        )
    yield Row(imagenet("resnet50_gn", 50, norm="group"), "ImageNet ResNet with GroupNorm")


def _pre_activation() -> Iterator[Row]:
    for depth in (18, 34, 50, 101, 152, 200):
        yield Row(
            imagenet(f"resnet{depth}_v2", depth, order="pre"),
            "ImageNet pre-activation ResNet as in the paper, stem normalised",
        )
    bare = Stem(norm=False, act=False)
    for depth, letter in ((50, ""), (50, "d"), (101, ""), (152, "")):
        stem = Stem(64, 3, hidden=(32, 32), norm=False, act=False) if letter else bare
        yield Row(
            imagenet(f"resnetv2_{depth}{letter}", depth, letter, order="pre", stem=stem),
            "ImageNet pre-activation ResNet, bare stem" + ABOUT_LETTERS[letter],
        )
    for name, (depth, times) in BIT.items():
        yield Row(
            imagenet(
                f"resnetv2_{name}_bit",
                depth,
                order="pre",
                stem=Stem(64 * times, pool="zero-max", norm=False, act=False),
                norm="group",
                standardized=True,
                image_size=448,
            ).replace(widths=tuple(times * width for width in WIDTHS)),
            "Big Transfer: GroupNorm, standardised weights"
            + (f", {times} times as wide" if times > 1 else ""),
        )


def _keras() -> Iterator[Row]:
    eps = 1.001e-5
    for depth in (50, 101, 152):
        yield Row(
            imagenet(f"keras_resnet{depth}", depth, stride_in="1x1", bias="all", norm_eps=eps),
            "keras.applications' ResNet: biases, stride in the first 1×1",
        )
    for depth in (50, 101, 152):
        yield Row(
            imagenet(
                f"keras_resnet{depth}v2",
                depth,
                order="pre",
                shortcut="slim",
                strides=(2, 2, 2, 1),
                stride_at="last",
                bias="unnormed",
                norm_eps=eps,
                stem=Stem(pool="zero-max", norm=False, act=False),
            ),
            "keras.applications' ResNetV2: stride in the last block of a stage",
        )
