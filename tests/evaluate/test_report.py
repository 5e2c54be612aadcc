from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from resnets.errors import UserError
from resnets.evaluate import (
    Evaluation,
    ReportPhoto,
    confusion,
    curves,
    diagrams,
    evaluate,
    words,
    write_report,
)
from resnets.evaluate.calibration import at_temperature, calibration
from resnets.evaluate.comparison import Compared, compare
from resnets.evaluate.coverage import coverage
from resnets.evaluate.report import SHOWN_PAIRS, Examples, Trust
from resnets.evaluate.slices import slices

VOID = {"meta", "link", "img", "br", "wbr", "hr", "input"}
SVG_EMPTY = {"circle", "line", "path"}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=http://x.example/a.png onerror=alert(1)>',
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "' onmouseover='alert(1)",
    "]]></style></title><h1>",
)
HISTORY = [
    {"epoch": e, "train_loss": 2 / e, "val_loss": 2.1 / e, "val_top1": 1 - 0.5 / e, "lr": 0.1 / e}
    | {"seconds": 8.6, "images_per_second": 800.0}
    for e in range(1, 13)
]
FACTS = {"Model": {"architecture": "resnet18"}, "Machine": {"device": "cpu", "threads": "2"}}


class Page(HTMLParser):
    """Checks that tags nest, and gathers what a test wants to ask about."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"an attribute twice in {tag}: {attrs}"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SVG_EMPTY, f"<{tag}/> is not closed in HTML"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def measured(n: int = 412, k: int = 10, wrong: int = 9, names: Sequence[str] = ()) -> Evaluation:
    labels = np.arange(n) % k
    said = np.where(np.arange(n) < wrong, (labels + 1) % k, labels)
    sharp = np.full((n, k), 0.1 / k, np.float32)
    sharp[np.arange(n), said] += 0.9
    return evaluate(sharp, labels, names or [f"class {i}" for i in range(k)])


def picture(kind: str = "PNG", side: int = 8) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(out, kind)
    return out.getvalue()


def mistake(truth: str = "cat", prediction: str = "dog", probability: float = 0.9) -> ReportPhoto:
    return ReportPhoto(f"test/{truth}/1.jpg", truth, prediction, probability, picture())


def report(folder: Path, evaluation: Evaluation, **more: Any) -> Page:
    out = folder / "report.html"
    arguments: dict[str, Any] = {"title": "t", "split": "test", "evaluation": evaluation} | more
    write_report(out, **arguments)
    assert [file.name for file in folder.iterdir()] == ["report.html"]
    return Page(out.read_text(encoding="utf-8"))


def assert_self_contained(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"script", "iframe", "object", "embed", "base", "form"}
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} {name}"
            if name in {"src", "href", "srcset", "data", "action", "xlink:href", "poster"}:
                assert value.startswith(("data:", "#")), f"{tag} {name}={value[:80]}"


def test_full_report(tmp_path: Path) -> None:
    page = report(
        tmp_path, measured(), title="resnet18 on digits", history=HISTORY, facts=FACTS,
        mistakes=[mistake()], notes=["The small stem was chosen."],
    )  # fmt: skip
    assert_self_contained(page)
    text = page.text()
    assert (
        "Of 100 photos like these, about 98 are right "
        "(in the long run, 95 % sure: between 96 and 99)" in text
    )
    for expected in (
        "resnet18 on digits", "97.8 %", "95.9\N{EN DASH}98.8 %", "412 photos", "never saw",
        "class 0 taken for class 1", "resnet18", "threads", "The small stem was chosen.",
        "12 epochs in 1 min 43 s, 800 images a second", "lowest 0.1667 in epoch 12",
        "said dog truth cat sure 90.0 %",
    ):  # fmt: skip
        assert expected in text
    order = [text.rindex(heading) for heading in (
        "Most confused pairs", "Confusion matrix", "Most confident mistakes", "Class by class",
        "How it was trained", "What was trained on what", "Notes The",
    )]  # fmt: skip
    assert order == sorted(order)


def rich(evaluation: Evaluation, n: int, k: int, pictures: bytes) -> dict[str, Any]:
    """Return all that a report can show of `n` synthetic answers over `k` classes."""
    generator = np.random.default_rng(0)
    labels = np.arange(n) % k
    said = np.where(generator.random(n) < 0.8, labels, generator.integers(0, k, n))
    other = np.where(generator.random(n) < 0.8, labels, generator.integers(0, k, n))
    sure = np.where(said == labels, generator.beta(8, 1, n), generator.beta(3, 2, n))
    few = min(k, 20)  # columns, as nothing that is shown of them grows with their number
    rows = np.repeat((1 - sure[:, None]) / few, few, axis=1).astype(np.float32)
    rows[np.arange(n), said % few] += sure
    found = calibration(rows, labels % few)
    differing = [
        {"path": f"{i}/" * 9, "truth": evaluation.classes[labels[i]], "label": "a", "other": "b"}
        for i in np.flatnonzero(said != other).tolist()
    ]
    pairs = confusion.most_confused(evaluation.confusion, SHOWN_PAIRS)
    sites = [f"site {i % 30}" for i in range(n)]
    return {
        "trust": Trust(found, calibration(at_temperature(rows, 2.0), labels % few), 0.5,
                       coverage(rows.max(1), said == labels)),
        "slices": slices((said == labels) & (labels % 3 > 0), {
            "site": sites, "brightness": generator.random(n), "row": labels % 3 + 0.5,
        }),
        "compared": Compared("runs/other/best.safetensors",
                             compare(said, other, labels, evaluation.classes), tuple(differing)),
        "examples": {(p.truth, p.prediction): Examples((pictures,) * 2, (pictures,) * 2)
                     for p in pairs},
    }  # fmt: skip


def test_a_rich_report_in_a_browser(tmp_path: Path, browser: Callable[[Path], None]) -> None:
    evaluation = measured(n=600, wrong=120, names=[f"class of a long name {i}" for i in range(10)])
    more = rich(evaluation, 600, 10, picture("JPEG", 64))
    page = report(
        tmp_path, evaluation, history=HISTORY, facts=FACTS, mistakes=[mistake()] * 3, **more
    )
    assert_self_contained(page)
    text = page.text()
    for expected in (
        "Can its confidence be believed?", "without its temperature of 0.5", "What declining buys",
        "Where it is better and worse", "Holm", "worse", "McNemar", "only the other", "the real",
        "photos to which they answer differently", "Calibration error", "10 other values",
    ):  # fmt: skip
        assert expected in text
    assert len(page.all("img")) == 3 + 4 * SHOWN_PAIRS
    assert all(image["alt"] for image in page.all("img"))
    assert len(page.all("caption")) == len(page.all("table"))
    browser(tmp_path / "report.html")


def test_no_figure_of_a_table_is_cut_on_a_phone(
    tmp_path: Path,
    _chromium: Any,  # noqa: PT019
) -> None:
    evaluation = measured(90_000, 3, 30_000, ["golden_retriever_of_the_north", "b", "c"])
    report(tmp_path, evaluation, trust=rich(evaluation, 600, 3, b"")["trust"])
    context = _chromium.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    wide = "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.ariaLabel)"
    assert page.locator(".scroll:has(.classes), #trust .scroll").count() == 2
    assert page.eval_on_selector_all(".scroll:has(.classes), #trust .scroll", wide) == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_table_that_goes_on_to_the_right_shows_it_on_a_phone(
    tmp_path: Path,
    _chromium: Any,  # noqa: PT019
    scheme: Any,
) -> None:
    report(tmp_path, measured(400, 20, 90))
    context = _chromium.new_context(
        viewport={"width": 390, "height": 844}, color_scheme=scheme, is_mobile=True
    )
    page = context.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    matrix, classes = page.locator(".matrix .scroll"), page.locator("#classes .scroll")
    faded = "box => getComputedStyle(box).maskImage !== 'none'"
    assert matrix.evaluate("box => box.scrollWidth > box.clientWidth")
    page.wait_for_function(f"({faded})(document.querySelector('.matrix .scroll'))", timeout=5000)
    assert not classes.evaluate(faded)  # all of it is in sight
    matrix.evaluate("box => box.scrollLeft = box.scrollWidth")
    page.wait_for_function(f"!({faded})(document.querySelector('.matrix .scroll'))", timeout=5000)
    matrix.evaluate("box => box.scrollLeft = 0")
    page.emulate_media(media="print")
    assert not matrix.evaluate(faded)
    context.close()


def test_a_thousand_classes_and_50000_photos(
    tmp_path: Path, browser: Callable[[Path], None]
) -> None:
    names = [f"n{i:08d}, a class with a rather long name" for i in range(1000)]
    evaluation = measured(n=50_000, k=1000, wrong=30_000, names=names)
    thumbnail = picture("JPEG", 112)
    photos = [ReportPhoto("x" * 200, names[i], names[i + 1], 0.9, thumbnail) for i in range(24)]
    more = rich(evaluation, 50_000, 1000, thumbnail)
    page = report(tmp_path, evaluation, mistakes=photos, history=HISTORY, facts=FACTS, **more)
    assert (tmp_path / "report.html").stat().st_size < 5_000_000
    assert_self_contained(page)
    assert len(page.all("tr")) < 1000 + 10 + 400  # a row a class, and no list of 50,000
    browser(tmp_path / "report.html")


def test_a_reliability_diagram_stays_inside_its_frame() -> None:
    for rows in (np.eye(3), np.full((3, 3), 1 / 3), np.array([[1.0, 0, 0]] * 3)):
        found = calibration(rows, np.arange(3))
        drawn = diagrams.reliability(found, found)
        assert sum(part.n for part in found.bins) == 3
        for bar in drawn.bars:
            assert curves.LEFT <= bar.x <= bar.at <= bar.x + bar.width + 0.2
            assert curves.TOP <= bar.high <= bar.y <= bar.low <= curves.HEIGHT - curves.BOTTOM
        lines = diagrams.tradeoff(coverage(rows.max(1), rows.argmax(1) == np.arange(3)))
        points = [tuple(map(float, p.split())) for p in lines.path[1:].split("L")]
        assert all(curves.LEFT <= x <= curves.WIDTH - curves.RIGHT for x, _ in points)
        assert all(curves.TOP <= y <= curves.HEIGHT - curves.BOTTOM for _, y in points)


def test_can_be_read_by_everyone(tmp_path: Path) -> None:
    page = report(tmp_path, measured(), history=HISTORY, facts=FACTS, mistakes=[mistake()])
    assert page.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in page.all("img"))
    assert all(cell["scope"] in {"row", "col"} for cell in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) == 2
    assert all("aria-label" in svg or "aria-hidden" in svg for svg in page.all("svg"))
    levels = [int(tag[1]) for tag, _ in page.tags if tag in {"h1", "h2", "h3"}]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {link["href"].removeprefix("#") for link in page.all("a")} == targets


def test_without_anything_optional(tmp_path: Path) -> None:
    page = report(tmp_path, measured())
    assert_self_contained(page)
    assert "How it was trained" not in page.text()
    assert "Most confident mistakes" not in page.text()
    assert not page.all("img")


@pytest.mark.parametrize("k", [2, 81])
def test_without_a_mistake(tmp_path: Path, k: int) -> None:
    text = report(tmp_path, measured(k=k, wrong=0)).text()
    assert "every one of the 412 photos was recognised" in text
    assert "Most confused pairs" not in text


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    name = HOSTILE[0]
    page = report(
        tmp_path, measured(k=5, names=HOSTILE), title=name, split=name, notes=HOSTILE,
        history=HISTORY, facts={name: {text: text for text in HOSTILE}},
        mistakes=[ReportPhoto(f"a/{text}/b", text, text, 0.5, picture()) for text in HOSTILE],
    )  # fmt: skip
    assert_self_contained(page)
    text = page.text()
    assert all(" ".join(hostile.split()) in text for hostile in HOSTILE)
    assert len(page.all("h1")) == len(page.all("style")) == 1
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert "default-src 'none'" in policy
    assert "script" not in policy


@given(st.text(max_size=30))
def test_any_class_name_gives_a_sound_page(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    evaluation = measured(n=4, k=2, wrong=1, names=[name, "other"])
    assert_self_contained(report(folder, evaluation, mistakes=[mistake(name, "other")]))


def test_file_names_that_are_not_unicode(tmp_path: Path) -> None:
    photo = ReportPhoto("caf\udce9.jpg", "cat", "dog", 0.5, picture())
    assert "caf?.jpg" in report(tmp_path, measured(), mistakes=[photo]).text()


def test_a_thousand_classes_stay_small(tmp_path: Path) -> None:
    names = [f"n{i:08d}, a class with a rather long name" for i in range(1000)]
    photos = [
        ReportPhoto("x" * 200, names[i], names[i + 1], i / 60, picture(side=224)) for i in range(60)
    ]
    page = report(
        tmp_path, measured(n=5000, k=1000, wrong=3000, names=names), mistakes=photos,
        history=[row | {"epoch": e} for e, row in enumerate(HISTORY * 100)],
    )  # fmt: skip
    assert (tmp_path / "report.html").stat().st_size < 5_000_000
    assert_self_contained(page)
    assert len(page.all("details")) == 2
    assert sum("overview" in figure.get("class", "") for figure in page.all("figure")) == 1
    assert len(page.all("td")) < 1000 * 6 + 500  # the matrix is an excerpt
    assert "59 of" not in page.text()
    assert "of 60" in page.text()


def test_most_confident_mistakes_first_and_huge_ones_left_out(tmp_path: Path) -> None:
    huge = ReportPhoto("huge.png", "cat", "dog", 0.99, picture(side=1200))
    photos = [mistake(probability=p) for p in (0.3, 0.8, 0.5)]
    text = report(tmp_path, measured(), mistakes=[huge, *photos]).text()
    assert "huge.png" not in text
    assert "3 of 4" in text
    assert text.index("80.0 %") < text.index("50.0 %") < text.index("30.0 %")


def test_a_thumbnail_that_is_no_picture_leaves_the_old_report(tmp_path: Path) -> None:
    report(tmp_path, measured(), title="old")
    with pytest.raises(ValueError, match="PNG or JPEG"):
        report(tmp_path, measured(), mistakes=[ReportPhoto("a", "b", "c", 0.5, b"GIF89a")])
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert "old" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "image/jpeg" in str(
        report(
            tmp_path, measured(), mistakes=[ReportPhoto("a", "b", "c", 0.5, picture("JPEG"))]
        ).all("img")
    )


def test_a_failed_write_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(tmp_path, measured(), title="old")

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match="No space"):
        report(tmp_path, measured(), title="new")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert "old" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("n", "wrong", "expected"),
    [
        (412, 9, (100, 98, 96, 99)),
        (412, 1, (1_000, 998, 986, 1_000)),  # of 100 it would say that all are right
        (90, 0, (100, 100, 96, 100)),
        (90, 90, (100, 0, 0, 4)),
        (20_000, 4_780, (1_000, 761, 755, 767)),  # of 100 the interval would be 76 to 77
    ],
)
def test_accuracy_in_photos(n: int, wrong: int, expected: tuple[int, int, int, int]) -> None:
    assert words.expectation(measured(n=n, wrong=wrong)) == words.Expectation(*expected)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.6, "1 min 0 s"),
        (103, "1 min 43 s"),
        (7260, "2 h 1 min"),
        (90061, "1 d 1 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_most_confused_pairs_by_count_then_share_then_order() -> None:
    counts = [[5, 2, 1], [2, 1, 0], [1, 0, 0]]
    assert [(p.truth, p.prediction, p.count) for p in confusion.most_confused(counts)] == [
        (1, 0, 2), (0, 1, 2), (2, 0, 1), (0, 2, 1),
    ]  # fmt: skip
    assert confusion.most_confused(counts)[0].share == pytest.approx(2 / 3)


def test_excerpt_of_a_large_matrix_loses_no_photo() -> None:
    evaluation = measured(n=600, k=60, wrong=300)
    pairs = confusion.most_confused(evaluation.confusion)
    table = confusion.table(evaluation.confusion, evaluation.classes, pairs)
    assert table.partial
    assert len(table.names) == confusion.EXCERPT
    for name, row, others in zip(table.names, table.rows, table.others, strict=True):
        truth = evaluation.per_class[evaluation.classes.index(name)]
        assert sum(cell.count for cell in row) + others == truth.n


@pytest.mark.parametrize(("k", "side"), [(30, 30), (256, 256), (257, 129), (1000, 250)])
def test_picture_of_the_matrix(k: int, side: int) -> None:
    counts = np.diag(np.full(k, 3))
    counts[0, k - 1] = 1
    image = np.asarray(Image.open(io.BytesIO(confusion.picture(counts.tolist()))))
    assert image.shape == (side, side, 4)
    assert tuple(image[0, -1, :3]) == confusion.WRONG
    assert tuple(image[0, 0, :3]) == confusion.RIGHT
    assert (image[..., 3] > 0).sum() == side + 1


def test_missing_columns_are_missing_curves() -> None:
    assert curves.charts([]) == []
    assert curves.charts([{"epoch": 1, "seconds": 3.0}]) == []
    gap: list[Mapping[str, float]] = [
        {"epoch": 1, "lr": 0.1},
        {"epoch": 2, "val_loss": float("nan")},
    ]
    assert [chart.title for chart in curves.charts(gap)] == ["Learning rate"]


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50), st.integers(1, 900))
def test_curves_stay_inside_their_frame(values: list[float], repeat: int) -> None:
    history = [{"epoch": e, "val_loss": v} for e, v in enumerate(values * repeat)]
    (chart,) = curves.charts(history)
    (line,) = chart.lines
    points = [tuple(map(float, point.split())) for point in line.path[1:].split("L")]
    assert len(points) <= curves.POINTS + 1
    for x, y in [*points, (line.peak.x, line.peak.y)]:
        assert curves.LEFT <= x <= curves.WIDTH - curves.RIGHT
        assert curves.TOP <= y <= curves.HEIGHT - curves.BOTTOM


@given(st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_ticks_are_few_round_and_enclose(low: float, extent: float) -> None:
    ticks = curves.nice_ticks(low, low + extent)
    step = ticks[1] - ticks[0]
    assert 2 <= len(ticks) <= 9
    assert ticks[0] <= low + step * 1e-6
    assert ticks[-1] >= low + extent - step * 1e-6
