"""The command line: one module a verb, each importing what is heavy inside the verb."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import typer

from resnets.cli import check, convert, describe, evaluate, explain, models, predict, resume, train
from resnets.errors import Interrupted, UserError
from resnets.files import on_screen
from resnets.training.processes import launched, rank
from resnets.version import VERSION

app = typer.Typer(
    name="resnets",
    help="Residual networks: train on a folder of photos, evaluate honestly, use anywhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
USAGE: Any = typer.BadParameter.__base__
"""What a mistyped command raises: click's UsageError, which typer has under names of its own."""

VERBS = (check, train, resume, evaluate, explain, predict, convert, models, describe)
for verb in VERBS:
    app.command(verb.__name__.rpartition(".")[2])(verb.command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"resnets {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_print_version, help="Show the version."
    ),
) -> None:
    if debug:
        os.environ["RESNETS_DEBUG"] = "1"


def main() -> None:
    """Run the command line; what the user can mend is one line and exit status 2."""
    # Torch's threads wait for each other by spinning, for milliseconds unless told otherwise before
    # it is loaded: beside any busy program a step then takes ten times as long (docs/log.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    # Without it cuBLAS may sum in another order each time; it too is read when torch is loaded.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if launched():
        # DDP would note that every parameter is used, which is why it is not told so.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault(
        "TF_CPP_MIN_LOG_LEVEL", "3"
    )  # or `convert --to keras` is drowned in notes
    try:
        sys.exit(app(standalone_mode=False))
    except USAGE as error:
        _explain_usage(error)
    except UserError as error:
        _fail(f"error: {error}", 2)
    except Interrupted as stop:
        if str(stop):  # one of several processes speaks for all
            print(on_screen(str(stop)))
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:  # a disk that fills up, a drive that is pulled out
        _fail(f"error: {error}", 2)
    except MemoryError:
        _fail("error: out of memory: try a smaller --batch-size or --size", 2)
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _explain_usage(error: Any) -> None:
    """Say in one line what is wrong with a command; without any verb, show the help."""
    command = error.ctx.command_path if error.ctx else "resnets"
    if error.ctx and not error.ctx.parent and not sys.argv[1:]:
        print(error.ctx.get_help())
        sys.exit(2)
    message = " ".join(error.format_message().split()).rstrip(".")
    _fail(f"error: {message[:1].lower()}{message[1:]} (see {command} --help)", 2)


def _fail(message: str, status: int) -> None:
    if os.environ.get("RESNETS_DEBUG"):
        print(*map(on_screen, traceback.format_exc().splitlines()), sep="\n", file=sys.stderr)
    whose = f"process {rank()}" if rank() else "resnets"
    print(f"{whose}: {on_screen(message)}", file=sys.stderr)
    sys.exit(status)
