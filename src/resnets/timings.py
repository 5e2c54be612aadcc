"""What was measured on this machine, kept from one run to the next. Standard library only."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from resnets.errors import UserError
from resnets.files import atomic, cache_folder


def recall(key: str) -> dict[str, Any] | None:
    """Return what was remembered under `key`; None if nothing was, or its file is damaged.

    The key says all that the value depends on: hardware, versions, network, shapes.
    """
    try:
        found = json.loads(_path(key).read_text(encoding="utf-8"))
        value = found["value"] if found["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def remember(key: str, value: dict[str, Any]) -> None:
    """Keep a JSON value under `key`, in place of what was there.

    Where nothing can be written, such as in a read-only home, it is measured again next time.
    """
    path = _path(key)
    text = json.dumps({"key": key, "value": value}, indent=1, ensure_ascii=False)
    with suppress(OSError, UserError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def _path(key: str) -> Path:
    """Return a file below ``$XDG_CACHE_HOME/resnets`` or ``~/.cache/resnets``."""
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    return cache_folder() / "timings" / f"{name}.json"
