from __future__ import annotations

import pytest
import torch

from resnets.errors import UserError
from resnets.training.machine import (
    Machine,
    default_workers,
    full_precision,
    threads_restored,
)


def test_detection_gives_something_that_runs() -> None:
    machine = Machine.detect()
    net = machine.place(torch.nn.Conv2d(3, 4, 1))
    assert net(torch.zeros(1, 3, 2, 2, device=machine.device)).shape == (1, 4, 2, 2)
    assert Machine(**machine.to_dict()) == machine
    assert set(machine.describe()) == {"device", "hardware", "precision", "system"}
    assert 1 <= default_workers() <= 8


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "--device gpu"),
        ("cuda:99", "--device cuda:99"),
        ("meta", "one of cpu, cuda, mps, xpu"),
    ],
)
def test_what_is_not_there_is_one_line(device: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Machine.detect(device)
    assert "\n" not in str(caught.value)


def test_bf16_steps_are_autocast() -> None:
    layer, x = torch.nn.Linear(2, 2), torch.zeros(1, 2)
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        with Machine("cpu", precision).autocast():
            assert layer(x).dtype == dtype


def test_full_precision_tracks_no_gradient() -> None:
    with full_precision():
        assert not torch.nn.Linear(2, 2)(torch.zeros(1, 2)).requires_grad


@pytest.mark.parametrize(
    ("layout", "expected"),
    [("channels-last", torch.channels_last), ("contiguous", torch.contiguous_format)],
)
def test_weights_and_images_are_in_the_layout(layout: str, expected: torch.memory_format) -> None:
    machine = Machine("cpu", layout=layout)
    images = torch.zeros(2, 4, 5, 3).permute(0, 3, 1, 2)  # as prepared photos are
    net = machine.place(torch.nn.Conv2d(3, 4, 3))
    for value in (net.weight, machine.arrange(images)):
        assert value.is_contiguous(memory_format=expected)
    assert Machine("cpu").place(net).weight.is_contiguous(memory_format=torch.channels_last)


def test_a_machine_says_how_it_computes() -> None:
    assert Machine("cpu", threads=1).manner() == "channels-last, fp32, 1 thread"
    fast = Machine("cuda", "bf16", True, 8, "contiguous", graphs=True)
    assert fast.manner() == "contiguous, bf16, compiled with graphs, 8 threads"


def test_the_callers_threads_are_restored() -> None:
    before = torch.get_num_threads()
    with threads_restored():
        Machine("cpu", threads=before + 1).take()
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
