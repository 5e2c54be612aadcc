"""Several processes: shares of a batch, and real runs of the command line with gloo."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from resnets.data.plan import share
from resnets.data.transforms import mix
from resnets.training import checkpoint
from resnets.training.progress import mark_samples

TRAIN = [
    *("train", "sign-digits", "--model", "resnet20", "--size", "16", "--batch-size", "64"),
    *("--device", "cpu", "--speed", "exact", "--workers", "1", "--set", "mixup=0.5"),
]
GENTLE = [*TRAIN, "--batch-size", 32, "--epochs", 1, "--set", "lr=0.0001"]
"""A rate at which rounding stays what it is, and does not grow from step to step: at 0.001 the loss
of one process differs by 1e-4 with another number of threads already."""


@given(n=st.integers(2, 200), world=st.integers(1, 8))
def test_shares_are_the_batch(n: int, world: int) -> None:
    batch = np.random.default_rng(n).permutation(n)
    shares = [share(batch, rank, world) for rank in range(world)]
    assert sorted(np.concatenate(shares)) == list(range(n))
    if n >= 2 * world:
        assert max(map(len, shares)) - min(map(len, shares)) <= 3
        assert min(map(len, shares)) >= 2
    marks = np.array([mark_samples(part) for part in shares], np.int64)
    assert int(marks.sum()) == mark_samples(batch)


@given(n=st.integers(8, 40), world=st.integers(1, 4))
def test_a_share_is_mixed_as_the_whole_batch_is(n: int, world: int) -> None:
    images = torch.rand(n, 3, 4, 4)
    targets = torch.eye(n)
    u = torch.tensor([0.1, 0.3, 0.5])
    whole, mixed_targets = mix(images, targets, u, 1.0, 0.0)
    for rank in range(world):
        part = torch.from_numpy(share(np.arange(n), rank, world))
        found, found_targets = mix(images[part], targets[part], u, 1.0, 0.0)
        assert torch.equal(found, whole[part])
        assert torch.equal(found_targets, mixed_targets[part])


# -- runs -----------------------------------------------------------------------------------------


def resnets(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "resnets", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open() as file:
        return list(csv.DictReader(file))


def progress(run: Path) -> dict[str, object]:
    newest = checkpoint.generations(run / "checkpoints")[-1]
    values: dict[str, object] = json.loads((newest / checkpoint.STATE).read_text())["progress"]
    return values


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "run"
    done = resnets(*GENTLE, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_two_processes_train_as_one_does(alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = resnets(*GENTLE, "--nproc", 2, "--set", "sync_bn=true", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "2 processes, which share each batch of 32 (about 16 photos each)" in done.stderr
    assert progress(out)["samples"] == progress(alone)["samples"]
    for ours, theirs in zip(rows(out), rows(alone), strict=True):
        for name in ("train_loss", "val_loss"):
            assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=3e-5)
    assert (out / "predictions.parquet").stat().st_size > 0
    assert "Warning" not in done.stderr
    assert not [path.name for path in out.iterdir() if path.name.startswith(".cache")]


@pytest.mark.slow
def test_norms_of_a_share_are_another_network(alone: Path, tmp_path: Path) -> None:
    """Without which the test before would not show that statistics are exchanged."""
    out = tmp_path / "run"
    assert resnets(*GENTLE, "--nproc", 2, "--out", out).returncode == 0
    ours, theirs = float(rows(out)[0]["train_loss"]), float(rows(alone)[0]["train_loss"])
    assert ours != pytest.approx(theirs, rel=1e-4)


def started(out: Path, *more: object) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Start a run in two processes; return the launcher and them once there is a checkpoint."""
    command = [*TRAIN, "--epochs", 3, "--nproc", 2, "--checkpoint-every", "5steps", "--out", out]
    launcher = subprocess.Popen(
        [sys.executable, "-m", "resnets", *map(str, (*command, *more))],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while len(checkpoint.generations(out / "checkpoints")) < 2:
        assert time.monotonic() < deadline
        assert launcher.poll() is None, launcher.communicate()
        time.sleep(0.1)
    return launcher, psutil.Process(launcher.pid).children()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_dead_process_is_noticed_and_the_run_goes_on(rank: int, tmp_path: Path) -> None:
    out = tmp_path / "run"
    launcher, children = started(out)
    children[rank].kill()
    began = time.monotonic()
    _, error = launcher.communicate(timeout=60)
    assert time.monotonic() - began < 20  # by the connection; the launcher would wait for longer
    assert launcher.returncode == 137
    assert f"process {rank} was ended by SIGKILL" in error
    assert "another process of the run has ended" in error
    assert not any(child.is_running() for child in children)
    refused = resnets("resume", out, "--epochs", 3)
    assert "--epochs 3: the run is to have 3; give more" in refused.stderr
    done = resnets("resume", out)
    assert done.returncode == 0, done.stderr
    assert len(rows(out)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_all_and_another_number_of_processes_goes_on(
    number: signal.Signals, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    launcher, _ = started(out)
    launcher.send_signal(number)
    output, error = launcher.communicate(timeout=60)
    assert launcher.returncode == 130, error
    assert output.count(f"stopped; continue with: resnets resume {out}") == 1
    done = resnets("resume", out, "--nproc", 1)
    assert done.returncode == 0, done.stderr
    assert "processes when it began: 2, here: 1" in done.stderr


@pytest.mark.slow
def test_a_killed_run_of_two_comes_to_the_same_bits(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = ("--epochs", 2, "--nproc", 2, "--checkpoint-every", "5steps")
    assert resnets(*TRAIN, *options, "--out", whole).returncode == 0
    launcher = subprocess.Popen(
        [sys.executable, "-m", "resnets", *map(str, (*TRAIN, *options, "--out", parts))],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while len(checkpoint.generations(parts / "checkpoints")) < 2:
        assert launcher.poll() is None
        time.sleep(0.05)
    os.killpg(launcher.pid, signal.SIGKILL)
    launcher.wait()
    done = resnets("resume", parts)
    assert done.returncode == 0, done.stderr
    assert progress(parts)["samples"] == progress(whole)["samples"]
    for name in ("best", "last"):
        ours, theirs = (load_file(run / f"{name}.safetensors") for run in (parts, whole))
        assert all(torch.equal(ours[key], value) for key, value in theirs.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [["--speed", "precision=bf16"], ["--speed", "compile=true"]], ids=["bf16", "compile"]
)
def test_two_processes_in_other_ways(options: list[str], tmp_path: Path) -> None:
    runs = tmp_path / "two", tmp_path / "one"
    for run, processes in zip(runs, (2, 1), strict=True):
        more = ("--nproc", processes, "--set", "sync_bn=true", "--set", "accumulate=3")
        done = resnets(*GENTLE, *more, *options, "--batch-size", 31, "--out", run)
        assert done.returncode == 0, done.stderr
    assert progress(runs[0])["samples"] == progress(runs[1])["samples"]
    two, one = (float(rows(run)[0]["train_loss"]) for run in runs)
    # Parts of a share are not the parts of the whole batch, so their norms differ a little.
    assert two == pytest.approx(one, rel=3e-3)


@pytest.mark.slow
def test_torchrun_starts_a_run_again(tmp_path: Path) -> None:
    out = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += ["--nproc-per-node", "2", "--max-restarts", "1", "-m", "resnets"]
    more = ["--epochs", "3", "--checkpoint-every", "5steps", "--out"]
    process = subprocess.Popen(
        [*torchrun, *TRAIN, *more, str(out)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while len(checkpoint.generations(out / "checkpoints")) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    [child for child in children if "train" in child.cmdline()][-1].kill()
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert "resumed  at epoch" in error
    assert len(rows(out)) == 3
    # A run of another job is not gone on with, restart or not.
    before = (out / "history.csv").read_bytes()
    again = subprocess.run([*torchrun, *TRAIN, *more, str(out)], capture_output=True, text=True)
    assert again.returncode != 0
    assert "exists: choose another --out" in again.stderr
    assert (out / "history.csv").read_bytes() == before


def test_a_run_that_is_in_use_is_refused(alone: Path) -> None:
    from resnets.training.run_folder import RunFolder

    with RunFolder(alone).lock():
        done = resnets("resume", alone)
    assert done.returncode == 2
    assert "is in use: another process trains in it" in done.stderr


@pytest.mark.slow
def test_a_run_is_extended(alone: Path, tmp_path: Path) -> None:
    import shutil

    out = tmp_path / "run"
    shutil.copytree(alone, out)
    done = resnets("resume", out, "--epochs", 3)
    assert done.returncode == 0, done.stderr
    assert "epochs   1 to 3: the cosine schedule is drawn anew over all of them" in done.stderr
    assert [row["epoch"] for row in rows(out)] == ["1", "2", "3"]
    assert rows(out)[:1] == rows(alone)
