"""TensorBoard events, beside the other files of a run, where TensorBoard is installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path


def write_events(folder: Path, row: Mapping[str, float]) -> None:
    """Append the figures of one epoch; without the ``tensorboard`` extra, do nothing."""
    if find_spec("tensorboard") is None:
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder) as writer:
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name, value, int(row["epoch"]))
