"""Minding the processes of a run: who is waited for, and who is not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resnets.errors import UserError
from resnets.training import launch, processes
from resnets.training.launch import mind
from resnets.training.machine import Machine

SLEEP = "import time; time.sleep(60)"


def python(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code])


@pytest.mark.parametrize("dead", [0, 1])
def test_a_process_that_is_killed_ends_the_others(
    dead: int, capfd: pytest.CaptureFixture[str]
) -> None:
    children = [python(SLEEP), python(SLEEP)]
    children[dead].kill()
    began = time.monotonic()
    assert mind(children, grace=0.5) == 128 + signal.SIGKILL
    assert time.monotonic() - began < 10
    assert f"process {dead} was ended by SIGKILL" in capfd.readouterr().err


def test_the_first_failure_counts() -> None:
    children = [python("import time; time.sleep(1); raise SystemExit(3)"), python("exit(2)")]
    assert mind(children) == 2
    assert mind([python("pass"), python("pass")]) == 0


def test_those_that_were_asked_to_stop_may_take_their_time() -> None:
    slow = python("import time; time.sleep(1.5); raise SystemExit(130)")
    assert mind([python("raise SystemExit(130)"), slow], grace=0.1) == 130
    assert slow.returncode == 130


def test_a_second_ctrl_c_kills(tmp_path: Path) -> None:
    """As nobody handles it, the children of this launcher end only by being killed."""
    deaf = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        f"open({str(tmp_path)!r} + '/' + sys.argv[1], 'w').close()\n"
        "time.sleep(60)\n"
    )
    code = (
        "import subprocess, sys\n"
        "from resnets.training import launch\n"
        f"run = lambda i: subprocess.Popen([sys.executable, '-c', {deaf!r}, str(i)])\n"
        "children = []\n"
        "with launch._passing_on(children):\n"
        "    children += [run(0), run(1)]\n"
        "    sys.exit(launch.mind(children))\n"
    )
    launcher = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    while len(list(tmp_path.iterdir())) < 2:
        time.sleep(0.05)
    launcher.send_signal(signal.SIGINT)
    time.sleep(launch.ONE_PRESS + 0.3)
    assert launcher.poll() is None
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(timeout=10) == 137


def test_what_the_environment_says() -> None:
    assert not processes.launched({"WORLD_SIZE": "1", "RANK": "0"})
    torchrun = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert processes.launched(torchrun)
    found = (processes.rank(torchrun), processes.local_rank(torchrun))
    assert (*found, processes.local_count(torchrun)) == (3, 1, 2)
    assert (processes.rank({}), processes.local_rank({}), processes.local_count({})) == (0, 0, 1)
    assert processes.restarts({"TORCHELASTIC_RESTART_COUNT": "1"}) == 1
    assert processes.torchrun_id({"TORCHELASTIC_RUN_ID": "a"}) == "a"
    assert processes.torchrun_id({"TORCHELASTIC_RUN_ID": "none"}) == ""  # torchrun's default


def test_more_processes_than_cores_are_refused() -> None:
    with pytest.raises(UserError, match=f"there are {processes.count_cores()} cores"):
        launch.launch(["train", "x"], processes.count_cores() + 1)


def test_a_device_with_a_number_is_not_for_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UserError, match="--device cuda:1"):
        Machine("cuda:1", "fp32").of_rank(1)
    assert Machine("cuda", "fp32").of_rank(1).device == "cuda:1"
