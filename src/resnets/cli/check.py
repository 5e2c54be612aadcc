"""``resnets check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from resnets.cli.options import (
    Force,
    Json,
    LabelColumn,
    PathColumn,
    Workers,
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
EXAMPLES = 3
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
) -> None:
    """Find what is wrong with photos, labels and splits before a model learns it."""
    if fail_on not in FAIL_ON:
        raise UserError(
            f"--fail-on {fail_on}: {', '.join(FAIL_ON)}{did_you_mean(fail_on, FAIL_ON)}"
        )
    for output in (json_path(json), report, write_split):
        check_output(output, force)
    from resnets.audit.check import check
    from resnets.audit.splitting import WRITERS
    from resnets.console import Console
    from resnets.data.split import Fractions
    from resnets.training.processes import count_cores

    if write_split and write_split.suffix.lower() not in WRITERS:
        raise UserError(f"{write_split}: a split table is written as {' or '.join(WRITERS)}")
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
    if json:
        write_json(found.to_dict(), json)
    if json != "-":
        _show(found)
    if write_split:
        counts = found.write_split(write_split, fractions, keep_splits)
        shown = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        console.say(f"split    {write_split}: {shown}")
        console.say(f"         resnets train {data} --split-table {write_split}")
    if report:
        from resnets.audit.page import write_check_page

        write_check_page(found, report)
        console.say(f"report   {report}")
    worst = found.findings.worst
    raise typer.Exit(int(worst is not None and worst >= FAIL_ON[fail_on]))


def _show(found: Audit) -> None:
    from rich.console import Console as RichConsole

    described = found.to_dict()
    screen = RichConsole(highlight=False, soft_wrap=False)
    splits = ", ".join(f"{name} {count:,}" for name, count in described["splits"].items())
    drawn = " (drawn as train would)" if found.data.drawn else ""
    screen.print(
        f"{found.data.root}: {described['photos']:,} photos, {described['classes']:,} classes"
        + (f"; {splits}{drawn}" if splits else ""),
        markup=False,
        soft_wrap=True,
    )
    if [*found.findings]:
        screen.print(_table(found))
    counts = ", ".join(
        f"{described[f'{name}s']:,} {name}s" for name in ("error", "warning", "note")
    )
    screen.print(f"{counts}; {described['seconds']:,.1f} s", markup=False)


def _table(found: Audit) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("severity", "count", "what was found, where, and the way out"):
        table.add_column(title, justify="right" if title == "count" else "left", overflow="fold")
    for finding in found.findings:
        kind = finding.kind
        text = Text(kind.what, style="bold")
        for case in finding.cases[:EXAMPLES]:
            detail = f" ({case.detail})" if case.detail else ""
            text.append(f"\n{' = '.join(case.where)}{detail}", style="not bold")
        text.append(f"\n→ {kind.way_out}", style="not bold dim")
        severity = str(kind.severity)
        table.add_row(Text(severity, style=STYLES[severity]), f"{len(finding.cases):,}", text)
    return table
