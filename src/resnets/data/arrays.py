"""NumPy arrays: in memory, in an ``.npz`` file, or a folder of ``.npy`` files."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from resnets.data.folders import SPLIT_NAMES
from resnets.data.labels import name_labels
from resnets.data.paths import list_paths
from resnets.data.samples import ArrayReader, Listing
from resnets.data.scan import unreadable
from resnets.errors import UserError

ROLES: Final = {"x": "images", "images": "images", "y": "labels", "labels": "labels"}


def read_npz(file: Path) -> Listing:
    """List the images of an ``.npz`` file: ``x, y``, or ``x_train, y_train, x_test, …``.

    Raises:
        UserError: for a broken file, Python objects, arrays that do not belong together.
    """
    try:
        # NumPy itself would leave a broken file open.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return _list_named(
                file, arrays.files, lambda key: _load(f"{key} of {file}", key, arrays.__getitem__)
            )
    except OSError as error:
        raise unreadable(file, error) from error
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
        raise UserError(f"{file} cannot be read as an .npz file: {error}") from error


def read_npy_folder(folder: Path, files: Sequence[str]) -> Listing:
    """List the images of a folder with ``images.npy`` and ``labels.npy``; they stay on disk.

    Raises:
        UserError: as `read_npz`.
    """

    def load(key: str) -> np.ndarray:
        return np.asarray(np.load(folder / f"{key}.npy", mmap_mode="r", allow_pickle=False))

    try:
        return _list_named(
            folder,
            [name.removesuffix(".npy") for name in files],
            lambda key: _load(f"{key}.npy of {folder}", key, load),
        )
    except OSError as error:
        raise unreadable(folder, error) from error


def read_memory(images: Any, labels: Any) -> Listing:
    """List images in memory, ``N H W [C]``, or a list of their paths; with ``N`` labels.

    Raises:
        UserError: if the two differ in length, or either cannot be used.
    """
    if len(images) == 0:
        raise UserError("the list of images is empty: give two classes of photos at least")
    # As objects, or NumPy would make the string "nan" of a missing label among names.
    boxed = np.asarray(labels, dtype=object if isinstance(labels, (list, tuple)) else None)
    names = name_labels(boxed, "the labels")
    paths = _as_paths(images)
    if paths is not None:
        _check_lengths("the list of paths", len(paths), "the labels", len(names))
        places = [f"row {i}" for i in range(len(paths))]
        listing = list_paths(Path(), paths, names, None, "the list of paths", places)
        return replace(listing, kind="arrays")
    array = _check_images(np.asarray(images), "the array of images")
    _check_lengths("the array of images", len(array), "the labels", len(names))
    ids = tuple(f"row {i}" for i in range(len(array)))
    return Listing(ids, ArrayReader((array,), ("memory",)), names, kind="arrays")


def _as_paths(images: Any) -> list[str] | None:
    """Return the paths that a list, tuple or array ``N`` holds, or None if it holds none."""
    if isinstance(images, np.ndarray):
        images = images.tolist() if images.ndim == 1 else ()
    if not isinstance(images, (list, tuple)) or not images:
        return None
    paths = [os.fspath(x) for x in images if isinstance(x, (str, os.PathLike))]
    return paths if len(paths) == len(images) else None


def _list_named(source: Path, keys: Sequence[str], load: Callable[[str], np.ndarray]) -> Listing:
    """List the arrays that belong together by their names, split by split."""
    found: dict[str, dict[str, str]] = {}
    for key in keys:
        role, split = _meaning(key)
        if role and key != found.setdefault(split, {}).setdefault(role, key):
            both = f"{found[split][role]} and {key}"
            raise UserError(f"{source} holds both {both}: keep one of them")
    names_found = ", ".join(sorted(keys)) or "nothing"
    if not found:
        raise UserError(
            f"{source} holds {names_found}: arrays named x and y, or images and labels, are needed "
            "(x_train, y_train, … for splits)"
        )
    for split, roles in found.items():
        if len(roles) < 2 or (split == "" and len(found) > 1):
            lone = ", ".join(roles.values())
            raise UserError(f"{source} holds {names_found}: {lone} has no part beside the others")
    ids: list[str] = []
    names: list[str] = []
    splits: list[str] = []
    arrays: list[np.ndarray] = []
    places: list[str] = []
    for split in sorted(found):
        x, y = found[split]["images"], found[split]["labels"]
        images = _check_images(load(x), f"{x} of {source}")
        labels = name_labels(load(y), f"{y} of {source}")
        _check_lengths(f"{x} of {source}", len(images), y, len(labels))
        ids += [f"{x} row {i}" if split else f"row {i}" for i in range(len(images))]
        names += labels
        splits += [split] * len(images)
        arrays.append(images)
        places.append(f"{source}#{x}" if split else str(source))
    return Listing(
        ids=tuple(ids),
        reader=ArrayReader(tuple(arrays), tuple(places)),
        class_names=names,
        split_names=splits if any(splits) else None,
        kind="arrays",
    )


def _meaning(key: str) -> tuple[str, str]:
    """Return role and split of an array called ``x``, ``x_train``, ``train_images``, …"""
    words = key.casefold().split("_")
    roles = [ROLES[word] for word in words if word in ROLES]
    splits = [SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES]
    if len(roles) != 1 or len(splits) > 1 or len(words) > len(roles) + len(splits):
        return "", ""
    return roles[0], "".join(splits)


def _check_images(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind not in "ufb":
        raise UserError(f"{where} holds {array.dtype}: uint8, uint16, bool or floats in [0, 1]")
    if array.ndim == 4 and array.shape[3] not in (1, 3, 4) and array.shape[1] in (1, 3, 4):
        raise UserError(
            f"{where} has shape {array.shape}, which looks like N C H W: images are N H W C; use "
            "np.moveaxis(x, 1, -1)"
        )
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3, 4)):
        raise UserError(f"{where} has shape {array.shape}: images are N H W, or N H W C (1, 3, 4)")
    return array


def _check_lengths(images: str, count: int, labels: str, others: int) -> None:
    if count != others:
        raise UserError(f"{images} has {count:,} rows, but {labels} {others:,}: one for each")


def _load(name: str, key: str, load: Callable[[str], np.ndarray]) -> np.ndarray:
    """Load one array; numpy refuses to unpickle objects, and says so in words of its own."""
    try:
        return load(key)
    except ValueError as error:
        raise UserError(
            f"{name} cannot be read as an array of numbers or strings ({error}): Python objects "
            "are never loaded"
        ) from error
