"""``resnets predict``."""

from __future__ import annotations

from collections import Counter
from itertools import chain, islice
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from resnets.cli.options import Device, Engine, Force, Precision, Workers, check_apart, check_output
from resnets.errors import UserError


def command(
    model: Annotated[Path, typer.Argument(help="A model file, such as RUN/best.safetensors.")],
    paths: Annotated[list[str], typer.Argument(help="Photos, folders of photos, or globs.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Write .parquet, .csv or .jsonl, or - for JSON lines on the screen."),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Classes to list for each photo; 5, or 1 without --out."),
    ] = None,
    reject: Annotated[
        bool, typer.Option("--reject", help="Label photos unlike those that it knows `unknown`.")
    ] = False,
    keep: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Of known photos that --reject leaves alone; 0.95."),
    ] = None,
    device: Device = None,
    workers: Workers = None,
    engine: Engine = "auto",
    precision: Precision = None,
    force: Force = False,
) -> None:
    """Name what is in photos: one row for every input, in order, whatever is wrong with it."""
    from resnets.rows import FORMATS, open_rows

    check_output("--out", out, force, FORMATS)
    check_apart([out], [model, *paths])
    from resnets.console import Console
    from resnets.data.sources import find_images
    from resnets.engines.choose import ENOUGH
    from resnets.novelty import UNKNOWN
    from resnets.predict import Predictor

    console = Console()
    if keep is not None and not reject:
        raise UserError(f"--keep {keep:g}: is for --reject")
    share = keep if keep is not None else reject
    top = top or (1 if out is None else 5)
    total = failed = rejected = 0
    ignored: Counter[str] = Counter()
    with open_rows(out, top, reject) as write:
        found = find_images(paths, ignored)
        first = list(islice(found, ENOUGH))
        predictor = Predictor.load(
            model,
            device,
            workers=workers,
            engine=engine,
            precision=precision,
            photos=0 if reject else len(first),  # of none: PyTorch, which gives features
            say=console.say,
        )
        if reject:
            console.say(f"reject   {predictor.gate(share).summary()}")
        inputs = ((path, path) for path in chain(first, found))
        began = monotonic()
        with console.track("Predicting", None) as advance:
            for row in predictor.stream(inputs, top, share):
                write(row)
                advance(1)
                total += 1
                failed += row.status != "ok"
                rejected += reject and row.label == UNKNOWN
        if total >= ENOUGH:
            rate, ready = total / (monotonic() - began), predictor.ready
            console.say(f"speed    {rate:,.3g} images/s ({ready.name}, {ready.precision})")
        if reject:
            console.say(f"unknown  {rejected:,} of {total - failed:,}")
        for what, count in ignored.items():
            console.say(f"ignored: {what} ({count:,})")
        if not total:
            raise UserError(f"no photos in {', '.join(paths)}")
    if failed:
        console.warn(f"{failed:,} of {total:,} have no prediction; their rows say why")
    if failed == total:
        raise typer.Exit(2)
