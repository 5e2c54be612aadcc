"""Lists of image paths with labels: checked, each image once."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from pathlib import Path

from resnets.data.samples import FileReader, Listing
from resnets.errors import UserError
from resnets.files import printable


def list_paths(
    root: Path,
    paths: Sequence[str],
    class_names: Sequence[str],
    splits: Sequence[str] | None,
    where: str,
    places: Sequence[str],
) -> Listing:
    """List image files at `paths`, relative to `root` or absolute.

    `where` names the origin of the list in errors, `places` that of each row.

    A row that says again what another has said is dropped and counted.

    Raises:
        UserError: for an image with two labels or in two splits, and for files that do not exist.
    """
    first: dict[str, int] = {}
    for row, path in enumerate(map(posixpath.normpath, paths)):
        earlier = first.setdefault(path, row)
        for what, values in (("labels", class_names), ("splits", splits)):
            if values is not None and values[earlier] != values[row]:
                raise UserError(
                    f"{where} gives {path} two {what}, {values[earlier]} in {places[earlier]} and "
                    f"{values[row]} in {places[row]} (from 0): keep one"
                )
    missing = [path for path in first if not os.path.exists(os.path.join(root, path))]
    if missing:
        some = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise UserError(
            f"{where} names {len(missing):,} of {len(first):,} files that do not exist in "
            f"{root}: {some}"
        )
    kept = tuple(first)
    repeated = len(paths) - len(kept)
    return Listing(
        ids=kept if all(map(str.isascii, kept)) else tuple(map(printable, kept)),
        reader=FileReader(root, kept),
        class_names=[class_names[row] for row in first.values()],
        split_names=None if splits is None else [splits[row] for row in first.values()],
        ignored={"repeated rows": repeated} if repeated else {},
    )
