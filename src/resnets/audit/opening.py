"""Open data to be checked: as training does, and further where training would refuse."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.audit.findings import Findings
from resnets.audit.tables import find_table, table_rows
from resnets.data.folders import split_of
from resnets.data.labels import class_name, index_labels
from resnets.data.samples import FileReader, Labels, Listing, Reader
from resnets.data.scan import find_images
from resnets.data.sources import open_dataset, read_listing
from resnets.data.tables import read_split_table
from resnets.errors import UserError
from resnets.files import printable


@dataclass(frozen=True)
class Opened:
    """A data set to be checked.

    Attributes:
      name, root: as in `Dataset`; kind: as in `Listing`.
      ids, reader: as in `Listing`.
      classes, labels: as in `Dataset`; a photo of no class has the label -1.
      splits: of each photo ``train``, ``val``, ``test`` or, where nothing tells, an empty string.
      drawn: which of them training would draw, with seed 0.
      ignored: what was passed over, with how many.
    """

    name: str
    root: str
    kind: str
    ids: Sequence[str]
    reader: Reader
    classes: tuple[str, ...]
    labels: Labels
    splits: NDArray[np.str_]
    drawn: tuple[str, ...]
    ignored: Mapping[str, int]


def open_data(
    data: str,
    findings: Findings,
    *,
    path_column: str | None = None,
    label_column: str | None = None,
    **split: Any,
) -> Opened:
    """Open `data`; that training would refuse it is a finding, with the words that it would say.

    `split` holds what `open_dataset` takes of splits.

    Raises:
      UserError: there is nothing of which a single photo could be looked at, or the split table
        cannot be read.
    """
    columns: dict[str, Any] = {"path_column": path_column, "label_column": label_column}
    table = split.get("split_table")
    if isinstance(table, str | Path):  # one that cannot be read is no fault of the data
        split["split_table"] = read_split_table(Path(table))
    try:
        listing, name, root = read_listing(data, **columns)
    except UserError as error:
        path = Path(os.path.abspath(data))
        salvaged = _salvage(path, columns)
        if salvaged is None:
            raise
        findings.add("refused", str(path), detail=str(error))
        return _opened(salvaged, path.stem, str(path), None, (), findings)
    try:
        dataset = open_dataset(data, **columns, **split)
    except UserError as error:
        findings.add("refused", root, detail=str(error))
        return _opened(listing, name, root, None, (), findings)
    where = {i: k for k, part in dataset.splits.items() if k != "all" for i in part.ids}
    drawn = tuple(map(str, dataset.split_info["drawn"]))  # type: ignore[call-overload]
    return _opened(listing, name, root, [where[i] for i in listing.ids], drawn, findings)


def _opened(
    listing: Listing,
    name: str,
    root: str,
    splits: Sequence[str] | None,
    drawn: tuple[str, ...],
    findings: Findings,
) -> Opened:
    given = splits or listing.split_names or [""] * len(listing.ids)
    names = [label for label in listing.class_names if label]
    classes, known = index_labels(names)
    labels = np.full(len(listing.ids), -1, np.int64)
    labels[[bool(label) for label in listing.class_names]] = known
    return Opened(
        name=name,
        root=root,
        kind=listing.kind,
        ids=listing.ids,
        reader=listing.reader,
        classes=classes,
        labels=labels,
        splits=np.asarray(given, dtype="<U5").reshape(len(listing.ids)),
        drawn=drawn,
        ignored=listing.ignored,
    )


def _salvage(path: Path, columns: Mapping[str, str | None]) -> Listing | None:
    """Return what can be looked at of data that cannot be opened, or None."""
    table = find_table(path)
    if table is not None:
        rows = table_rows(table, **columns)
        if rows:
            first = {row.path: row for row in reversed(rows) if row.exists}
            paths = tuple(first)
            labels = [class_name(row.label) for row in first.values()]
            splits = [split_of(row.split) for row in first.values()]
            root = table.parent
            return _listing(root, paths, labels, splits, "table")
    if not path.is_dir():
        return None
    files = (file for file in find_images([path]) if not os.path.isdir(file))
    paths = tuple(sorted(os.path.relpath(file, path) for file in files))
    folders = [file.split("/")[:-1] for file in paths]
    splits = [split_of(parts[0]) if parts else "" for parts in folders]
    below = [parts[bool(split) :] for parts, split in zip(folders, splits, strict=True)]
    labels = [class_name(parts[0]) if parts else "" for parts in below]
    return _listing(path, paths, labels, splits, "folders")


def _listing(
    root: Path, paths: tuple[str, ...], labels: Sequence[str], splits: Sequence[str], kind: str
) -> Listing:
    return Listing(
        ids=tuple(map(printable, paths)),
        reader=FileReader(root, paths),
        class_names=labels,
        split_names=splits if any(splits) else None,
        kind=kind,
    )
