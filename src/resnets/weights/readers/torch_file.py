"""PyTorch's checkpoints (.pt, .pth, .th, .bin), zip or legacy: pickles, read without running them.

Facts: ``wrappers`` (the keys on the way to the weights, outermost first), ``also`` (other weights
beside those taken, such as an average of them), ``prefix`` (what was taken off every name),
``entries`` (whatever else is plain data: epoch, arch, accuracy) and ``ignored`` (what is not).
"""

from __future__ import annotations

import argparse
import math
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnets.errors import UserError
from resnets.weights.readers import archive
from resnets.weights.readers.foreign import Content, Facts, Gathered, shown, strip_prefix

RAW = ("state_dict", "model", "model_state_dict", "net", "network", "module", "params")
AVERAGED = ("ema", "model_ema", "state_dict_ema", "ema_state_dict", "params_ema")
AVERAGES = "n_averaged"
"""The count that torch's AveragedModel has among its weights."""
MAX_NESTING = 4
MAX_ENTRY = 10_000
"""Values in an entry, and characters in a string, beyond which it is not a fact but a load."""


def read(path: Path, entry: str | None = None) -> Content:
    """Read a checkpoint with `torch.load(weights_only=True)`.

    Of several sets of weights, `entry` says which; else it is the raw ones before averages.

    Raises:
      UserError: it holds anything but tensors and plain data, or no weights, or none at `entry`.
    """
    state, facts = _unwrap(path, _load(path), entry)
    state.pop(AVERAGES, None)
    into = Gathered(path, path.stat().st_size)
    for name, value in state.items():
        # Unbound, as a pickle may hang attributes on a parameter, with any name.
        tensor = Tensor.detach(value)
        into.expect(name, _dtype(value, tensor), tensor.shape)
        # Cloned, as it may be a view of the file, or of a larger tensor.
        into.add(name, tensor.clone(memory_format=torch.contiguous_format))
    tensors, prefix = strip_prefix(into.tensors)
    return tensors, facts | {"prefix": prefix}


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":  # where torch.load goes by the name
        raise UserError(f"{path}: a PyTorch checkpoint in spite of its name; rename it to .pth")
    with path.open("rb") as file:
        zipped = file.read(4) == archive.MAGIC
    if zipped:
        _check_zip(path)
    with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
        warnings.simplefilter("ignore")  # of an odd pickle protocol, before it says the same
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL ([\w.]+)", str(error))
            raise UserError(
                f"{path}: {f'holds objects ({found[1]})' if found else 'not plain weights'}, and "
                "is never unpickled; ask its author for safetensors or a state dict"
            ) from None


def _check_zip(path: Path) -> None:
    with archive.opened(path) as file:
        if any(name.endswith("constants.pkl") for name in file.namelist()):
            raise UserError(f"{path}: TorchScript, which is code; ask its author for a state dict")
        if any(member.compress_type != zipfile.ZIP_STORED for member in file.infolist()):
            raise UserError(f"{path}: packed by something other than PyTorch")
        # torch.load checks neither checksums nor, with mmap, how long a record is.
        if damaged := file.testzip():
            raise UserError(f"{path}: damaged ({shown(damaged)} does not match its checksum)")


def _dtype(value: Tensor, tensor: Tensor) -> torch.dtype | str:
    if type(value) not in (Tensor, nn.Parameter) or tensor.device.type != "cpu":
        return f"{tensor.dtype} of a special kind"
    plain = tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_nested
    return tensor.dtype if plain else f"{tensor.dtype} of a special kind"


def _unwrap(path: Path, value: object, chosen: str | None) -> tuple[dict[str, Tensor], Facts]:
    """Go through wrappers to the state dict. Raises UserError where there is none."""
    wrappers: list[str] = []
    also: list[str] = []
    entries: dict[str, Any] = {}
    while isinstance(value, Mapping) and (inner := _wrappers(value, MAX_NESTING - len(wrappers))):
        taken = chosen if chosen in inner else inner[0]
        wrappers.append(taken)
        also += [key for key in inner if key != taken]
        entries |= {str(key): entry for key, entry in value.items() if key not in inner}
        value = value[taken]
    if not isinstance(value, Mapping):
        raise UserError(f"{path}: holds a {type(value).__name__}, not a state dict")
    state = {key: entry for key, entry in value.items() if isinstance(entry, Tensor)}
    if not state or not all(isinstance(key, str) for key in state):
        raise UserError(f"{path}: holds no state dict (tensors by name)")
    entries |= {str(key): entry for key, entry in value.items() if key not in state}
    plain: dict[str, Any] = {}
    ignored = []
    for key, entry in entries.items():
        try:
            plain[key] = _plain(entry, iter(range(MAX_ENTRY)))
        except (TypeError, StopIteration, RecursionError):
            ignored.append(key)
    return state, {"wrappers": wrappers, "also": also, "entries": plain, "ignored": ignored}


def _wrappers(value: Mapping[Any, Any], depth: int) -> list[str]:
    """Return the keys of a checkpoint that lead to weights, the one to take first."""
    return [key for key in (*RAW, *AVERAGED) if depth and _has_weights(value.get(key), depth - 1)]


def _has_weights(value: object, depth: int) -> bool:
    if not isinstance(value, Mapping):
        return False
    return any(isinstance(v, Tensor) for v in value.values()) or bool(_wrappers(value, depth))


def _plain(value: object, room: Iterator[int]) -> Any:
    """Return a value as JSON has it. Raises TypeError if it cannot, StopIteration if too large."""
    next(room)
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, Tensor) and value.numel() == 1:
        value = Tensor.item(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, str) and len(value) <= MAX_ENTRY:
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, room) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, room) for key, item in value.items()}
    raise TypeError(type(value).__name__)
