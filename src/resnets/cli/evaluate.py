"""``resnets evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    check_apart,
    check_output,
    json_path,
    write_json,
)
from resnets.errors import UserError

if TYPE_CHECKING:
    from resnets.judging.scoring import SplitResult


def command(
    model: Annotated[Path, typer.Argument(help="A model file, such as RUN/best.safetensors.")],
    data: Annotated[str, typer.Argument(help="A folder, table, array file or built-in name.")],
    split: Annotated[
        str | None, typer.Option(help="train, val, test or all; test if there is one, else val.")
    ] = None,
    json: Json = None,
    report: Annotated[Path | None, typer.Option(help="Write a report, one HTML file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write every prediction, as Parquet.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another model file, to compare with on the same photos.")
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            "--slice", help="Judge parts of the photos: a column of the table, or folder:1; repeat."
        ),
    ] = None,
    robustness: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Also on corrupted photos: all, noise, blur, jpeg …"),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Photos to corrupt, a sample; all if not given.")
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="DST",
            help="Fit a temperature, and what `predict --reject` needs, on split val; write DST.",
        ),
    ] = None,
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
    check_output("--json", json_path(json), force)
    check_output("--report", report, force, [".html"])
    check_output("--out", out, force, [".parquet"])
    check_output("--calibrate", calibrate, force, [".safetensors"])
    check_output("--map", map_, force, [".html", ".png"])
    check_apart((json_path(json), report, out, calibrate, map_), (model, data, against))
    if limit is not None and robustness is None:
        raise UserError(f"--limit {limit}: is for --robustness")
    from resnets.console import Console
    from resnets.judging.evaluation import evaluate_model
    from resnets.judging.robustness import named

    console = Console()
    further: dict[str, Any] = {}
    if map_:
        from resnets.explain import atlas

        further["check"] = atlas.check

    def tell(result: SplitResult) -> None:
        values, written = result.to_json(), [report, out, json_path(json)]
        try:
            if map_:
                values["map"] = atlas.of_result(model, result, device, workers, map_)
                written.append(map_)
        finally:  # whatever becomes of the map
            if json:
                write_json(values, json)
            if json != "-":
                _print(result)
            for path in filter(None, written):
                console.say(f"wrote    {path}")

    columns = {"path_column": path_column, "label_column": label_column}
    evaluate_model(
        model,
        data,
        split,
        columns,
        device=device,
        workers=workers,
        engine=engine,
        precision=precision,
        slices=slices or ([] if json else None),
        against=against,
        calibrate=calibrate,
        report=report,
        out=out,
        robustness=named(robustness) if robustness is not None else (),
        limit=limit,
        console=console,
        told=tell,
        **further,
    )


def _print(result: SplitResult) -> None:
    """Print what people read of a result."""
    from resnets.evaluate import words
    from resnets.files import on_screen

    print(result.evaluation.summary())
    lines = words.details(result.evaluation)
    lines += words.trust(result.calibration, result.uncalibrated, result.coverage)
    lines += words.slices(result.slices)
    lines += [f"beside   {words.comparison(result.compared)}"] if result.compared else []
    for line in lines:
        print(on_screen(line))
    for line in result.robustness.lines() if result.robustness else ():
        print(line)
