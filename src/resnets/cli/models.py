"""``resnets models``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from resnets.cli.options import Force, Json, check_output, json_path, write_json
from resnets.errors import UserError, did_you_mean
from resnets.zoo import ZOO, list_models


def command(
    pattern: Annotated[str, typer.Argument(help="A pattern such as 'resnet*_v2'.")] = "*",
    json: Json = None,
    force: Force = False,
) -> None:
    """List the architectures, with parameters and multiply-adds counted from their specs."""
    check_output(json_path(json), force)
    names = list_models(pattern)
    if not names:
        raise UserError(f"no model matches {pattern!r}{did_you_mean(pattern, ZOO)}")
    rows = [_row(name) for name in names]
    if json:
        write_json(rows, json)
    if json == "-":
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "depth", "parameters", "GMACs", "at", "", box=None, header_style="bold")
    for column in table.columns[1:5]:
        column.justify = "right"
    for row in rows:
        size = f"{row['image_size']} px"
        gmacs = f"{row['macs'] / 1e9:.3f}"
        table.add_row(
            row["name"], str(row["depth"]), f"{row['params']:,}", gmacs, size, row["about"]
        )
    Console(highlight=False).print(table)


def _row(name: str) -> dict[str, Any]:
    spec, about = ZOO[name].spec, ZOO[name].about
    return {
        "name": name,
        "depth": spec.depth,
        "params": spec.params(),
        "macs": spec.macs(),
        "image_size": spec.image_size,
        "about": about,
    }
