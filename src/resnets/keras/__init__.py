"""The networks in Keras 3, built from the same specs and with the same weights as in PyTorch.

They take images ``N H W C`` and return logits; TensorFlow and JAX are tested. Where Keras computes
something else than PyTorch, it is only in training: its BatchNorm averages the biased variance of
the batches, PyTorch's the unbiased one, which is n / (n − 1) times as large for n values a channel.

Where PyTorch is to compile for a GPU in the same process, import this before ``keras``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from resnets.errors import UserError
from resnets.llvm import load_triton

__all__ = ["create_model", "from_model", "get_state", "save_model", "set_state"]


if TYPE_CHECKING:
    from resnets.keras.files import from_model, save_model


class KerasMissing(UserError, ImportError):
    """Keras or its backend is not installed."""


load_triton()
try:
    from resnets.keras.build import create_model
    from resnets.keras.weights import get_state, set_state
except ImportError as error:
    raise KerasMissing(
        f"resnets.keras needs Keras 3 and a backend ({error}): pip install 'resnets[keras]'"
    ) from error


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str) -> Any:
    if name in ("from_model", "save_model"):  # model files are read by PyTorch, which is not needed
        return getattr(import_module("resnets.keras.files"), name)
    raise AttributeError(f"module 'resnets.keras' has no attribute {name!r}")
