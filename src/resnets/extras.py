"""Libraries that only some installations have, and what they would do unasked. Standard library
only."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from resnets.errors import UserError

TELEMETRY = "openvino_telemetry"
"""What OpenVINO and NNCF would tell their makers with, over the network; both work without it."""


def library(name: str, extra: str, purpose: str) -> Any:
    """Import an optional dependency.

    Args:
      name: the module's.
      extra: this package's extra that it is in.
      purpose: what needs it, as the error begins: ``model.onnx: reading it``.

    Raises:
      UserError: it is not installed, or cannot be imported.
    """
    reports = sys.modules.pop(TELEMETRY, None)
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # which makes importing it fail
    try:
        return importlib.import_module(name)
    except ImportError:
        raise _missing(name, extra, purpose) from None
    finally:
        del sys.modules[TELEMETRY]
        if reports is not None:  # the user has imported it
            sys.modules[TELEMETRY] = reports


def require(names: Iterable[str], extra: str, purpose: str) -> None:
    """Raise `library`'s error now where a dependency is not there, before any work is done."""
    for name in names:
        if not installed(name):
            raise _missing(name, extra, purpose)


def installed(name: str) -> bool:
    """Tell whether there is such a module, without importing it."""
    return importlib.util.find_spec(name) is not None


def version(name: str) -> str:
    """Return a library's version, or nothing where its package has another name than it."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _missing(name: str, extra: str, purpose: str) -> UserError:
    return UserError(f"{purpose} needs {name}; pip install 'resnets[{extra}]'")
