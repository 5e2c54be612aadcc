"""The one exception for mistakes that the user can mend."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable

LISTED = 10
"""Names that an error lists before it counts the rest."""


class UserError(Exception):
    """What the user gave cannot be used; the message is one line that names it and the way out.

    The command line prints the message without a traceback and exits with status 2.
    """


class Interrupted(Exception):
    """The user stopped a run, which can be resumed; the message, if any, says how.

    The command line prints it and exits with status 130.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean a, b?"`` for the known words near `word`, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f"; did you mean {', '.join(near)}?" if near else ""


def list_misfits(missing: list[str], extra: list[str], other_shape: list[str]) -> str:
    """Return what keeps weights from fitting, in one line, or an empty string."""
    found = {"missing": missing, "extra": extra, "of another shape": other_shape}
    return "; ".join(f"{len(n)} {kind}: {_listed(n)}" for kind, n in found.items() if n)


def _listed(names: list[str]) -> str:
    limit = None if os.environ.get("RESNETS_DEBUG") else LISTED
    more = f" and {len(names) - LISTED} more (resnets --debug … lists all)"
    shown = (repr(name)[1:-1] for name in names[:limit])  # a file's names may hold line breaks
    return ", ".join(shown) + (more if limit and len(names) > limit else "")
