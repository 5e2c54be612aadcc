"""``resnets resume``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from resnets.cli.options import spread


def command(
    run: Annotated[Path, typer.Argument(help="The folder of an interrupted run.")],
    epochs: Annotated[
        int | None, Option(min=1, help="Go on to more epochs than the run was to have.")
    ] = None,
    device: Annotated[str | None, Option(help="Another than it began with.")] = None,
    workers: Annotated[
        int | None, Option(min=0, help="Other threads that decode photos than it began with.")
    ] = None,
    nproc: Annotated[int | None, Option(min=1, help="Other processes than it began with.")] = None,
    quiet: Annotated[bool, Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Continue an interrupted run, with the choices it began with."""
    from resnets.training.run_folder import RunFolder

    spread(nproc or RunFolder(run).read_config().here())
    from resnets.experiment import resume

    resume(run, epochs=epochs, device=device, workers=workers, quiet=quiet)
