"""Libraries that only some installations have, and what they would do unasked. Standard library
only."""

from __future__ import annotations

import importlib
import importlib.util
import sys
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
    reports = TELEMETRY not in sys.modules
    if reports:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # which makes importing it fail
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"{purpose} needs {name}; pip install 'resnets[{extra}]'") from None
    finally:
        if reports:
            del sys.modules[TELEMETRY]


def installed(name: str) -> bool:
    """Tell whether there is such a module, without importing it."""
    return importlib.util.find_spec(name) is not None
