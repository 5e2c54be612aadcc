"""Rows for small photos: CIFAR's, those of benchmarks, faces, and two bad examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from resnets.spec import Head, ResNetSpec, Stem
from resnets.zoo.imagenet import WIDTHS, imagenet
from resnets.zoo.rows import Row

CIFAR_STEM = Stem(width=16, kernel=3, stride=1, pool="none")
CIFAR_WIDTHS = (16, 32, 64)
FACES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
FACES |= {200: (6, 26, 60, 6)}


def cifar(
    name: str, depth: int, block: str = "basic", times: int = 1, **changes: Any
) -> ResNetSpec:
    """Return a spec of three stages for 32 px, `times` as wide as the paper's (v1, 4.2)."""
    per_block = {"basic": 2, "bottleneck": 3}[block]
    blocks = (depth - 2) // (3 * per_block)
    spec = ResNetSpec(
        name,
        (blocks,) * 3,
        tuple(times * width for width in CIFAR_WIDTHS),
        block,
        shortcut="A",
        stem=CIFAR_STEM,
        num_classes=10,
        image_size=32,
    )
    return spec.replace(**changes)


def rows() -> Iterator[Row]:
    for depth in (20, 32, 44, 56, 110, 1202):
        yield Row(cifar(f"resnet{depth}", depth), "CIFAR ResNet, shortcut option A")
        yield Row(cifar(f"plain{depth}", depth, shortcut="none"), "CIFAR plain net: no shortcuts")
    for depth in (110, 164, 1001):
        deep: dict[str, Any] = {}
        if depth > 110:
            deep = {"block": "bottleneck", "shortcut": "B", "stride_in": "1x1"}
        yield Row(
            cifar(f"resnet{depth}_v2", depth, order="pre", **deep), "CIFAR pre-activation ResNet"
        )
    for depth, times in ((16, 8), (28, 10), (40, 4)):
        # The depth counts a convolution on the shortcut: four layers more than three stages hold.
        yield Row(
            cifar(
                f"wrn_{depth}_{times}",
                depth - 2,
                times=times,
                order="pre",
                shortcut="B",
                stem=Stem(16, 3, 1, "none", norm=False, act=False),
            ),
            f"CIFAR Wide ResNet, {times} times as wide",
        )
    for groups in (8, 16):
        yield Row(
            ResNetSpec(
                f"resnext29_{groups}x64d",
                (3, 3, 3),
                (64, 128, 256),
                "bottleneck",
                groups=groups,
                stem=Stem(64, 3, 1, "none"),
                num_classes=10,
                image_size=32,
            ),
            f"CIFAR ResNeXt, {groups} groups of 64",
        )
    for depth in (18, 34, 50, 101, 152):
        small = imagenet(f"resnet{depth}", depth).with_small_stem()
        yield Row(
            small.replace(num_classes=10, image_size=32),
            "ResNet with a stem for small photos: 3×3, stride 1, no pooling",
        )
    yield Row(
        imagenet("preact_resnet18", 18, order="pre").replace(
            stem=Stem(64, 3, 1, "none", norm=False, act=False), num_classes=10, image_size=32
        ),
        "Pre-activation ResNet for small photos, with v2's last norm, which kuangliu's has not",
    )
    yield from _benchmarks()
    yield from _faces()
    yield from _bad_examples()


def _benchmarks() -> Iterator[Row]:
    yield Row(
        ResNetSpec(
            "resnet9",
            depths=(1, 0, 1),
            widths=(128, 256, 512),
            order="inner",
            strides=(1, 1, 1),
            stem=Stem(64, 3, 1, "none"),
            entries=tuple(Stem(width, 3, 1, "max2") for width in (128, 256, 512)),
            head=Head("max", bias=False, scale=0.125),
            num_classes=10,
            image_size=32,
        ),
        "DAWNBench's CIFAR ResNet-9: pools between stages, activates within the branch",
    )
    yield Row(
        ResNetSpec(
            "resnet8_fast",
            depths=(1, 1, 1),
            widths=(64, 256, 256),
            shortcut="D",
            strides=(2, 2, 2),
            antialias="max",
            bias="unnormed",
            stem=Stem(24, 2, 1, "none", norm=False),
            head=Head("max", bias=False, scale=1 / 9),
            num_classes=10,
            image_size=32,
        ),
        "Made for the recipe fast: few multiply-adds, a stem that may be whitened",
    )
    yield Row(
        ResNetSpec(
            "resnet8",
            depths=(1, 1, 1),
            widths=CIFAR_WIDTHS,
            bare_projection=True,
            norm_eps=1e-3,
            bias="all",
            padding="tf",
            stem=CIFAR_STEM,
            num_classes=10,
            image_size=32,
        ),
        "MLPerf Tiny's CIFAR ResNet-8: Keras' padding and biases",
    )


def _faces() -> Iterator[Row]:
    for depth, depths in FACES.items():
        yield Row(
            ResNetSpec(
                f"iresnet{depth}",
                depths,
                WIDTHS,
                order="arcface",
                strides=(2, 2, 2, 2),
                stride_in="last",
                activation="prelu",
                stem=Stem(64, 3, 1, "none"),
                head=Head("all", norm=True),
                num_classes=512,
                image_size=112,
            ),
            "ArcFace's ResNet: puts out a face's embedding of 512 numbers",
        )


def _bad_examples() -> Iterator[Row]:
    yield Row(
        ResNetSpec(
            "tutorial_keras",
            depths=(1, 1, 1, 1, 1),
            widths=(64, 128, 256, 512, 1024),
            order="open",
            bare_projection=True,
            strides=(2, 2, 2, 2, 2),
            norm_eps=1e-3,
            bias="all",
            padding="tf",
            stem=Stem(64, 7, 2, "none", norm=False, act=False),
        ),
        "A tutorial's Keras network as it is printed: not a ResNet of the papers",
        (
            "The stem has no norm and no activation, so that its 7×7 convolution and the next 3×3 "
            "are one linear map.",
            "No activation follows the addition, so that the shortcuts of all five stages are one "
            "linear path.",
            "Every block has stride 2 and a projection: no shortcut is the identity that lets a "
            "deep network do no worse than a shallow one (v1, section 3.1).",
            "The projections have biases and no norm; the biases before a norm do nothing.",
            "One block a stage, six halvings: at 224 px the last map is 4×4, and a sixth stage "
            "would leave no room for depth.",
        ),
    )
    yield Row(
        ResNetSpec(
            "tutorial_pytorch",
            depths=(1,),
            widths=(64,),
            shortcut="B",
            strides=(1,),
            stem=None,
            num_classes=0,
            image_size=32,
        ),
        "A tutorial's PyTorch network as it is printed: one basic block",
        (
            "One block of 3→64 channels is not a network: it has no stem, one stage, no pooling "
            "and no classifier.",
            "Its only shortcut is a projection, so that no identity is ever learnt around.",
            "It never subsamples: the last map is as large as the photo, and a value sees 5×5 "
            "pixels of it.",
        ),
    )
