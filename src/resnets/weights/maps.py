"""Tensors of another project to ours and back, and finding out which network a file holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from resnets.checks import LARGEST
from resnets.errors import UserError, list_misfits
from resnets.layers import COUNTER, Conv, Layer, Linear, Shape
from resnets.spec import ResNetSpec
from resnets.weights.dialects import DIALECTS, Dialect
from resnets.weights.layouts import SAME, Change, change
from resnets.weights.readers.foreign import shown
from resnets.zoo import ZOO

MOST_IN_A_HEAD = 6
"""Tensors of a linear layer and a norm: a file without a classifier has so many fewer."""


@dataclass(frozen=True)
class Match:
    """What a file turned out to hold.

    `also` names the rows that the same names and shapes fit, but which compute something else (a
    stride in another place, say).
    """

    spec: ResNetSpec
    dialect: Dialect
    also: tuple[str, ...] = ()


def _changes(dialect: Dialect, spec: ResNetSpec) -> dict[str, tuple[str, Change, Shape]]:
    """Return, for each tensor of ours, its name in the dialect, its change and our shape."""
    shapes = spec.plan.tensors()
    return {
        name: (
            theirs,
            change(dialect.layout, layer, tensor),
            shapes[name],
        )
        for name, (theirs, layer, tensor) in dialect.tensors(spec).items()
    }


def to_theirs(dialect: Dialect, spec: ResNetSpec, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our state dict under the names and in the layouts of a dialect."""
    return {
        theirs: step.out(state[name]).contiguous()
        for name, (theirs, step, _) in _changes(dialect, spec).items()
    }


def to_ours(
    dialect: Dialect, spec: ResNetSpec, tensors: Mapping[str, Tensor], source: object
) -> dict[str, Tensor]:
    """Return a dialect's tensors as our state dict, with the counters that a file may lack.

    Raises:
      UserError: lists what is missing, extra or of another shape.
    """
    steps = _changes(dialect, spec)
    _check_fit(steps, dialect, spec, tensors, f"{source}: the weights")
    present = {
        name: _counted(name, step.back(tensors[theirs]).contiguous())
        for name, (theirs, step, _) in steps.items()
        if theirs in tensors
    }
    counters = (name for name in spec.plan.tensors() if name not in present)
    return present | {name: torch.zeros((), dtype=torch.int64) for name in counters}


def _counted(name: str, tensor: Tensor) -> Tensor:
    """Return a counter as an integer: who casts a whole state dict to half precision casts it."""
    return tensor.long() if name.endswith(COUNTER) else tensor


def _check_fit(
    steps: Mapping[str, tuple[str, Change, Shape]],
    dialect: Dialect,
    spec: ResNetSpec,
    tensors: Mapping[str, Tensor],
    what: str,
) -> None:
    """Raise UserError, which lists what keeps tensors from fitting, if anything does."""
    if misfits := list_misfits(*_misfits(steps, tensors)):
        raise UserError(f"{what} do not fit {spec.name} ({dialect.name}); {misfits}")


def _misfits(
    steps: Mapping[str, tuple[str, Change, Shape]], tensors: Mapping[str, Tensor]
) -> tuple[list[str], list[str], list[str]]:
    """Return the names that are missing, extra, and of another shape."""
    missing, other = [], []
    for name, (theirs, step, shape) in steps.items():
        if theirs in tensors:
            found, expected = [*tensors[theirs].shape], [*_their_shape(step, shape)]
            if found != expected:
                other.append(f"{theirs} {found} for {expected}")
        elif not name.endswith(COUNTER):
            missing.append(theirs)
    known = {theirs for theirs, _, _ in steps.values()}
    extra = [name for name in tensors if name not in known and not name.endswith(COUNTER)]
    return missing, extra, other


def _their_shape(step: Change, shape: Shape) -> Shape:
    return tuple(step.out(torch.empty(shape, device="meta")).shape)


# -- recognition --------------------------------------------------------------------------------


def recognise(
    tensors: Mapping[str, Tensor],
    source: object,
    rows: Sequence[ResNetSpec],
) -> Match:
    """Find out which of `rows` a file holds, and in which dialect, from names and shapes.

    Args:
      tensors: as the file holds them.
      source: the file, for messages.
      rows: the specs that it may be, the likeliest first.

    Raises:
      UserError: nothing fits; then it lists what is missing, extra or of another shape.
    """
    fits = [
        (spec, dialect)
        for row in rows
        for dialect in DIALECTS.values()
        if dialect.speaks(row) and (spec := _fitted(dialect, row, tensors)) is not None
    ]
    if not fits:
        _explain(rows, tensors, source)
    # All rows of the first dialect that fits at all: one file has one dialect.
    _, dialect = fits[0]
    specs = {spec.name: spec for spec, other in fits if other is dialect}
    name, *also = specs
    return Match(specs[name], dialect, tuple(also))


def _fitted(dialect: Dialect, spec: ResNetSpec, tensors: Mapping[str, Tensor]) -> ResNetSpec | None:
    """Return the row with the classes and channels of a file, or None where it does not fit."""
    # Counted before they are compared, as most rows have not even as many.
    count = sum(not name.endswith(COUNTER) for name in tensors)
    own = sum(not name.endswith(COUNTER) for name in spec.plan.tensors())
    if abs(own - count) > MOST_IN_A_HEAD:
        return None
    spec = _with_sizes(dialect, spec, tensors)
    return None if any(_misfits(_changes(dialect, spec), tensors)) else spec


def _with_sizes(dialect: Dialect, spec: ResNetSpec, tensors: Mapping[str, Tensor]) -> ResNetSpec:
    """Return a row with the number of classes and channels that a file has."""
    changes = _changes(dialect, spec)

    def size(kind: type[Layer], axis: int, default: int) -> int:
        """Return the length of an axis of the first such layer's weight, as we lay it out."""
        layers = (name for name, layer in spec.plan.layers() if isinstance(layer, kind))
        theirs, step, shape = changes.get(f"{next(layers, None)}.weight", (None, SAME, ()))
        found = tensors.get(theirs) if theirs else None
        if found is None or found.ndim != len(_their_shape(step, shape)):
            return default
        return int(step.back(found).shape[axis])

    channels, classes = size(Conv, 1, spec.in_channels), size(Linear, 0, 0)
    if not (0 < channels <= LARGEST and classes <= LARGEST):
        return spec
    return spec.replace(in_channels=channels, num_classes=classes)


def _explain(rows: Sequence[ResNetSpec], tensors: Mapping[str, Tensor], source: object) -> None:
    """Raise the error that says how the nearest row differs."""
    best: tuple[int, ResNetSpec, Dialect] | None = None
    for row in rows:
        for dialect in DIALECTS.values():
            if not dialect.speaks(row):
                continue
            spoken = (theirs for theirs, _, _ in dialect.tensors(row).values())
            names = {name for name in spoken if not name.endswith(COUNTER)}
            shared = len(names & set(tensors)) - len(names - set(tensors))
            if best is None or shared > best[0]:
                best = shared, row, dialect
    assert best is not None  # every row is spoken of in torchvision's names
    shared, row, dialect = best
    if len(rows) > 1 and shared < 0:  # most names of the nearest row are missing
        first = ", ".join(shown(name) for name in list(tensors)[:3])
        raise UserError(
            f"{source}: the weights are of no network known here (they begin with {first}); if "
            "they are of a row of `resnets models`, --arch says what keeps them from fitting"
        )
    other = _other(row, tensors) if len(rows) == 1 else ""
    whose = f"{source}: the weights" + (f" are a {other}'s, and" if other else "")
    sized = _with_sizes(dialect, row, tensors)
    _check_fit(_changes(dialect, sized), dialect, sized, tensors, whose)
    raise UserError(f"{source}: the weights are of no network known here")


def _other(row: ResNetSpec, tensors: Mapping[str, Tensor]) -> str:
    """Return the name of the other row that the weights are of, or nothing."""
    try:
        found = recognise(tensors, "", [other.spec for other in ZOO.values()]).spec.name
    except UserError:
        return ""
    return found if found != row.name else ""
