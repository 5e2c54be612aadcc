"""The harness of `benchmarks/kill.py`, on a short series: it is green, and it can turn red."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[1] / "benchmarks" / "kill.py"


def series(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, HARNESS, *options], capture_output=True, text=True)


@pytest.mark.slow
def test_ten_killed_runs_come_to_the_same_bits() -> None:
    done = series("--runs", "10", "--no-compiled")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 of 10 runs came to the same bits" in done.stdout


@pytest.mark.slow
def test_state_that_is_dropped_is_noticed() -> None:
    done = series("--negative", "--pieces", "optimizer", "ema-counter", "order")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 dropped pieces were noticed" in done.stdout
