"""The zoo: every row against its built network and against what was published."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torchvision

from resnets import zoo
from resnets.errors import UserError
from resnets.layers import Norm
from resnets.spec import ResNetSpec
from resnets.zoo import ZOO, Row, get_spec, imagenet, list_models, rows, small

Measure = Callable[[ResNetSpec, tuple[int, int]], Any]
ROWS = [pytest.param(row, id=name) for name, row in ZOO.items()]
FIGURES = [
    pytest.param(row.spec, figure, id=f"{name} {figure.kind}")
    for name, row in ZOO.items()
    for figure in row.published
]


@pytest.mark.parametrize("row", ROWS)
def test_arithmetic_equals_the_built_network(row: Row, measure: Measure) -> None:
    spec = row.spec
    side = min(spec.image_size, 224)
    built = measure(spec, (side, side))
    assert spec.params() == built.params
    assert spec.weights() == built.weights
    assert spec.macs(side) == built.macs
    assert spec.activations(side) == built.activations
    assert spec.feature_shapes(side) == built.shapes
    assert spec.depth == built.depth
    assert list(spec.plan.tensors().items()) == built.tensors


# -- published figures ----------------------------------------------------------------------------


def running_statistics(spec: ResNetSpec) -> int:
    """Count the means and variances, which Keras counts among the parameters."""
    named = spec.plan.tensors().items()
    return sum(math.prod(shape) for name, shape in named if "running" in name)


def macs_with_norms(spec: ResNetSpec, side: int) -> int:
    """Count as fvcore does, whose figures timm publishes: a norm's work on every value, too."""
    work = {"batch": 2, "group": 5}
    norms = 0
    for layer, (height, width) in spec.plan.sized((side, side)):
        if isinstance(layer, Norm):
            norms += work[layer.kind] * layer.channels * height * width
    return spec.macs(side) + norms


COUNTS: dict[str, Callable[[ResNetSpec, int], int]] = {
    "params": lambda spec, side: spec.params(),
    "weights": lambda spec, side: spec.weights(),
    "total": lambda spec, side: spec.params() + running_statistics(spec),
    "macs": lambda spec, side: spec.macs(side),
    "macs+norms": macs_with_norms,
}
MEASUREMENTS = ("top1", "error")  # in percent


@pytest.mark.parametrize(("spec", "figure"), FIGURES)
def test_what_was_published(spec: ResNetSpec, figure: zoo.Figure) -> None:
    assert figure.source
    if figure.kind in MEASUREMENTS:
        assert 0 < figure.value < 100
        assert 0 < figure.step <= 0.1
        return
    own = COUNTS[figure.kind](spec, figure.size or spec.image_size)
    if figure.step == 1:  # printed to the last digit
        assert own == figure.value
        return
    off = abs(own - figure.value)
    assert off <= figure.step
    assert off <= 0.005 * figure.value + figure.step / 2  # half a step is lost in printing


def test_every_figure_belongs_to_a_row_and_comes_once() -> None:
    figures = rows._figures()
    assert {figure.name for figure in figures} <= set(ZOO)
    assert {figure.kind for figure in figures} == {*COUNTS, *MEASUREMENTS}
    assert len(set(figures)) == len(figures) == len(FIGURES)
    assert all(figure.size >= 0 for figure in figures)


def test_notes_begin_with_the_weights_they_are_of() -> None:
    noted = [f for row in zoo.ZOO.values() for f in row.published if f.kind == "top1" and f.note]
    timms = [figure for figure in noted if figure.source.startswith("timm")]
    assert timms
    assert all(re.fullmatch(r"\w+\.\w+(: .+)?", figure.note) for figure in timms)


def test_who_published_what() -> None:
    def peer(figure: zoo.Figure) -> str:
        return figure.source.split(",")[0].split(" ")[0]

    figures = rows._figures()
    counts = [figure for figure in figures if figure.kind in COUNTS]
    # Every row that these ship has a count of theirs to agree with.
    assert {f.name for f in counts if peer(f) == "torchvision"} >= set(TORCHVISION)
    assert {f.name for f in counts if peer(f) == "keras.io/api/applications"} == {
        name for name in ZOO if name.startswith("keras_")
    }
    assert sum(bool(row.published) for row in ZOO.values()) >= 100


TORCHVISION = [name for name in torchvision.models.list_models() if name in ZOO]


@pytest.mark.parametrize("name", TORCHVISION)
def test_figures_are_those_that_torchvision_ships(name: str) -> None:
    spec = get_spec(name)
    for weights in torchvision.models.get_model_weights(name):
        assert weights.meta["num_params"] == spec.params()
        assert weights.meta["_ops"] == pytest.approx(spec.macs(224) / 1e9, abs=1e-3)
        shipped = weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
        for figure in ZOO[name].published:
            if figure.source.startswith("torchvision") and figure.note == weights.name:
                assert figure.value == shipped
                assert figure.size == weights.transforms().crop_size[0]
    kinds = Counter(f.kind for f in ZOO[name].published if f.source.startswith("torchvision"))
    assert set(kinds) == {"params", "macs", "top1"}
    assert kinds["top1"] >= 1


# Table 6 of v1 gives 0.27 M and so on; the exact numbers follow from its description of the nets.
@pytest.mark.parametrize(
    ("depth", "params"),
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)],
)
def test_cifar_parameters(depth: int, params: int) -> None:
    assert ZOO[f"resnet{depth}"].spec.params() == params
    assert ZOO[f"plain{depth}"].spec.params() == params  # "parameter-free shortcuts"


# -- rows -----------------------------------------------------------------------------------------

# Names say what the papers and timm counted: the stem of the paper, and in a WRN a shortcut, too.
COUNTED = {"resnetrs270": 2, "resnetrs420": -1, "iresnet200": -2}
COUNTED |= {name: -2 for name in ZOO if name.startswith("wrn_")}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_named_after_its_depth_and_kind(row: Row) -> None:
    name, spec = row.spec.name, row.spec
    assert name == name.lower()
    depth = re.match(r"(?:resnetv2_|\D+)(\d+)", name)
    if name.startswith("tutorial"):
        assert not depth
    else:
        assert depth
        stem = spec.stem
        assert stem
        more = len(stem.hidden) + (stem.pool == "conv")
        assert spec.depth - more == int(depth[1]) + COUNTED.get(name, 0)
    assert name.startswith("plain") == (spec.shortcut == "none")
    v2 = name.endswith("v2") or name.startswith(("resnetv2", "wrn", "preact"))
    assert v2 == (spec.order == "pre")
    assert (spec.stride_in == "1x1") == (
        name.endswith("_v1")
        or name in ("resnet164_v2", "resnet1001_v2")
        or (name.startswith("keras") and not v2)
    )
    assert ("se" in name) == (spec.attention == "se" and "rs" not in name)
    assert name.startswith("eca") == (spec.attention == "eca")
    assert ("_small" in name or spec.image_size <= 64) == (spec.image_size == 32)
    assert bool(row.flaws) == name.startswith("tutorial")
    assert row.about
    assert "\n" not in row.about


def test_no_row_hides_another() -> None:
    every = [*imagenet.rows(), *small.rows()]
    assert len(every) == len(ZOO) == 125
    assert all(name == row.spec.name for name, row in ZOO.items())
    specs = [row.spec.replace(name="") for row in every]
    assert len(set(specs)) == len(specs)


def promised() -> set[str]:
    """Return the names of the family, as the project promises them."""
    lettered = {10: "t", 14: "t", 18: " d", 26: " dt", 34: " d", 200: " d"}
    lettered |= {50: " cdst", 101: " cds", 152: " cds"}
    names = {
        f"resnet{depth}{letter}".strip() for depth, some in lettered.items() for letter in some
    }
    names |= {"resnext50_32x4d", "resnext101_32x4d", "resnext101_32x8d", "resnext101_64x4d"}
    names |= {"resnext29_8x64d", "resnext29_16x64d", "wide_resnet50_2", "wide_resnet101_2"}
    names |= {"wrn_16_8", "wrn_28_10", "wrn_40_4"}
    names |= {f"seresnet{depth}" for depth in (18, 34, 50, 101, 152)}
    names |= {"ecaresnet50d", "ecaresnet101d", "resnetaa50", "resnetblur50", "resnet50_gn"}
    names |= {f"resnetrs{depth}" for depth in (50, 101, 152, 200, 270, 350, 420)}
    names |= {f"resnetv2_{depth}" for depth in (50, 101, 152)}
    bit = ("50x1", "101x1", "50x3", "101x3", "152x2", "152x4")
    names |= {f"resnetv2_{kind}_bit" for kind in bit}
    cifar = (20, 32, 44, 56, 110, 1202)
    names |= {f"{kind}{depth}" for kind in ("resnet", "plain") for depth in cifar}
    names |= {f"plain{depth}" for depth in (18, 34, 50, 101, 152)}
    names |= {f"resnet{depth}_v1" for depth in (50, 101, 152)}
    names |= {f"resnet{depth}_v2" for depth in (18, 34, 50, 101, 152, 200, 110, 164, 1001)}
    names |= {f"resnet{depth}_small" for depth in (18, 34, 50, 101, 152)}
    names |= {f"iresnet{depth}" for depth in (18, 34, 50, 100, 200)}
    keras = (f"keras_resnet{depth}{v2}" for depth in (50, 101, 152) for v2 in ("", "v2"))
    names |= {"preact_resnet18", "resnet9", "resnet8", *keras}
    return names | {"tutorial_keras", "tutorial_pytorch"}


def test_every_row_that_was_promised_is_there() -> None:
    assert promised() <= set(ZOO)


def test_the_bad_examples_are_what_was_printed() -> None:
    keras, pytorch = ZOO["tutorial_keras"].spec, ZOO["tutorial_pytorch"].spec
    assert keras.stem
    assert (keras.stem.kernel, keras.stem.stride) == (7, 2)
    assert (keras.stem.norm, keras.stem.act, keras.bias) == (False, False, "all")
    assert keras.widths == (64, 128, 256, 512, 1024)
    assert keras.feature_shapes()["layer5"] == (1024, 4, 4)
    assert all(len(stage.blocks) == 1 for stage in keras.stages())
    # A 1×1 projection with a bias and no norm, and nothing after the addition.
    assert all(len(stage.blocks[0].shortcut or {}) == 1 for stage in keras.stages())
    assert not any(stage.blocks[0].after for stage in keras.stages())
    assert pytorch.feature_shapes() == {"stem": (3, 32, 32), "layer1": (64, 32, 32)}
    assert pytorch.params() == 64 * (27 + 576 + 3) + 6 * 64  # two 3×3, a 1×1 and three norms
    assert pytorch.plan.reaches()["layer1"] == (5, 1)


# -- looking rows up ------------------------------------------------------------------------------


def test_list_models_takes_a_pattern_and_keeps_the_order_of_the_rows() -> None:
    assert list_models() == list(ZOO)
    assert list_models("resnet18*") == ["resnet18", "resnet18d", "resnet18_v2", "resnet18_small"]
    assert list_models("plain?0") == ["plain50", "plain20"]
    assert list_models("RESNET18") == list_models("vgg*") == list_models("vgg") == []


def test_a_bare_word_matches_anywhere() -> None:
    assert list_models("_bit") == list_models("*_bit*") == [n for n in ZOO if "_bit" in n]
    assert "seresnet50" in list_models("resnet50")
    assert list_models("") == list(ZOO)


def test_get_spec() -> None:
    assert get_spec("resnet50") is ZOO["resnet50"].spec


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet51", "resnet50"),
        ("resnet50v2", "resnet50_v2"),
        ("vgg16", "`resnets models` lists them"),
        ("", "`resnets models` lists them"),
    ],
)
def test_an_unknown_name_gets_a_hint(name: str, hint: str) -> None:
    with pytest.raises(UserError, match=re.escape(hint)) as caught:
        get_spec(name)
    assert str(caught.value).startswith(f"unknown model {name!r}")
    assert "\n" not in str(caught.value)
