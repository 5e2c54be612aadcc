from __future__ import annotations

import os
import subprocess
import sys

import pytest

GLIBC = sys.platform == "linux" and "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")
FAULTS = """
import ctypes, resource
from resnets.training.memory import keep_pages
print(keep_pages())
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
for _ in range(10):
    block = libc.malloc(2**24)
    ctypes.memset(block, 1, 2**24)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> tuple[str, int]:
    """Return what `keep_pages` says, and the page faults of ten times 16 MiB in turn."""
    command = [sys.executable, "-c", FAULTS]
    environment = os.environ | environment
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    said, count = done.stdout.split()
    return said, int(count)


@pytest.mark.skipif(not GLIBC, reason="of glibc's malloc")
def test_freed_memory_is_used_again() -> None:
    pages = 2**24 // os.sysconf("SC_PAGE_SIZE")
    said, kept = faults()
    assert said == "True"
    assert kept < 2 * pages
    said, given_back = faults(GLIBC_TUNABLES="glibc.malloc.mmap_threshold=1000000")
    assert said == "False"  # the user has decided
    assert given_back > 5 * pages
