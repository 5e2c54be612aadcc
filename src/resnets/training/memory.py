"""Keeping the memory that activations have had, instead of asking the system for it every step."""

from __future__ import annotations

import ctypes
import os

OPTIONS = {
    "MALLOC_MMAP_THRESHOLD_": (-3, 2**25),
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1),
}
"""Of glibc's malloc: the variable by which a user sets one, its number in malloc.h, and our value.
Blocks of up to 32 MiB, which is the most, are no mappings of their own, and the heap's end is not
given back. Without any mappings steps are a little faster still, but the heap is in pieces, and its
peak higher by a tenth and more (docs/log.md)."""


def keep_pages() -> bool:
    """Let malloc keep freed memory for the next step; tell whether that could be done.

    By default glibc gives much of it back to the system as soon as it is freed, and the next step's
    first touch of each of its pages costs a fault. Elsewhere than in glibc, and for what the user
    has set in the environment, nothing is changed.
    """
    if not _glibc() or "GLIBC_TUNABLES" in os.environ:
        return False
    malloc = ctypes.CDLL(None)
    ours = [values for name, values in OPTIONS.items() if name not in os.environ]
    return [malloc.mallopt(number, value) for number, value in ours] == [1] * len(ours)


def give_back() -> None:
    """Return what is free to the system now, where that can be done."""
    if _glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # Windows; macOS and musl know no such name
        return False
