"""``resnets resume``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resnets.cli.options import Device, Workers


def command(
    run: Annotated[Path, typer.Argument(help="The folder of an interrupted run.")],
    device: Device = None,
    workers: Workers = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Continue an interrupted run, with the choices it began with."""
    from resnets.experiment import resume
    from resnets.training.loop import Interrupted

    try:
        resume(run, device=device, workers=workers, quiet=quiet)
    except Interrupted as stop:
        print(stop)
        raise typer.Exit(130) from None
