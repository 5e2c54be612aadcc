"""``resnets describe``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnets.cli.options import Force, Json, check_output, json_path, write_json
from resnets.errors import UserError
from resnets.files import on_screen
from resnets.plan import activations, macs
from resnets.spec import ResNetSpec
from resnets.zoo import ZOO, get_spec

if TYPE_CHECKING:
    from rich.table import Table


def command(
    model: Annotated[str, typer.Argument(help="A row of `resnets models`, or a model file.")],
    size: Annotated[int | None, typer.Option(min=1, help="Side of the input, pixels.")] = None,
    diagram: Annotated[Path | None, typer.Option(help="Draw the network, as an SVG file.")] = None,
    json: Json = None,
    force: Force = False,
) -> None:
    """Describe an architecture or a model file: counts, stages, sources, and what it holds."""
    check_output("--json", json_path(json), force)
    check_output("--diagram", diagram, force, [".svg"])
    values: dict[str, Any] = {}
    if model not in ZOO and (Path(model).exists() or Path(model).suffix == ".safetensors"):
        from resnets.weights import model_file

        loaded = model_file.load_any(model)
        spec, held = loaded.spec, loaded.describe()
        held["data"].pop("seen", None)  # digests of photos, which say nothing to people
        held.pop("spec")
        values["file"] = held
    else:
        spec, row = get_spec(model), ZOO[model]
        values |= {"about": row.about, "flaws": list(row.flaws)}
        values["published"] = [asdict(figure) for figure in row.published]
    size = size or spec.image_size
    try:
        values = {**_architecture(spec, size), **values, "spec": spec.to_dict()}
    except ValueError as error:
        raise UserError(f"--size {size}: {error}") from None
    if json:
        write_json(values, json)
    if diagram:
        from resnets.diagram import draw
        from resnets.files import atomic

        with atomic(diagram) as temporary:
            notes = [values["about"], *values["flaws"]] if "about" in values else []
            temporary.write_text(draw(spec, size, notes), encoding="utf-8")
    if json != "-":
        _print(values)
    if diagram:
        print(f"wrote {on_screen(str(diagram))}", file=sys.stderr)


def _architecture(spec: ResNetSpec, size: int) -> dict[str, Any]:
    shapes = spec.feature_shapes(size)
    reaches = spec.plan.reaches()
    depths = dict(zip([stage.name for stage in spec.stages()], spec.depths, strict=True))
    stages = []
    for name, layers in spec.plan.parts((size, size)):
        field, stride = reaches.get(name, (None, None))
        stages.append(
            {
                "name": name,
                "blocks": depths.get(name),
                "shape": list(shapes.get(name, (spec.num_classes or spec.num_features,))),
                "params": sum(layer.params for layer, _ in layers),
                "macs": macs(layers),
                "activations": activations(layers),
                "stride": stride,
                "receptive_field": field,
            }
        )
    return {
        "name": spec.name,
        "depth": spec.depth,
        "params": spec.params(),
        "macs": spec.macs(size),
        "activations": spec.activations(size),
        "input": [spec.in_channels, size, size],
        "stages": stages,
    }


def _print(values: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    # Names in a file are anybody's: never markup.
    console.print(Text(on_screen(values["name"]), "bold"), Text(values.get("about", "")))
    for flaw in values.get("flaws", ()):
        console.print(f"  flaw: {flaw}", markup=False)
    megabytes = values["activations"] * 4 / 2**20
    console.print(
        f"{values['depth']} layers on the longest path (convolutions and linear, projections not "
        f"counted), {values['params']:,} parameters, {values['macs']:,} multiply-adds at "
        f"{values['input'][-1]} px; the convolutions put out "
        f"{values['activations']:,} values for a photo ({megabytes:.1f} MiB in float32)\n",
        markup=False,
    )
    console.print(_stages(values["stages"]))
    published = [_published(figure) for figure in values.get("published", ())]
    for title, rows in (
        ("published", published),
        ("file", _flat(values.get("file", {}))),
        ("spec", _flat(values["spec"])),
    ):
        if rows:
            console.print(f"\n[bold]{title}[/bold]")
            console.print(_pairs(rows))


def _stages(rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table("", box=None, header_style="bold")
    for title in ("blocks", "C × H × W", "parameters", "MACs", "stride", "sees"):
        table.add_column(title, justify="right")
    for row in rows:
        field = row["receptive_field"]
        table.add_row(
            row["name"],
            "" if row["blocks"] is None else str(row["blocks"]),
            " × ".join(map(str, row["shape"])),
            f"{row['params']:,}",
            f"{row['macs']:,}",
            "" if row["stride"] is None else str(row["stride"]),
            "" if field is None else f"{field} px",
        )
    return table


def _pairs(rows: list[tuple[str, str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    for name, value in rows:
        table.add_row(Text(on_screen(name)), Text(on_screen(value)))
    return table


def _published(figure: dict[str, Any]) -> tuple[str, str]:
    value = f"{figure['value']:,.12g}" + (" %" if figure["kind"] in ("top1", "error") else "")
    size = f" at {figure['size']} px" if figure["size"] else ""
    note = f", {figure['note']}" if figure["note"] else ""
    return figure["kind"], f"{value}{size}{note} ({figure['source']})"


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, dict):
            rows += _flat(value, f"{name}.")
        else:
            rows.append((name, _plain(value)))
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
