"""``resnets explain``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from resnets.cli.options import (
    Device,
    Force,
    Json,
    LabelColumn,
    PathColumn,
    Workers,
    check_apart,
    check_output,
    check_parent,
    json_path,
    write_json,
)
from resnets.errors import Interrupted, UserError
from resnets.explain import PAGE, PICTURE


def command(
    model: Annotated[Path, typer.Argument(help="A model file, such as RUN/best.safetensors.")],
    paths: Annotated[list[str], typer.Argument(help="Photos, folders of photos, or globs.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="A page (.html; explain.html if not given), a picture of one photo (.png), or "
            "a folder for a page and a picture of each."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="hirescam (if not given), gradcam, xgradcam, integrated or occlusion."),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--class", help="The class to explain; else the predicted one.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to list for each photo.")] = 5,
    layer: Annotated[
        str | None, typer.Option(help="The stage to look at, such as layer4; printed if not given.")
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(help="By random networks: full, quick (no parts) or none; by the method."),
    ] = None,
    neighbours: Annotated[
        str | None, typer.Option(help="Data whose nearest training photos are shown.")
    ] = None,
    nearest: Annotated[
        int | None, typer.Option("--nearest", "-k", min=1, help="How many of them; 5.")
    ] = None,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    json: Json = None,
    device: Device = None,
    workers: Workers = None,
    force: Force = False,
) -> None:
    """Show what in photos speaks for a class, with tests that say whether to believe it."""
    out = out or Path("explain.html")
    check_output("--json", json_path(json), force)
    _check(out, force)
    check_apart((json_path(json), out), (model, *paths, neighbours))
    for option, value in {
        "-k": nearest,
        "--path-column": path_column,
        "--label-column": label_column,
    }.items():
        if value is not None and neighbours is None:
            raise UserError(f"{option} {value}: is for --neighbours")
    from resnets.console import Console
    from resnets.data.sources import find_images
    from resnets.explain.explainer import Explainer
    from resnets.explain.methods import DEFAULT, check_installed
    from resnets.explain.neighbours import Album
    from resnets.explain.output import Output, caption, line
    from resnets.predict import Predictor

    check_installed()
    console = Console()
    ignored: Counter[str] = Counter()
    found = list(find_images(paths, ignored))
    for what, count in ignored.items():
        console.say(f"ignored: {what} ({count:,})")
    if not found:
        raise UserError(f"no photos in {', '.join(paths)}")
    if out.suffix.lower() == PICTURE and len(found) > 1:
        raise UserError(
            f"--out {out}: a picture of one photo, and there are {len(found):,}; name a page"
        )
    predictor = Predictor.load(model, device, workers=workers)
    explainer = Explainer(predictor, method or DEFAULT, layer, test)
    explainer.check_class(label)
    output = Output(explainer, out, len(found))
    rows, lines, failed = [], [], 0
    try:
        console.say(caption(explainer))
        if neighbours:
            columns = {"path_column": path_column, "label_column": label_column}
            explainer.album = Album.open(
                neighbours,
                predictor.model,
                explainer.net,
                columns=columns,
                k=nearest or 5,
                workers=predictor.workers,
                console=console,
            )
        with console.track("Explaining", len(found), "photos") as advance:
            items = ((path, path) for path in found)
            for one in explainer.explain(items, label, top, advance):
                output.add(one)
                rows += [one.to_json()] if json else []
                lines.append(line(one))
                failed += one.status != "ok"
        output.close()
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; {output.so_far()}") from None
    if json:
        write_json({**explainer.to_json(), "photos": rows}, json)
    if json != "-":
        print("\n".join(lines))
    if output.written:
        console.say(f"wrote    {out}")
    if older := output.older():
        console.warn(
            f"{out}: pictures that are not of this run: {len(older):,}, such as {older[0]}"
        )
    if failed:
        console.warn(f"{failed:,} of {len(found):,} are not explained; their rows say why")
    if failed == len(found):
        raise typer.Exit(2)


def _check(out: Path, force: bool) -> None:
    """Refuse an output that cannot be, before any work is done for it."""
    if out.suffix.lower() in (PAGE, PICTURE):
        check_output("--out", out, force)
    elif out.suffix:
        raise UserError(f"--out {out}: a page is .html, a picture .png, and a folder has no ending")
    elif out.is_file():
        raise UserError(f"--out {out}: is a file; name a folder, or a file that ends in .html")
    elif out.is_dir() and any(out.iterdir()) and not force:
        raise UserError(f"--out {out}: the folder is not empty; name another, or --force")
    else:
        check_parent("--out", out)
