"""Options that several verbs share, and how their values are read."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from resnets.errors import UserError

Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; the best if not given.")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Threads that decode photos; one a core if not given.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite outputs that exist.")]
Json = Annotated[
    str | None, typer.Option("--json", metavar="F", help="Write JSON to F, or - for the screen.")
]
PathColumn = Annotated[str | None, typer.Option(help="Column of a table that holds the paths.")]
LabelColumn = Annotated[str | None, typer.Option(help="Column of a table that holds the labels.")]

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """Read a duration such as ``90s``, ``5m`` or ``1.5h``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not match:
        raise UserError(f"{text!r} is not a duration: write 90s, 5m or 1.5h")
    return float(match[1]) * SECONDS[match[2]]


def pairs(settings: Iterable[str]) -> dict[str, str]:
    """Read ``key=value`` settings."""
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UserError(f"--set {setting}: write --set field=value")
        values[key.strip().replace("-", "_")] = value.strip()
    return values


def check_output(path: Path | None, force: bool) -> None:
    """Refuse an output that exists, before any work is done for it."""
    if path is None:
        return
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file in it")
    if path.exists() and not force:
        raise UserError(f"{path} exists: choose another name, or --force to overwrite it")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent} is not a folder: create it first")


def json_path(target: str | None) -> Path | None:
    """Return the file that ``--json`` names; None where it names none, or standard output."""
    return Path(target) if target not in (None, "-") else None


def write_json(values: Any, target: str) -> None:
    """Write JSON to a file, or to standard output for ``-``."""
    from resnets.files import atomic

    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    if target == "-":
        sys.stdout.write(text + "\n")
        return
    with atomic(Path(target)) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
