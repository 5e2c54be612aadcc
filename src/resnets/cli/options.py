"""Options that several verbs share, and how their values are read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from resnets.errors import UserError
from resnets.training.processes import launched

Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; the best if not given.")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Threads that decode photos; one a core if not given.")
]
Processes = Annotated[
    int | None,
    typer.Option("--nproc", min=1, help="Processes on this machine that train together."),
]
Engine = Annotated[
    str | None, typer.Option(help="auto (the fastest), torch, openvino or onnxruntime.")
]
Precision = Annotated[
    str | None, typer.Option(help="fp32 or bf16; a model that is quantised has its own.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite outputs that exist.")]
Json = Annotated[
    str | None, typer.Option("--json", metavar="F", help="Write JSON to F, or - for the screen.")
]
PathColumn = Annotated[str | None, typer.Option(help="Column of a table that holds the paths.")]
LabelColumn = Annotated[str | None, typer.Option(help="Column of a table that holds the labels.")]


def pairs(settings: Iterable[str]) -> dict[str, str]:
    """Read ``key=value`` settings."""
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UserError(f"--set {setting}: write --set field=value")
        values[key.strip().replace("-", "_")] = value.strip()
    return values


def spread(processes: int | None) -> None:
    """Run this very command in several processes and exit, unless this is one of them."""
    if processes is None or processes == 1 or launched():
        return
    from resnets.training.launch import launch

    raise typer.Exit(launch(sys.argv[1:], processes))


def check_output(option: str, path: Path | None, force: bool, endings: Iterable[str] = ()) -> None:
    """Refuse an output that exists, or has none of the endings, before any work is done for it.

    What is wrong begins with the `option` that names it. Endings count in any case.
    """
    if path is None or path == Path("-"):  # standard output
        return
    named, known = f"{option} {path}", [*endings]
    if path.is_dir():
        raise UserError(f"{named} is a folder: name a file in it")
    if known and path.suffix.lower() not in known:
        raise UserError(f"{named}: name a file that ends in {_either(known)}")
    if path.exists() and not force:
        raise UserError(f"{named} exists: choose another name, or --force to overwrite it")
    check_parent(option, path)


def check_parent(option: str, path: Path) -> None:
    """Refuse an output in a folder that is not there."""
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: {path.parent} is not a folder: create it first")


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def check_apart(outputs: Iterable[Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Refuse outputs that are each other, or what is read: not even --force may destroy that."""
    read = [Path(name).resolve() for name in inputs if name is not None]
    taken: set[Path] = set()
    for output in outputs:
        if output is None or output == Path("-"):
            continue
        full = output.resolve()
        if full in taken:
            raise UserError(f"{output} is named for two outputs: name two files")
        taken.add(full)
        among = [source for source in read if source in full.parents and full.is_file()]
        if full in read or (among and full.suffix.lower() not in (".html", ".json")):
            raise UserError(f"{output} is what is read here: name another file")


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
