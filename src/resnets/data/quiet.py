"""Silence for Pillow's warnings about odd files, in a way that threads can share."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

_IGNORE: Final = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_lock = threading.Lock()
_inside = 0


@contextmanager
def pillow_warnings_ignored() -> Iterator[None]:
    """Ignore warnings raised from within Pillow while any thread is inside.

    `warnings.catch_warnings` swaps the list of filters of the whole process, so two threads that
    overlap restore each other's. Here the first thread in adds one filter and the last one out
    takes it away; every other filter, whoever adds it meanwhile, is left alone.
    """
    _step(+1)
    try:
        yield
    finally:
        _step(-1)


def _step(by: int) -> None:
    global _inside
    with _lock:
        _inside += by
        filters = cast("list[Any]", warnings.filters)
        # Not only at 0 and 1: another thread may have swapped the list in between.
        if _inside and _IGNORE not in filters:
            filters.insert(0, _IGNORE)
        elif not _inside and _IGNORE in filters:
            filters.remove(_IGNORE)
