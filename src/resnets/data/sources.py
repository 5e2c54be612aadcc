"""Open what the user names: a folder, a table, arrays, or a data set inside the package.

================================================  ==============================================
what is named                                     how it is read
================================================  ==============================================
``root/{train,val,test}/<class>/…``               the splits of the folders (`SPLIT_NAMES`)
``root/<class>/…``                                a seeded split
``root/*.{csv,parquet}``, no class folders        as a table; of several, each is the split that
                                                  its name starts with (``train-00000-of-00002``)
``root/{images,labels}.npy``, no class folders    as arrays, memory-mapped
``table.csv``, ``table.tsv``, ``table.parquet``   paths or image bytes, labels, perhaps a split
``arrays.npz``                                    ``x, y``, or ``x_train, y_train, x_test, …``
``(array N H W [C], labels)``                     arrays in memory
``(list of paths, labels)``                       image files
a name in `BUILTIN`                               data inside the package
================================================  ==============================================
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from resnets.data.arrays import read_memory, read_npy_folder, read_npz
from resnets.data.columns import SUFFIXES
from resnets.data.folders import SPLIT_NAMES, look, read_folders, split_of
from resnets.data.images import EXTENSIONS
from resnets.data.labels import index_labels
from resnets.data.samples import Dataset, Listing, Reader, Samples
from resnets.data.scan import find_images, is_hidden, unreadable
from resnets.data.split import SPLITS, Fractions, check, complete, from_table
from resnets.data.tables import read_split_table, read_tables
from resnets.errors import UserError, did_you_mean

__all__ = [
    "BUILTIN",
    "SPLIT_NAMES",
    "Dataset",
    "Reader",
    "Samples",
    "find_images",
    "open_dataset",
    "read_listing",
]

BUILTIN: Final[dict[str, str]] = {"sign-digits": "sign-digits/sign-digits.parquet"}
"""Data sets inside the package: name to path below `SAMPLES`."""

SAMPLES: Final = Path(__file__).with_name("samples")


def open_dataset(
    data: str | Path | tuple[Any, Any],
    *,
    seed: int = 0,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    split_table: str | Path | Mapping[str, str] | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
) -> Dataset:
    """Open a data source and split it; no image is read.

    Args:
        data: a path, a name in `BUILTIN`, or a pair of images and labels (see the table above).
        seed: of the split, where one is drawn.
        val_fraction, test_fraction: of each class, where the source has no such split; with train
            and test given, val is that fraction of train. 0 leaves the split out.
        split_table: the split of every sample by its id, as a mapping or a CSV or Parquet file
            with the columns ``id`` and ``split``; goes before what the source says.
        path_column, label_column: the columns of a table, where their names do not tell.

    Raises:
        UserError: for whatever cannot be opened, read, or learnt from.
    """
    fractions = Fractions(seed, val_fraction, test_fraction)
    listing, name, root = read_listing(data, path_column, label_column)
    classes, labels = index_labels(listing.class_names)
    samples = Samples(listing.ids, labels, listing.reader)
    kind, given = listing.kind, None
    if split_table is not None:
        kind, given = "split table", from_table(samples.ids, _split_table(split_table))
    elif listing.split_names is not None:
        given = np.asarray(listing.split_names, dtype="<U5")
    notes = check(samples, classes, given, root)
    splits, drawn = complete(samples, classes, given, fractions)
    return Dataset(
        name=name,
        root=root,
        classes=classes,
        splits={
            **{split: samples.subset(splits == split) for split in SPLITS if split in splits},
            "all": samples,
        },
        ignored=dict(listing.ignored),
        notes=(*listing.notes, *notes),
        split_info={
            "kind": "seeded" if len(drawn) == len(set(splits.tolist())) else kind,
            "drawn": drawn,
            "seed": seed,
            "val_fraction": val_fraction,
            "test_fraction": test_fraction,
        },
    )


def _split_table(source: str | Path | Mapping[str, str]) -> Mapping[str, str]:
    return source if isinstance(source, Mapping) else read_split_table(Path(source))


def read_listing(
    data: str | Path | tuple[Any, Any], path_column: str | None, label_column: str | None
) -> tuple[Listing, str, str]:
    """Return what is listed before any split, the name of the data, and the root to show.

    Raises:
        UserError: for whatever cannot be opened or read.
    """
    if isinstance(data, (tuple, list)):
        if len(data) != 2:
            raise UserError(f"data has {len(data)} parts: a pair is needed, images and labels")
        return read_memory(*data), "memory", "memory"
    path = _find(Path(os.fspath(data)))
    full = Path(os.path.abspath(path))
    name = full.stem if path.is_file() else full.name
    root = str(data) if path.is_relative_to(SAMPLES) else str(full)
    return _read_path(path, path_column, label_column), name or "data", root


def _find(path: Path) -> Path:
    """Return the path, or where a data set of that name is inside the package."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        name = str(path)
        if name in BUILTIN:
            return SAMPLES / BUILTIN[name]
        known = ", ".join(BUILTIN)
        raise UserError(
            f"{name} does not exist, nor is it a data set of the package ({known})"
            f"{did_you_mean(name, BUILTIN)}"
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error
    return path


def _read_path(path: Path, path_column: str | None, label_column: str | None) -> Listing:
    suffix = path.suffix.lower()
    if path.is_dir():
        return _read_folder(path, path_column, label_column)
    if suffix in SUFFIXES:
        return read_tables([(path, "")], path_column, label_column)
    if suffix == ".npz":
        return read_npz(path)
    raise UserError(
        f"{path} is no data set: name a folder, a table ({', '.join(SUFFIXES)}) or an .npz file"
    )


def _read_folder(root: Path, path_column: str | None, label_column: str | None) -> Listing:
    tree = look(root)
    listing = read_folders(tree)
    found = set(listing.class_names)
    only_splits = not tree.splits and all(map(split_of, found))
    tables = _files(root, SUFFIXES)
    if len(found) > 1 and not only_splits:
        notes = [f"{name} was not read: name it to use it" for name in tables]
        return replace(listing, notes=(*listing.notes, *notes))
    # A Hugging Face repository keeps its tables in data/.
    for folder, names in ((root, tables), (root / "data", _files(root / "data", SUFFIXES))):
        if names:
            return read_tables(_with_splits(folder, names), path_column, label_column)
    arrays = _files(root, (".npy",))
    if arrays:
        return read_npy_folder(root, arrays)
    if found and only_splits:
        raise UserError(
            f"{root} holds photos in {' and '.join(sorted(found))}, but no class folders there: "
            "put the photos of each class into a folder of its own, train/<class>/"
        )
    if not found:
        raise _no_photos(root, listing.ignored)
    return listing


def _files(folder: Path, suffixes: Sequence[str]) -> list[str]:
    """Return the names of the visible files in `folder` with one of the suffixes, sorted."""
    if not folder.is_dir():
        return []
    names = (name for name in sorted(os.listdir(folder)) if not is_hidden(name))
    return [name for name in names if os.path.splitext(name)[1].lower() in suffixes]


def _with_splits(folder: Path, names: Sequence[str]) -> list[tuple[Path, str]]:
    """Pair each table with the split that its name starts with, if there are several."""
    splits = [split_of(re.split("[-_.]", name)[0]) for name in names]
    if len({Path(name).suffix.lower() for name in names}) > 1 or any(splits) != all(splits):
        raise UserError(f"{folder} holds several tables ({', '.join(names)}): name one of them")
    if len(names) == 1:
        return [(folder / names[0], "")]
    if not any(splits) and not names[0].lower().endswith(".parquet"):
        raise UserError(f"{folder} holds several tables ({', '.join(names)}): name one of them")
    return [(folder / name, split) for name, split in zip(names, splits, strict=True)]


def _no_photos(root: Path, ignored: Mapping[str, int]) -> UserError:
    loose = ignored.get("photos outside class folders", 0)
    if loose:
        return UserError(
            f"{root} holds {loose:,} photos, but no class folders: put the photos of each class "
            "into a folder of its own"
        )
    if not ignored:
        return UserError(f"{root} is empty: it should hold a folder of photos for each class")
    passed = ", ".join(f"{count:,} {what}" for what, count in ignored.items())
    return UserError(
        f"{root} holds no photos ({passed}): it should hold a folder of photos for each class; "
        f"photos end in {', '.join(sorted(EXTENSIONS))}"
    )
