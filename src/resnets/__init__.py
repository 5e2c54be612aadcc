"""Residual networks, from the papers to a model that people can trust and run.

Names are imported when they are first used, so that ``import resnets`` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from resnets.errors import UserError
from resnets.llvm import block_triton
from resnets.spec import ResNetSpec
from resnets.version import VERSION as __version__
from resnets.zoo import list_models

if TYPE_CHECKING:
    from resnets.estimator import ResNetClassifier
    from resnets.experiment import resume, train
    from resnets.predict import load
    from resnets.weights.create import create_model

_LAZY = {
    "ResNetClassifier": "resnets.estimator",
    "create_model": "resnets.weights.create",
    "load": "resnets.predict",
    "resume": "resnets.experiment",
    "train": "resnets.experiment",
}

__all__ = [
    "ResNetClassifier",
    "ResNetSpec",
    "UserError",
    "__version__",
    "create_model",
    "list_models",
    "load",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'resnets' has no attribute {name!r}")
    block_triton()
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
