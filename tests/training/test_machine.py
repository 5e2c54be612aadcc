from __future__ import annotations

import pytest
import torch

from resnets.errors import UserError
from resnets.training.machine import Machine, default_workers, full_precision


def test_detection_gives_something_that_runs() -> None:
    machine = Machine.detect()
    net = machine.place(torch.nn.Conv2d(3, 4, 1))
    assert net(torch.zeros(1, 3, 2, 2, device=machine.device)).shape == (1, 4, 2, 2)
    assert Machine(**machine.to_dict()) == machine
    assert set(machine.describe()) == {"device", "hardware", "precision", "system"}
    assert 1 <= default_workers() <= 8


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("gpu", "auto", "--device gpu"),
        ("cuda:99", "auto", "--device cuda:99"),
        ("meta", "auto", "one of cpu, cuda, mps, xpu"),
        ("cpu", "fp8", "--precision fp8: one of auto, fp32, bf16"),
    ],
)
def test_what_is_not_there_is_one_line(device: str, precision: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Machine.detect(device, precision)
    assert "\n" not in str(caught.value)


def test_bf16_steps_are_autocast() -> None:
    layer, x = torch.nn.Linear(2, 2), torch.zeros(1, 2)
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        with Machine("cpu", precision).autocast():
            assert layer(x).dtype == dtype


def test_full_precision_tracks_no_gradient() -> None:
    with full_precision():
        assert not torch.nn.Linear(2, 2)(torch.zeros(1, 2)).requires_grad
