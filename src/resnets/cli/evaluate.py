"""``resnets evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resnets.cli.options import (
    Device,
    Engine,
    Force,
    Json,
    LabelColumn,
    PathColumn,
    Precision,
    Workers,
    check_output,
    json_path,
    write_json,
)
from resnets.errors import UserError


def command(
    model: Annotated[Path, typer.Argument(help="A model file, such as RUN/best.safetensors.")],
    data: Annotated[str, typer.Argument(help="A folder, table, array file or built-in name.")],
    split: Annotated[
        str | None, typer.Option(help="train, val, test or all; test if there is one, else val.")
    ] = None,
    json: Json = None,
    report: Annotated[Path | None, typer.Option(help="Write a report, one HTML file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write every prediction, as Parquet.")] = None,
    map_: Annotated[
        Path | None,
        typer.Option("--map", help="Write a map of the photos' features, .html or .png."),
    ] = None,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    device: Device = None,
    workers: Workers = None,
    engine: Engine = None,
    precision: Precision = None,
    force: Force = False,
) -> None:
    """Measure a model on labelled photos, with a 95 % interval."""
    for output in (json_path(json), report, out, map_):
        check_output(output, force)
    if out and out.suffix != ".parquet":
        raise UserError(f"{out}: every prediction is written as .parquet")
    if map_:
        from resnets.explain import atlas

        atlas.check(map_)
    from resnets.evaluate.words import details
    from resnets.evaluation import evaluate_model
    from resnets.files import printable

    columns = {"path_column": path_column, "label_column": label_column}
    result = evaluate_model(
        model,
        data,
        split,
        columns,
        device=device,
        workers=workers,
        engine=engine,
        precision=precision,
        report=report,
        out=out,
    )
    values = result.to_json()
    if map_:
        values["map"] = atlas.of_result(model, result, device, workers, map_)
    if json:
        write_json(values, json)
    if json != "-":
        print(result.evaluation.summary())
        for line in details(result.evaluation):
            print(printable(line))
