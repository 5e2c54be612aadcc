"""Shared by all tests: one thread, no time limits, specs of every kind, the rows of the zoo in
small, numbers for networks, measured networks, and a browser."""

from __future__ import annotations

import dataclasses
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import count, product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from resnets.cli import main
from resnets.nn import ResNet
from resnets.spec import CHOICES, HEAD_POOLS, POOLS, Head, ResNetSpec, Stem
from resnets.zoo import ZOO

LARGEST = 200
"""Pixels of the side of photos that drawn specs take at most."""

torch.set_num_threads(1)
settings.register_profile(
    "resnets", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("resnets")


# -- specs of every kind: `@given(spec=st.from_type(ResNetSpec))` ---------------------------------


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command line: its status, output and error output."""

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["resnets", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what is measured in a test out of the user's cache."""
    monkeypatch.setenv("RESNETS_CACHE", str(tmp_path_factory.mktemp("cache")))


@st.composite
def _stems(draw: st.DrawFn, unit: int, most: int, pools: tuple[str, ...] = POOLS) -> Stem:
    """Stems of a width of at most `most`, a multiple of `unit`."""
    channels = st.integers(1, max(1, most // unit)).map(lambda n: n * unit)
    return Stem(
        width=draw(channels),
        kernel=draw(st.sampled_from([1, 2, 3, 4, 5, 7])),
        stride=draw(st.integers(1, 2)),
        pool=draw(st.sampled_from(pools)),
        hidden=tuple(draw(st.lists(channels, max_size=2))),
        norm=draw(st.booleans()),
        act=draw(st.booleans()),
    )


@st.composite
def _specs(draw: st.DrawFn) -> ResNetSpec:
    """Small specs of every kind that can be built, for photos of at least `image_size` pixels."""
    values: dict[str, Any] = {
        name: draw(st.sampled_from(list(choices))) for name, choices in CHOICES.items()
    }
    if values["order"] == "pre" and values["shortcut"] == "none":
        values["order"] = "post"
    if values["antialias"] == "max":
        values["shortcut"] = "D"
    unit = 32 if values["norm"] == "group" else 1
    expansion = 1
    if values["block"] == "bottleneck":
        expansion = 4
        values["groups"] = draw(st.integers(1, 3))
        values["group_width"] = draw(st.sampled_from([64, 128]))
    stages = draw(st.integers(1, 3))

    def each(element: st.SearchStrategy[Any]) -> tuple[Any, ...]:
        return tuple(draw(st.lists(element, min_size=stages, max_size=stages)))

    widths = each(st.integers(1, 64 // unit if unit > 1 else 9).map(lambda n: n * unit))
    most = 9 * unit
    if values["shortcut"] == "A":  # channels may only grow
        widths = tuple(sorted(widths))
        most = min(most, widths[0] * expansion)
    in_channels = st.integers(1, 5)
    stem = draw(st.none() | _stems(unit, most))
    if stem is None:  # the first norm may stand over the photo itself
        in_channels = st.just(unit) if unit > 1 else st.integers(1, most)
    entries: tuple[Stem | None, ...] = ()
    if draw(st.integers(0, 3)) == 0:
        entries = each(st.none() | _stems(unit, most))
    spec = ResNetSpec(
        name="drawn",
        depths=each(st.integers(0 if entries else 1, 3)),
        widths=widths,
        bare_projection=draw(st.booleans()),
        strides=each(st.integers(1, 3)) if draw(st.booleans()) else (),
        norm_eps=draw(st.sampled_from([1e-5, 1e-3])),
        standardized=draw(st.booleans()),
        se_ratio=draw(st.sampled_from([1 / 16, 0.25, 2.0])),
        stem=stem,
        entries=entries,
        head=Head(
            draw(st.sampled_from(HEAD_POOLS)),
            draw(st.booleans()),
            draw(st.sampled_from([1.0, 0.125])),
            draw(st.booleans()),
        ),
        in_channels=draw(in_channels),
        num_classes=draw(st.integers(0, 6)),
        **values,
    )
    smallest = _smallest(spec)
    # A 7×7 convolution in double precision unfolds into 12 GB at 577 px.
    assume(smallest <= LARGEST)
    return spec.replace(image_size=smallest + draw(st.integers(0, 20)))


def _smallest(spec: ResNetSpec) -> int:
    """Return the least side of a photo; torch refuses to normalise a group of one value."""
    least = 2 if spec.norm == "group" else 1
    return next(
        side
        for side in count(spec.smallest)
        if min(map(min, spec.plan.feature_sides((side, side)).values())) >= least
    )


st.register_type_strategy(ResNetSpec, _specs())


# -- every row of the zoo, small: a test that takes `row_spec` runs for each -----------------------

NARROW = (16, 32, 64, 128)


def reduced(spec: ResNetSpec) -> ResNetSpec:
    """Return a spec with the same kinds of layers, at most two blocks a stage, and narrow."""
    widths = (NARROW if spec.norm == "batch" else (32, 32, 64, 64))[: len(spec.widths)]
    widths += (64,) * (len(spec.widths) - len(widths))

    def thin(stem: Stem | None, width: int) -> Stem | None:
        hidden = () if stem is None else tuple(min(h, 8) for h in stem.hidden)
        return stem and dataclasses.replace(stem, width=width, hidden=hidden)

    return spec.replace(
        name="reduced",
        depths=tuple(min(depth, 2) for depth in spec.depths),
        widths=widths,
        stem=thin(spec.stem, widths[0]),
        entries=tuple(thin(entry, w) for entry, w in zip(spec.entries, widths, strict=False)),
        num_classes=min(10, spec.num_classes),
        image_size=64,
    )


REDUCED: dict[ResNetSpec, list[str]] = {}
"""Every row of the zoo, by its reduced spec: those that differ in depth only share one."""
for row in ZOO.values():
    REDUCED.setdefault(reduced(row.spec), []).append(row.spec.name)


@pytest.fixture(scope="session")
def small() -> Callable[[str], ResNetSpec]:
    """Return a function that gives the reduced spec of a row."""
    return lambda name: reduced(ZOO[name].spec)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "row_spec" in metafunc.fixturenames:
        names = [names[0] for names in REDUCED.values()]
        metafunc.parametrize("row_spec", list(REDUCED), ids=names)


# -- numbers for networks: what starts at 0 or 1 hides what is left out ----------------------------


def _draw(net: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if not value.is_floating_point():
            value.zero_()
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.ndim == 1:
            value.normal_(1.0 if name.endswith("weight") else 0.0, 0.2, generator=generator)
        else:
            bound = math.sqrt(3 / value[0].numel())
            value.uniform_(-bound, bound, generator=generator)


@pytest.fixture(scope="session")
def draw() -> Callable[[nn.Module], None]:
    """Return a function that gives every tensor of a network, the norms' too, drawn values."""
    return _draw


# -- what a built network has ---------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """What a built network turns out to have; `shapes` are ``C H W`` by the name of the stage."""

    params: int
    weights: int
    macs: int
    activations: int
    depth: int
    shapes: dict[str, tuple[int, ...]]
    tensors: list[tuple[str, tuple[int, ...]]]


def _checked(channels: int, x: Tensor) -> Tensor:
    assert x.shape[1] == channels
    return x


@cache
def _measure(spec: ResNetSpec, size: tuple[int, int]) -> Measured:
    # On the meta device tensors have shapes but no numbers, so 1,202 layers cost little.
    with torch.device("meta"):
        net = ResNet(spec).eval()
        image = torch.empty(1, spec.in_channels, *size)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # changes no shape, and takes most of the time
            module.forward = partial(_checked, module.num_features)
    kinds = (nn.Conv1d, nn.Conv2d, nn.Linear)
    layers = {name: module for name, module in net.named_modules() if isinstance(module, kinds)}
    convs = {name for name in layers if ".se." not in name and name != "fc"}
    macs = activations = 0

    def counter(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def count(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
            nonlocal macs, activations
            macs += layer.weight.numel() * output[0, 0].numel()
            activations += output.numel() if name in convs else 0

        return count

    for name, layer in layers.items():
        layer.register_forward_hook(counter(name))
    with torch.no_grad():
        features = net.forward_stages(image)
        logits = net.forward_head(list(features.values())[-1])
        if spec.num_classes:
            assert logits.shape == (1, spec.num_classes)
    unweighted = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.PReLU)
    found = [p for m in net.modules() if isinstance(m, unweighted) for p in m.parameters()]
    params = sum(p.numel() for p in net.parameters())
    return Measured(
        params=params,
        weights=params - sum(p.numel() for p in found),
        macs=macs,
        activations=activations,
        depth=1 + sum("downsample" not in name for name in convs),
        shapes={name: tuple(feature.shape[1:]) for name, feature in features.items()},
        tensors=[(name, tuple(value.shape)) for name, value in net.state_dict().items()],
    )


@pytest.fixture(scope="session")
def measure() -> Callable[[ResNetSpec, tuple[int, int]], Measured]:
    """Return a function that builds a spec and counts what was built, at (height, width)."""
    return _measure


# -- pages, as people see them --------------------------------------------------------------------

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
SCREENS = {"phone": (390, 844), "desk": (1440, 900)}
QUIET = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="session")
def _chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("there is no Chromium to open pages with")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-sync", *QUIET]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def browser(_chromium: Any) -> Callable[[Path], None]:
    """Return a function that opens a page on a phone and on a desk, in light and in dark, and
    asserts that it is whole: no error, no request, every picture there, nothing too wide."""

    def look(page: Path) -> None:
        for (name, (width, height)), scheme in product(SCREENS.items(), ("light", "dark")):
            _look(_chromium, page, f"{name}, {scheme}", width, height, scheme)

    return look


def _look(chromium: Any, page: Path, name: str, width: int, height: int, scheme: str) -> None:
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
    )
    tab = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(page.as_uri())
    outside = [url for url in asked[1:] if not url.startswith("data:")]
    broken = tab.eval_on_selector_all(
        "img", "all => all.filter(i => !i.complete || !i.naturalWidth).map(i => i.alt)"
    )
    wide = tab.evaluate("document.documentElement.scrollWidth")
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    context.close()
    assert said == [], f"{name}: the console says {said}"
    assert outside == [], f"{name}: asks for {outside}"
    assert broken == [], f"{name}: pictures do not show: {broken}"
    assert wide <= width, f"{name}: {wide} pixels wide"
    bright = sum(map(int, re.findall(r"\d+", paper)[:3])) > 3 * 128
    assert bright == (scheme == "light"), f"{name}: paper of {paper}"
