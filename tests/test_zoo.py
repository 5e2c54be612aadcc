"""The zoo: every row against its built network and against what was published."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torchvision

from resnets import zoo
from resnets.errors import UserError
from resnets.spec import ResNetSpec
from resnets.zoo import ZOO, Row, get_spec, list_models

Measure = Callable[[ResNetSpec, tuple[int, int]], Any]
ROWS = [pytest.param(row, id=name) for name, row in ZOO.items()]


def figures(row: Row, kind: str) -> list[zoo.Figure]:
    return [figure for figure in row.published if figure.kind == kind]


@pytest.mark.parametrize("row", ROWS)
def test_arithmetic_equals_the_built_network(row: Row, measure: Measure) -> None:
    spec = row.spec
    built = measure(spec, (spec.image_size, spec.image_size))
    assert spec.params() == built.params
    assert spec.weights() == built.weights
    assert spec.macs() == built.macs
    assert spec.feature_shapes() == built.shapes
    assert spec.depth == built.depth


@pytest.mark.parametrize("row", ROWS)
def test_counts_agree_with_what_was_published(row: Row) -> None:
    counts = {"params": row.spec.params(), "weights": row.spec.weights(), "macs": row.spec.macs()}
    for figure in row.published:
        assert figure.source
        assert figure.step > 0
        if figure.kind == "error":
            assert 0 < figure.value < 100
        elif figure.kind == "params" and figure.step == 1:
            assert counts["params"] == figure.value  # printed to the last digit
        else:
            assert abs(counts[figure.kind] - figure.value) <= figure.step, figure


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_named_after_its_depth_and_kind(row: Row) -> None:
    spec = row.spec
    match = re.fullmatch(r"(resnet|plain)(\d+)(|_v1|_v2|_a|_c)", spec.name)
    assert match
    kind, depth, suffix = match.groups()
    assert spec.depth == int(depth)
    assert (kind == "plain") == (spec.shortcut == "none")
    assert (suffix == "_v2") == (spec.order == "pre")
    assert row.about


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_figures_are_those_that_torchvision_ships(depth: int) -> None:
    weights = torchvision.models.get_model_weights(f"resnet{depth}")["IMAGENET1K_V1"]
    row = ZOO[f"resnet{depth}"]
    (params,), (macs,), (error,) = (figures(row, kind) for kind in ("params", "macs", "error"))
    assert params.value == row.spec.params() == weights.meta["num_params"]
    assert round(row.spec.macs() / 1e9, 3) == pytest.approx(weights.meta["_ops"], abs=1e-3)
    assert abs(macs.value / 1e9 - weights.meta["_ops"]) <= 0.01
    top1 = weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert error.value == pytest.approx(100 - top1, abs=error.step / 2)


# Table 6 of v1 gives 0.27 M and so on; the exact numbers follow from its description of the nets.
@pytest.mark.parametrize(
    ("depth", "params"),
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)],
)
def test_cifar_parameters(depth: int, params: int) -> None:
    assert ZOO[f"resnet{depth}"].spec.params() == params
    assert ZOO[f"plain{depth}"].spec.params() == params  # "parameter-free shortcuts"


def test_no_row_hides_another() -> None:
    rows = list(zoo._rows())
    assert len(rows) == len(ZOO)
    assert all(name == row.spec.name for name, row in ZOO.items())
    specs = [row.spec.replace(name="") for row in rows]
    assert len(set(specs)) == len(specs)


def test_every_row_that_was_promised_is_there() -> None:
    imagenet, cifar = (18, 34, 50, 101, 152), (20, 32, 44, 56, 110, 1202)
    promised = {f"{kind}{depth}" for kind in ("resnet", "plain") for depth in (*imagenet, *cifar)}
    promised |= {f"resnet{depth}_v1" for depth in (50, 101, 152)}
    promised |= {f"resnet{depth}_v2" for depth in (*imagenet, 200, 110, 164, 1001)}
    assert promised <= set(ZOO)


def test_list_models_takes_a_pattern_and_keeps_the_order_of_the_rows() -> None:
    assert list_models() == list(ZOO)
    assert list_models("resnet18*") == ["resnet18", "resnet18_v2"]
    assert list_models("plain?0") == ["plain50", "plain20"]
    assert list_models("RESNET18") == list_models("vgg*") == []


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
