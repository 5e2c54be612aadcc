"""``resnets train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from resnets.cli.options import (
    Device,
    LabelColumn,
    PathColumn,
    Processes,
    Workers,
    pairs,
    spread,
)


def command(
    data: Annotated[
        str, typer.Argument(help="A folder, table, array file, or a built-in name: sign-digits.")
    ],
    model: Annotated[
        str | None,
        Option(help="A row of `resnets models`; by the size of the photos if not given."),
    ] = None,
    weights: Annotated[
        str | None,
        Option(help="To start from: a model file, a checkpoint, or a name: timm/resnet50.a1_in1k."),
    ] = None,
    size: Annotated[int | None, Option(min=1, help="Side of the network's input, pixels.")] = None,
    epochs: Annotated[int | None, Option(min=1, help="Passes over the training photos.")] = None,
    budget: Annotated[
        str | None,
        Option(help="Time that all of it may take, as 10m: the epochs are as many as fit."),
    ] = None,
    batch_size: Annotated[
        int | None, Option(min=4, help="Photos per step; the learning rate follows.")
    ] = None,
    recipe: Annotated[str | None, Option(help="A named recipe, such as he2015-cifar.")] = None,
    set_: Annotated[
        list[str] | None,
        Option("--set", metavar="FIELD=VALUE", help="Replace a field of the recipe; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, Option(help="The run folder; runs/<data>-<model>-<n> if not given.")
    ] = None,
    seed: Annotated[int, Option(min=0, help="Of split, weights, order and augmentation.")] = 0,
    channels: Annotated[int | None, Option(help="3, or 1 to read photos as grey.")] = None,
    stem: Annotated[str, Option(help="auto (small up to 48 px), imagenet or small.")] = "auto",
    val_fraction: Annotated[float, Option(help="Part for validation, where there is none.")] = 0.1,
    test_fraction: Annotated[float, Option(help="Part for testing, where there is none.")] = 0.2,
    split_table: Annotated[
        Path | None, Option(help="A table of the split of every photo, as a run's splits.csv.")
    ] = None,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    device: Device = None,
    speed: Annotated[
        list[str] | None,
        Option(
            metavar="auto|exact|KEY=VALUE",
            help="How steps are computed: measured, the same everywhere, or as set: layout, "
            "precision, convolution, compile, threads; repeatable.",
        ),
    ] = None,
    workers: Workers = None,
    nproc: Processes = None,
    checkpoint_every: Annotated[
        str,
        Option(help="Between checkpoints within an epoch: 90 or 90s, 5m, 1.5h, 200steps; 0: none."),
    ] = "10m",
    on_nan: Annotated[
        str | None, Option(help="stop, or skip a step whose loss or gradient is not finite.")
    ] = None,
    quiet: Annotated[bool, Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Train on labelled photos. Nothing but DATA is needed; every choice made is printed."""
    overrides = pairs(set_ or []) | ({} if on_nan is None else {"on_nan": on_nan})
    spread(nproc)
    from resnets.experiment import train

    train(
        data,
        model=model,
        weights=weights,
        size=size,
        channels=channels,
        stem=stem,
        epochs=epochs,
        budget=budget,
        batch_size=batch_size,
        seed=seed,
        recipe=recipe,
        overrides=overrides,
        out=out,
        device=device,
        speed=",".join(speed or ["auto"]),
        workers=workers,
        checkpoint_every=checkpoint_every,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        split_table=split_table,
        path_column=path_column,
        label_column=label_column,
        quiet=quiet,
    )
