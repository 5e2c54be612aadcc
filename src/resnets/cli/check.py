"""``resnets check``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from resnets.audit.findings import EXAMPLES
from resnets.audit.kinds import Severity
from resnets.cli import labels as label_options
from resnets.cli.options import (
    Device,
    Force,
    Json,
    LabelColumn,
    PathColumn,
    Workers,
    check_apart,
    check_output,
    json_path,
    write_json,
)
from resnets.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from rich.table import Table

    from resnets.audit.check import Audit

FAIL_ON = {"error": 2, "warning": 1, "note": 0, "never": 3}
"""What makes the exit status 1, and the least severity that does."""
FOLDS = 5
STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def command(
    data: Annotated[
        str, typer.Argument(help="A folder, table, array file, or a built-in name: sign-digits.")
    ],
    json: Json = None,
    report: Annotated[
        Path | None, Option(help="Write a page with the photos in question, one HTML file.")
    ] = None,
    write_split: Annotated[
        Path | None,
        Option(help="Write a split that keeps copies together, .csv or .parquet, for train."),
    ] = None,
    keep_splits: Annotated[
        bool, Option("--keep-splits", help="For --write-split: move straddling groups only.")
    ] = False,
    group: Annotated[
        str | None,
        Option(metavar="REGEX", help="Photos in whose paths it finds the same text stay together."),
    ] = None,
    group_column: Annotated[
        str | None, Option(help="Column of a table; photos with one value stay together.")
    ] = None,
    fail_on: Annotated[
        str, Option(metavar="error|warning|note|never", help="What makes the exit status 1.")
    ] = "warning",
    near: Annotated[bool, Option(help="Look for photos that are nearly the same, too.")] = True,
    seed: Annotated[int, Option(min=0, help="Of the split.")] = 0,
    val_fraction: Annotated[float, Option(help="Part for validation.")] = 0.1,
    test_fraction: Annotated[float, Option(help="Part for testing.")] = 0.2,
    split_table: Annotated[
        Path | None, Option(help="A table of the split of every photo, to be checked.")
    ] = None,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    workers: Workers = None,
    force: Force = False,
    labels: label_options.Labels = False,
    weights: label_options.Weights = None,
    folds: label_options.Folds = None,
    recipe: label_options.Recipe = None,
    epochs: label_options.Epochs = None,
    budget: label_options.Budget = None,
    model: label_options.Model = None,
    size: label_options.Size = None,
    work: label_options.Work = None,
    labels_out: label_options.Out = None,
    labels_report: label_options.Report = None,
    write_labels: label_options.Write = None,
    device: Device = None,
) -> None:
    """Find what is wrong with photos, labels and splits before a model learns it."""
    if fail_on not in FAIL_ON:
        raise UserError(
            f"--fail-on {fail_on}: {', '.join(FAIL_ON)}{did_you_mean(fail_on, FAIL_ON)}"
        )
    judging: dict[str, Any] = {
        "weights": weights,
        "folds": folds,
        "recipe": recipe,
        "epochs": epochs,
        "budget": budget,
        "model": model,
        "size": size,
        "work": work,
        "labels_out": labels_out,
        "labels_report": labels_report,
        "write_labels": write_labels,
        "device": device,
    }
    label_options.check_options(judging, labels)
    label_options.check_options({"keep_splits": keep_splits}, write_split, "--write-split")
    from resnets.audit.splitting import WRITERS

    check_output("--json", json_path(json), force)
    check_output("--write-split", write_split, force, WRITERS)
    label_options.check_files({"report": report, **judging}, force)
    outputs = (json_path(json), write_split, report, labels_out, labels_report, write_labels)
    check_apart(outputs, (data, split_table, weights))
    from resnets.audit.check import check
    from resnets.console import Console
    from resnets.data.split import Fractions
    from resnets.training.processes import count_cores

    fractions = Fractions(seed, val_fraction, test_fraction)
    console = Console()
    found = check(
        data,
        workers=count_cores() if workers is None else workers,
        near=near,
        group=group,
        group_by=group_column,
        path_column=path_column,
        label_column=label_column,
        console=console,
        seed=seed,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        split_table=split_table,
    )
    described = found.to_dict()
    if json and json != "-":  # what follows may take long, and be stopped
        write_json(described, json)
    if json != "-":
        _show(found)
    if write_split:
        counts = found.write_split(write_split, fractions, keep_splits)
        shown = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        console.say(f"split    {write_split}: {shown}")
        # Photos for validation that train draws itself would part copies.
        alone = "" if "val" in counts else " --val-fraction 0"
        console.say(f"         resnets train {data} --split-table {write_split}{alone}")
    if report:
        from resnets.audit.page import write_check_page

        write_check_page(found, report)
        console.say(f"report   {report}")
    if labels:
        groups = dict(zip(found.data.ids, found.all_groups().tolist(), strict=True))
        judging |= {"path_column": path_column, "label_column": label_column, "workers": workers}
        judging["folds"] = folds or FOLDS
        judged = label_options.look(data, groups, seed=seed, shown=json != "-", **judging)
        described["labels"] = judged.to_json()
    if json:
        write_json(described, json)
    worst = found.findings.worst
    raise typer.Exit(int(worst is not None and worst >= FAIL_ON[fail_on]))


def _show(found: Audit) -> None:
    from rich.console import Console as RichConsole

    from resnets.files import on_screen

    screen = RichConsole(highlight=False)
    for line in _summary(found):
        screen.print(on_screen(line), markup=False, soft_wrap=True)
    if [*found.findings]:
        screen.print(_table(found))
    counts = [_count(found.findings.count(s), str(s)) for s in reversed(Severity)]
    screen.print(f"{', '.join(counts)}; {found.seconds:,.1f} s", markup=False)


def _summary(found: Audit) -> Iterator[str]:
    data, described = found.data, found.to_dict()
    photos, classes = _count(len(data.ids), "photo"), _count(len(data.classes), "class", "classes")
    splits = [f"{name} {count:,}" for name, count in described["splits"].items()]
    drawn = " (drawn as train would)" if data.drawn else ""
    yield f"{data.root}: {photos}, {classes}" + (f"; {', '.join(splits)}{drawn}" if splits else "")
    for split, row in found.leaks.items():
        if copies := row["exact"] + row["near"]:
            yield (
                f"{100 * copies / row['photos']:.1f} % of {split} has a copy in train: of "
                f"{_count(row['photos'], 'photo')} {row['exact']:,} the same pixels, "
                f"{row['near']:,} nearly alike (look at those)"
            )


def _count(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def _table(found: Audit) -> Table:
    from rich.table import Table
    from rich.text import Text

    from resnets.files import on_screen

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("severity", "count", "what was found, where, and the way out"):
        table.add_column(title, justify="right" if title == "count" else "left", overflow="fold")
    for finding in found.findings:
        kind = finding.kind
        text = Text(kind.what, style="bold")
        for case in finding.cases[:EXAMPLES]:
            text.append("\n")
            text.append(on_screen(str(case)), style="not bold")
        if len(finding.cases) > EXAMPLES:
            text.append(f"\n… and {len(finding.cases) - EXAMPLES:,} more", style="not bold")
        text.append(f"\n→ {kind.way_out}", style="not bold dim")
        severity = str(kind.severity)
        table.add_row(Text(severity, style=STYLES[severity]), f"{len(finding.cases):,}", text)
    return table
