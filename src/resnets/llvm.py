"""Triton and TensorFlow in one process: each brings a copy of LLVM.

Triton, which PyTorch loads with its first optimiser and with torchvision, crashes the process if
TensorFlow is in it already. The other way round they get on.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module


def block_triton() -> None:
    """Let PyTorch do without Triton if TensorFlow was there first; it compiles for GPUs only."""
    if "tensorflow" in sys.modules and "triton" not in sys.modules:
        sys.modules["triton"] = None  # type: ignore[assignment]  # to import it raises ImportError


def load_triton() -> None:
    """Load Triton, if there is one, before TensorFlow comes; too late, do without."""
    block_triton()
    with suppress(ImportError):
        import_module("triton")
