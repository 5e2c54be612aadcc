"""The one exception for mistakes that the user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What the user gave cannot be used; the message is one line that names it and the way out.

    The command line prints the message without a traceback and exits with status 2.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean a, b?"`` for the known words near `word`, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f"; did you mean {', '.join(near)}?" if near else ""
