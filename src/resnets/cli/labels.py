"""``resnets check --labels``: its options, and what becomes of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from resnets.cli.options import check_output
from resnets.errors import UserError

if TYPE_CHECKING:
    from resnets.label_check import LabelCheck

WITH = "For --labels: "

Labels = Annotated[
    bool, Option("--labels", help="Look for wrong labels, by networks that never saw the photo.")
]
Weights = Annotated[
    str | None,
    Option(help=f"{WITH}a network of other photos, whose features judge: a model file, a name."),
]
Folds = Annotated[int, Option(min=2, help=f"{WITH}parts that are judged in turn.")]
Recipe = Annotated[str | None, Option(help=f"{WITH}of the trainings; fast if not given.")]
Epochs = Annotated[int | None, Option(min=1, help=f"{WITH}of each training.")]
Budget = Annotated[
    str | None, Option(help=f"{WITH}time that the trainings may take together, as 30m.")
]
Model = Annotated[str | None, Option(help=f"{WITH}what is trained; by the photos if not given.")]
Size = Annotated[int | None, Option(min=1, help=f"{WITH}side of its input, pixels.")]
Work = Annotated[
    Path | None,
    Option(help=f"{WITH}folder of what is computed; runs/<data>-labels-<key> if not given."),
]
Report = Annotated[Path | None, Option(help=f"{WITH}write a page with the photos.")]
Write = Annotated[Path | None, Option(help=f"{WITH}write a CSV of them, for a person to decide.")]
Out = Annotated[
    Path | None, Option(help=f"{WITH}write all probabilities, a row a photo, as Parquet.")
]
OUTPUTS = {"out": ".parquet", "labels_report": ".html", "write_labels": ".csv"}


def check_options(wanted: bool, options: Mapping[str, Any], force: bool) -> None:
    """Refuse, before any work is done, options that nothing asks for, and outputs that exist or are
    written as something else."""
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is not None and not wanted:
            raise UserError(f"{flag} goes with --labels")
        if name in OUTPUTS and value is not None:
            check_output(value, force)
            if value.suffix != OUTPUTS[name]:
                raise UserError(f"{flag} {value}: it is written as {OUTPUTS[name]}")


def look(
    data: Any,
    groups: Mapping[str, Hashable] | None = None,
    *,
    out: Path | None = None,
    labels_report: Path | None = None,
    write_labels: Path | None = None,
    shown: bool = True,
    **options: Any,
) -> LabelCheck:
    """Look for wrong labels, write what was asked for, and show the table unless told not to.

    `groups` are those of duplicates; `options` go to `resnets.label_errors.check_labels`.
    """
    from resnets.files import printable
    from resnets.label_errors import check_labels

    found = check_labels(data, groups=groups, **options)
    writers = (
        (out, found.write_probabilities),
        (labels_report, found.write_page),
        (write_labels, found.write_decisions),
    )
    for path, write in writers:
        if path:
            write(path)
    for line in found.lines() if shown else ():
        print(printable(line))
    return found
