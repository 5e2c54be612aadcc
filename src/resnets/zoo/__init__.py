"""The zoo: every architecture as a row of data, with what was published about it.

`ZOO["resnet50"]` is a `Row`: the spec, a line about it, and its published figures, each with its
source. Names follow the field: ``resnet50`` has its stride in the 3×3 (what torchvision and timm
ship), ``resnet50_v1`` in the first 1×1 (the paper's network), ``resnet50_v2`` is pre-activation.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from resnets.errors import UserError, did_you_mean
from resnets.spec import ResNetSpec
from resnets.zoo import imagenet, small
from resnets.zoo.rows import Figure, Row

__all__ = ["ZOO", "Figure", "Row", "get_spec", "list_models"]

ZOO: dict[str, Row] = {row.spec.name: row for row in (*imagenet.rows(), *small.rows())}


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the zoo that match a shell `pattern`, in the order of its rows.

    A pattern without ``*``, ``?`` or ``[`` matches anywhere in a name.
    """
    if not any(sign in pattern for sign in "*?["):
        pattern = f"*{pattern}*"
    return [name for name in ZOO if fnmatchcase(name, pattern)]


def get_spec(name: str) -> ResNetSpec:
    """Return the spec of a row. Raises UserError with the near names for one that is not there."""
    if name not in ZOO:
        hint = did_you_mean(name, ZOO) or "; `resnets models` lists them"
        raise UserError(f"unknown model {name!r}{hint}")
    return ZOO[name].spec
