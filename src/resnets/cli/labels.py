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

Labels = Annotated[
    bool, Option("--labels", help="Look for wrong labels, by networks that never saw the photo.")
]
Weights = Annotated[
    str | None,
    Option(help="For --labels: a network of other photos, whose features judge: a model, a name."),
]
Folds = Annotated[int, Option(min=2, help="For --labels: parts that are judged in turn.")]
Budget = Annotated[
    str | None, Option(help="For --labels: time that the trainings may take together, as 30m.")
]
Epochs = Annotated[int | None, Option(min=1, help="For --labels: of each training.")]
Recipe = Annotated[str | None, Option(help="For --labels: of the trainings; fast if not given.")]
Model = Annotated[str | None, Option(help="For --labels: what is trained.")]
Size = Annotated[int | None, Option(min=1, help="For --labels: side of its input, pixels.")]
Work = Annotated[
    Path | None,
    Option(help="For --labels: folder of what is computed; runs/<data>-labels-… if not given."),
]
Out = Annotated[
    Path | None, Option(help="For --labels: write all probabilities, a row a photo, as Parquet.")
]
Report = Annotated[
    Path | None, Option("--labels-report", help="For --labels: write a page with the photos.")
]
Write = Annotated[
    Path | None,
    Option("--write-labels", help="For --labels: write a CSV of them, for a person to decide."),
]


def check_outputs(out: Path | None, report: Path | None, write: Path | None, force: bool) -> None:
    """Refuse outputs that exist, or are of another kind, before any work is done for them."""
    for path in (out, report, write):
        check_output(path, force)
    for path, suffix in ((out, ".parquet"), (write, ".csv")):
        if path and path.suffix != suffix:
            raise UserError(f"{path}: it is written as {suffix}")


def look(
    data: Any,
    groups: Mapping[str, Hashable] | None = None,
    *,
    out: Path | None = None,
    report: Path | None = None,
    write: Path | None = None,
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
        (report, found.write_page),
        (write, found.write_decisions),
    )
    for path, writer in writers:
        if path:
            writer(path)
    for line in found.lines() if shown else ():
        print(printable(line))
    return found
