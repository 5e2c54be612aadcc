"""What the benchmarks share: statistics, ratios, what is watched, and the result's schema."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from photos import make_photos
from PIL import Image
from side_by_side import (
    Aim,
    Comparison,
    Ratio,
    in_turn,
    memory,
    moments,
    parser,
    publish,
    spread,
    watch,
)

RATES = st.lists(st.floats(0.01, 900), min_size=1, max_size=9)


def comparison(better: str, aim: float | None = None) -> Comparison:
    rounds = {"ours": [{"x": 4.0}, {"x": 6.0}, {"x": 8.0}], "theirs": [{"x": 2.0}] * 3}
    ratio = Ratio("ours", "theirs", None if aim is None else Aim("≥", aim))
    absent = Ratio("ours", "nobody")
    return Comparison("steps", "x", rounds, "x", better=better, ratios=[ratio, absent])


@given(values=RATES)
def test_the_median_lies_within_the_spread(values: list[float]) -> None:
    found = spread(values)
    assert found["low"] <= found["median"] <= found["high"]
    assert found["median"] == pytest.approx(statistics.median(values), rel=1e-3)


@given(values=RATES)
def test_moments_are_the_mean_and_the_deviation_of_a_sample(values: list[float]) -> None:
    found = moments(values)
    assert found["mean"] == pytest.approx(statistics.mean(values), rel=1e-3)
    if len(values) == 1:
        assert found["sd"] is None
    else:
        assert found["sd"] == pytest.approx(statistics.stdev(values), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(("better", "median", "ends"), [("more", 3, (2, 4)), ("less", 1 / 3, None)])
def test_a_ratio_says_how_many_times_as_good(better: str, median: float, ends: object) -> None:
    (ratio,) = comparison(better).to_dict()["ratios"]
    assert ratio["median"] == pytest.approx(median, rel=1e-3)
    assert ends is None or (ratio["low"], ratio["high"]) == ends


def test_an_unknown_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="faster"):
        comparison("faster")


@pytest.mark.parametrize(("aim", "met"), [(2.9, True), (3.1, False)])
def test_an_aim_that_is_missed_is_said(aim: float, met: bool) -> None:
    compared = comparison("more", aim)
    assert compared.to_dict()["ratios"][0]["met"] is met
    assert any(line.endswith("met" if met else "MISSED") for line in compared.lines())


def test_contenders_measure_in_turn() -> None:
    order: list[str] = []

    def contender(name: str) -> dict[str, float]:
        order.append(name)
        return {"x": len(order)}

    found = in_turn({"a": lambda: contender("a"), "b": lambda: contender("b")}, 3)
    assert order == ["a", "b"] * 3
    assert found["b"] == [{"x": 2}, {"x": 4}, {"x": 6}]


def test_a_command_is_watched_with_its_children() -> None:
    hold = "held = bytearray(80 * 2**20); print('held', flush=True); import time; time.sleep(1)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    done = watch([sys.executable, "-c", parent])
    assert done.peak_mib > 80
    assert done.seconds > 1
    assert [line for _, line in done.lines] == ["held"]


def test_a_command_that_fails_is_said_with_its_last_words() -> None:
    with pytest.raises(RuntimeError, match="no such peer"):
        watch([sys.executable, "-c", "import sys; sys.exit('no such peer')"])


def test_a_process_that_has_gone_holds_nothing() -> None:
    process = psutil.Popen([sys.executable, "-c", "pass"])
    process.wait()
    assert memory(process) == 0


def test_the_result_has_what_a_reader_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks/steps.py", "--photos", "/home/somebody/photos"])
    options = parser("Steps.", rounds=5).parse_args(["--out", str(tmp_path / "new")])
    publish(options, "steps", [comparison("more", 2.3)], ["a deviation"], more={"rate": 1})
    text = (tmp_path / "new" / "result.json").read_text(encoding="utf-8")
    found = json.loads(text)
    assert {"date", "command", "machine", "cores", "memory_gib", "system"} <= found.keys()
    assert {"resnets", "python", "torch", "timm", "keras"} <= found["versions"].keys()
    assert found["notes"] == ["a deviation"]
    assert found["more"] == {"rate": 1}
    assert found["comparisons"][0]["contenders"]["ours"] == {
        "median": 6,
        "low": 4,
        "high": 8,
        "values": [4, 6, 8],
    }
    assert found["comparisons"][0]["ratios"][0]["aim"] == "≥ 2.3"
    assert "somebody" not in text  # where things lie on this machine is nobody's business
    assert "note: a deviation" in capsys.readouterr().out


def test_what_is_quick_is_written_only_where_told(tmp_path: Path) -> None:
    made = parser("Steps.", rounds=5)
    results = Path(__file__).parents[2] / "benchmarks" / "results" / "no-such"
    publish(made.parse_args(["--quick"]), "no-such", [], [])
    assert not results.exists()
    publish(made.parse_args(["--quick", "--out", str(tmp_path)]), "no-such", [], [])
    assert (tmp_path / "result.json").exists()


def test_made_photos_are_of_natural_size_and_the_same_each_time(tmp_path: Path) -> None:
    first, second = (make_photos(tmp_path / name, 20) for name in ("a", "b"))
    files = sorted(path.relative_to(first) for path in first.rglob("*.jpg"))
    assert len(files) == 20
    assert sum(file.parts[0] == "val" for file in files) == 4
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes()
        with Image.open(first / file) as photo:
            assert 0.19e6 < photo.width * photo.height < 0.51e6
