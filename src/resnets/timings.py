"""What was measured on this machine, kept in the user's cache folder. Standard library only.

Forgetting costs a measurement and nothing else: a file that is damaged, or of another kind, counts
as empty, and one that cannot be written is left alone.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from resnets.errors import UserError
from resnets.files import atomic, cache_folder

NAME = "timings.json"
KEPT = 256
"""Measurements that are kept: the latest."""
MAX_BYTES = 2**24


def recall(key: str) -> dict[str, Any] | None:
    """Return what was remembered under a key, or None. It is data from a file: check it."""
    value = _read().get(key)
    return value if isinstance(value, dict) else None


def remember(key: str, value: dict[str, Any]) -> None:
    """Keep a measurement under a key, which says all that it depends on. Values are JSON's."""
    known = {k: v for k, v in _read().items() if k != key} | {key: value}
    text = json.dumps(dict(list(known.items())[-KEPT:]), indent=1, allow_nan=False)
    with suppress(UserError, OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        with atomic(_file()) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def _file() -> Path:
    return cache_folder() / NAME


def _read() -> dict[str, Any]:
    try:
        with _file().open("rb") as file:
            values = json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
