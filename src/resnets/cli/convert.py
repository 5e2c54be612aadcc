"""``resnets convert``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from resnets.cli.options import (
    Force,
    LabelColumn,
    PathColumn,
    Workers,
    check_apart,
    check_output,
    pairs,
)
from resnets.errors import UserError
from resnets.zoo import get_spec


def command(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="A checkpoint, a model file or a published name.")
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="DST",
            help="A model file (.safetensors), or with --to: .pth, .keras, .onnx, a folder.",
        ),
    ],
    to: Annotated[
        str | None,
        Option(
            help="torchvision (.safetensors, .pth), keras (.keras, .weights.h5), onnx (.onnx), "
            "timm or transformers (a folder); a model file if not given."
        ),
    ] = None,
    arch: Annotated[
        str | None, Option(help="A row of `resnets models`; recognised if not given.")
    ] = None,
    entry: Annotated[
        str | None, Option(help="Which weights of several in a checkpoint: state_dict_ema.")
    ] = None,
    classes: Annotated[
        Path | None, Option(help="A text file with the name of a class on each line.")
    ] = None,
    preprocess: Annotated[
        str | None,
        Option(help="Whose way to read photos: torchvision, timm, keras, cifar, bytes …"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        Option("--set", metavar="FIELD=VALUE", help="Other than that: size, resize, fit, mean …"),
    ] = None,
    num_classes: Annotated[
        int | None, Option(min=1, help="Outputs of a fresh classifier in place of its own.")
    ] = None,
    in_channels: Annotated[
        int | None, Option(min=1, help="Channels that the stem is changed to read: 1 for grey.")
    ] = None,
    precision: Annotated[
        str | None,
        Option(help="int8: a model file that is quantised, for `predict` and `evaluate`."),
    ] = None,
    data: Annotated[
        str | None, Option(help="What to quantise with: the data that the model was trained on.")
    ] = None,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    workers: Workers = None,
    licence: Annotated[str | None, Option(help="Of the weights, for the model file.")] = None,
    force: Force = False,
) -> None:
    """Turn another project's weights into a model file, or a model file into another's."""
    if not target.is_dir():
        check_output("DST", target, force)
    elif not force:
        raise UserError(f"DST {target} exists: choose another name, or --force to overwrite it")
    check_apart([target], [source, data])
    if to is None and target.suffix.lower() != ".safetensors":
        raise UserError(
            f"DST {target}: a model file ends in .safetensors; --to for another project's"
        )
    only = {"data": data, "path-column": path_column, "label-column": label_column}
    _check_precision(precision, only | {"workers": workers}, to)
    from resnets.console import Console
    from resnets.weights import model_file
    from resnets.weights.convert import open_model
    from resnets.weights.export import check_target, export
    from resnets.weights.origins import named

    if to is not None:
        check_target(to)
    if preprocess is not None:
        named(preprocess)
    if arch is not None:
        get_spec(arch)
    console = Console()
    model = open_model(
        source,
        arch=arch,
        entry=entry,
        classes=None if classes is None else _lines(classes),
        preprocess=preprocess,
        photos=pairs(set_ or []),
        num_classes=num_classes,
        in_channels=in_channels,
        licence=licence,
        say=console.say,
    )
    if precision is not None:
        from resnets.quantization import quantize_model

        assert data is not None
        columns = {"path_column": path_column, "label_column": label_column}
        model = quantize_model(model, data, columns, force=force, workers=workers, console=console)
    if to is None:
        model_file.save(model, target)
    else:
        export(model, to, target, force, console.warn)
    console.say(f"wrote    {target}")
    if to in ("torchvision", "keras"):
        console.say("         without class names, and without how photos are read")


def _check_precision(precision: str | None, only: Mapping[str, object], to: str | None) -> None:
    if precision not in (None, "int8"):
        raise UserError(f"--precision {precision}: a model file is in fp32, or else in int8")
    for name, value in only.items():
        if precision is None and value is not None:
            raise UserError(f"--{name} {value}: is for --precision int8")
    if precision is not None and only["data"] is None:
        raise UserError("--precision int8: needs --data, photos to calibrate and to judge on")
    if precision is not None and to is not None:
        raise UserError("--precision int8: is for a model file; leave --to out")


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not in UTF-8"
        raise UserError(f"--classes {path}: {why}; a text file is needed, a class a line") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
