"""``resnets models``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from resnets.cli.options import Force, Json, check_output, json_path, write_json
from resnets.errors import UserError, did_you_mean
from resnets.zoo import ZOO, list_models

MOST_COLUMNS = 400
TITLES = ("model", "depth", "parameters", "GMACs", "at")


def command(
    pattern: Annotated[
        str, typer.Argument(metavar="[FILTER]", help="Part of a name, or 'resnet*_v2'.")
    ] = "*",
    json: Json = None,
    force: Force = False,
) -> None:
    """List the architectures, with parameters and multiply-adds counted from their specs."""
    check_output("--json", json_path(json), force)
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

    cells = [
        (
            row["name"],
            str(row["depth"]),
            f"{row['params']:,}",
            f"{row['macs'] / 1e9:.3f}",
            f"{row['image_size']} px",
        )
        for row in rows
    ]
    console = Console(highlight=False)
    if not console.is_terminal:  # whoever reads it then has room for all
        console = Console(highlight=False, width=MOST_COLUMNS)
    table = Table(box=None, header_style="bold")
    left = console.width
    for title, column in zip(TITLES, zip(*cells, strict=True), strict=True):
        # Widths of their own, as a long description would be given the room of the numbers.
        width = max(map(len, (title, *column)))
        left -= width + 2
        table.add_column(
            title,
            justify="left" if title == "model" else "right",
            no_wrap=True,
            min_width=width,
        )
    words = [_cut(row["about"], left - 2) for row in rows]
    table.add_column("", no_wrap=True)
    for values, about in zip(cells, words, strict=True):
        table.add_row(*values, about)
    console.print(table)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(0, length - 1)] + "…" * (length > 0)


def _row(name: str) -> dict[str, Any]:
    row = ZOO[name]
    spec = row.spec
    return {
        "name": name,
        "depth": spec.depth,
        "params": spec.params(),
        "macs": spec.macs(),
        "activations": spec.activations(),
        "image_size": spec.image_size,
        "num_classes": spec.num_classes,
        "about": row.about,
        "flaws": list(row.flaws),
        "published": [asdict(figure) for figure in row.published],
    }
