"""The networks in Keras 3, built from the same specs and with the same weights as in PyTorch.

They take images ``N H W C`` and return logits; TensorFlow and JAX are tested. Where Keras computes
something else than PyTorch, it is only in training: its BatchNorm averages the biased variance of
the batches, PyTorch's the unbiased one, which is n / (n − 1) times as large for n values a channel.

Where PyTorch is to train in the same process, import this before ``keras``.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from resnets.errors import UserError

__all__ = ["create_model", "from_model", "get_state", "save_model", "set_state"]


if TYPE_CHECKING:
    from resnets.keras.files import from_model, save_model


class KerasMissing(UserError, ImportError):
    """Keras or its backend is not installed."""


# Triton, which PyTorch loads with its first optimiser, crashes the process if TensorFlow is in it
# already: each brings a copy of LLVM. The other way round they get on.
if "tensorflow" not in sys.modules:
    with suppress(ImportError):
        import_module("triton")
try:
    from resnets.keras.build import create_model
    from resnets.keras.weights import get_state, set_state
except ImportError as error:
    raise KerasMissing(
        f"resnets.keras needs Keras 3 and a backend ({error}): pip install 'resnets[keras]'"
    ) from error


def __getattr__(name: str) -> Any:
    if name in ("from_model", "save_model"):  # model files are read by PyTorch, which is not needed
        return getattr(import_module("resnets.keras.files"), name)
    raise AttributeError(f"module 'resnets.keras' has no attribute {name!r}")
