"""``resnets check --labels``: its options, and what becomes of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from resnets.cli.options import check_output
from resnets.errors import UserError

if TYPE_CHECKING:
    from resnets.labelling.found import LabelCheck

WITH = "For --labels: "

Labels = Annotated[
    bool, Option("--labels", help="Look for wrong labels, by networks that never saw the photo.")
]
Weights = Annotated[
    str | None,
    Option(help=f"{WITH}a network of other photos, whose features judge: a model file, a name."),
]
Folds = Annotated[
    int | None, Option(min=2, help=f"{WITH}parts that are judged in turn; 5 if not given.")
]
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
FILES = {
    "report": ".html",
    "labels_out": ".parquet",
    "labels_report": ".html",
    "write_labels": ".csv",
}
"""Options that name an output, and as what it is written."""


def check_options(options: Mapping[str, Any], wanted: object, purpose: str = "--labels") -> None:
    """Refuse options that are given, where what they are for is not `wanted`."""
    for name, value in options.items():
        if not wanted and value is not None and value is not False:
            said = "" if value is True else f" {value}"
            raise UserError(f"{_flag(name)}{said}: is for {purpose}")


def check_files(options: Mapping[str, Any], force: bool) -> None:
    """Refuse outputs that exist, or are written as something else, before any work is done."""
    for name, ending in FILES.items():
        check_output(_flag(name), options.get(name), force, (ending,))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def look(
    data: Any,
    groups: Mapping[str, Hashable] | None = None,
    *,
    labels_out: Path | None = None,
    labels_report: Path | None = None,
    write_labels: Path | None = None,
    shown: bool = True,
    **options: Any,
) -> LabelCheck:
    """Look for wrong labels, write what was asked for, and show the table unless told not to.

    `groups` are those of duplicates; `options` go to `resnets.labelling.search.check_labels`.
    """
    from resnets.labelling.search import check_labels

    found = check_labels(data, groups=groups, **options)
    writers = (
        (labels_out, found.write_probabilities),
        (labels_report, found.write_page),
        (write_labels, found.write_decisions),
    )
    for path, write in writers:
        if path:
            write(path)
    for line in found.lines() if shown else ():
        print(line)
    return found
