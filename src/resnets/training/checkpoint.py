"""Checkpoints: everything that a run is at a moment, verified and never half written.

A generation is a folder ``checkpoints/<number>``, counted up, with ``tensors.safetensors``,
``state.json`` and ``manifest.json`` (the SHA-256 of the other two). It is written under another
name, synced and renamed; two generations are kept, so that a damaged one is never the only one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from resnets.errors import UserError
from resnets.files import as_usual, sync

KEEP = 2
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"


def save(folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Write the next generation and drop the oldest beyond two.

    Raises:
      UserError: it cannot be written (no space, no permission); older generations are untouched.
    """
    target = folder / f"{_newest(folder) + 1:08d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder, prefix=".writing-"))
        try:
            on_cpu = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
            save_file(on_cpu, draft / TENSORS)
            (draft / STATE).write_text(json.dumps(state), encoding="utf-8")
            digests = {name: _sha256(draft / name) for name in (TENSORS, STATE)}
            (draft / MANIFEST).write_text(json.dumps(digests), encoding="utf-8")
            for name in (TENSORS, STATE, MANIFEST):
                as_usual(draft / name)
                sync(draft / name)
            as_usual(draft)
            sync(draft)
            draft.rename(target)
            sync(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"cannot write the checkpoint {target}: {error}") from None
    for old in generations(folder)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def generations(folder: Path) -> list[Path]:
    """Return the generations of a run, oldest first."""
    return sorted(path for path in folder.glob("*") if path.name.isdecimal() and path.is_dir())


def _newest(folder: Path) -> int:
    """Return the number of the newest generation, also of one that was set aside; 0 for none."""
    return max((int(p.stem) for p in folder.glob("*") if p.stem.isdecimal()), default=0)


def load_newest(
    folder: Path, warn: Callable[[str], None]
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the newest generation that verifies, or None if there are none at all.

    Once an older one has verified, damaged ones are set aside as ``<number>.damaged``, so that they
    count as none of the two that are kept; drafts that a kill has left are removed.

    Raises:
      UserError: there are generations, and every one of them is damaged.
    """
    found, damaged = generations(folder), []
    for draft in folder.glob(".writing-*"):
        shutil.rmtree(draft, ignore_errors=True)
    for path in reversed(found):
        try:
            digests = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            for name in (TENSORS, STATE):
                if _sha256(path / name) != digests[name]:
                    raise ValueError(f"{name} does not match its SHA-256")
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
            tensors = load_file(path / TENSORS)
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            warn(f"checkpoint {path} is damaged ({error})")
            damaged.append(path)
            continue
        for bad in damaged:
            with suppress(OSError):
                bad.rename(bad.with_suffix(".damaged"))
        return tensors, state
    if found:
        raise UserError(
            f"{folder}: every checkpoint is damaged, and the run cannot be resumed; its best "
            f"weights are in {folder.parent / 'best.safetensors'}, if there have been any"
        )
    return None


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten an optimiser's state: ``0.momentum_buffer`` and the like."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{key}": value for i, slots in state.items() for key, value in slots.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put an optimiser back into the state that `optimizer_tensors` flattened."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    # A fused step walks memory, not indices: a slot that is laid out other than its weights (these
    # are channels-last, a file is not) would silently be applied to the wrong ones.
    for parameter, slots in optimizer.state.items():
        for key, value in slots.items():
            if value.shape == parameter.shape:
                slots[key] = torch.empty_like(parameter).copy_(value)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
