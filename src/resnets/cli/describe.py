"""``resnets describe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from resnets.cli.options import Force, Json, check_output, json_path, write_json
from resnets.spec import ResNetSpec
from resnets.zoo import ZOO, get_spec


def command(
    model: Annotated[str, typer.Argument(help="A row of `resnets models`, or a model file.")],
    size: Annotated[int | None, typer.Option(min=1, help="Side of the input, pixels.")] = None,
    json: Json = None,
    force: Force = False,
) -> None:
    """Describe an architecture or a model file: counts, shapes, sources, and what it holds."""
    check_output(json_path(json), force)
    extra: dict[str, Any]
    if model not in ZOO and (Path(model).exists() or Path(model).suffix == ".safetensors"):
        from resnets.weights import model_file

        loaded = model_file.load(model)
        spec, extra = loaded.spec, loaded.describe()
        extra["data"].pop("seen", None)  # digests of photos, which say nothing to people
    else:
        spec = get_spec(model)
        extra = {"published": [vars(figure) for figure in ZOO[model].published]}
    values = _architecture(spec, size or spec.image_size) | extra
    if json:
        write_json(values, json)
    if json != "-":
        _print(values)


def _architecture(spec: ResNetSpec, size: int) -> dict[str, Any]:
    return {
        "name": spec.name,
        "depth": spec.depth,
        "parameters": spec.params(),
        "multiply-adds": spec.macs(size),
        "input": [spec.in_channels, size, size],
        "shapes": {name: list(shape) for name, shape in spec.feature_shapes(size).items()},
        "spec": spec.to_dict(),
    }


def _print(values: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    for name, value in _flat(values):
        table.add_row(name, value)
    Console(highlight=False).print(table)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in values.items():
        name = prefix + key
        if name == "published":
            rows += [
                (f"published {f['kind']}", f"{f['value']:,.12g} ({f['source']})") for f in value
            ]
        elif isinstance(value, dict):
            rows += _flat(value, f"{name}.")
        else:
            rows.append((name, _plain(value)))
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
