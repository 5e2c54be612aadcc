"""Folders of photos: ``root/<class>/…`` and ``root/{train,val,test}/<class>/…``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from resnets.data.labels import class_name
from resnets.data.samples import FileReader, Listing
from resnets.data.scan import list_folder, unreadable, walk
from resnets.errors import UserError
from resnets.files import printable

SPLIT_NAMES: Final = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Tree:
    """The upper levels of a data folder; every name ends with a slash.

    Attributes:
        splits: top folder to split name; empty where the classes are at the top.
        candidates: relative paths of all that may be class folders.
        others: folders that are passed over, beside the split folders.
    """

    root: Path
    splits: dict[str, str]
    candidates: tuple[str, ...]
    others: tuple[str, ...] = ()


def look(root: Path) -> Tree:
    """Look at the upper two levels of `root` and tell split folders from class folders.

    Folders named like splits are splits if there are folders inside: ``{bus,train}/*.jpg`` are two
    classes.

    Raises:
        UserError: for a folder that cannot be listed, two folders for one split, or one split
            beside other folders of photos.
    """
    top = _folders(root, "")
    named = {name: split_of(name) for name in top if split_of(name)}
    inside = {name: _folders(root, name) for name in named}
    splits = {name: split for name, split in named.items() if inside[name]}
    if not splits:
        return Tree(root, {}, tuple(top))
    for split in ("train", "val", "test"):
        same = [name for name, its in splits.items() if its == split]
        if len(same) > 1:
            raise UserError(
                f"{root} has {len(same)} folders for the {split} split ({', '.join(same)}): "
                "merge them, or move one away"
            )
    beside = [name for name in top if name not in named]
    if len(named) == 1 and any(_has_photos(root / name) for name in beside):
        raise UserError(
            f"{root} holds {next(iter(named))}, which looks like a split, beside other folders of "
            f"photos ({', '.join(beside[:3])}): move one or the other away"
        )
    return Tree(
        root,
        splits,
        candidates=tuple(name + below for name in splits for below in inside[name]),
        others=tuple(name for name in top if name not in splits),
    )


def read_folders(tree: Tree) -> Listing:
    """List the photos of every class folder, in the order of their relative paths.

    The listing is empty if no class folder holds a photo.
    """
    tally = Counter({"other folders": len(tree.others)})
    paths: list[str] = []
    class_names: list[str] = []
    split_names: list[str] = []
    seen: dict[str, str] = {}
    for top, split in (tree.splits or {"": ""}).items():
        for path in walk(tree.root / top, tally):
            folder, slash, _ = path.partition("/")
            if not slash:
                tally["photos outside class folders"] += 1
                continue
            paths.append(top + path)
            class_names.append(seen.setdefault(f"{top}{folder}/", class_name(folder)))
            split_names.append(split)
    tally["empty class folders"] += sum(name not in seen for name in tree.candidates)
    note = f"passed over beside the split folders: {', '.join(tree.others)}"
    return Listing(
        ids=tuple(map(printable, paths)),
        reader=FileReader(tree.root, tuple(paths)),
        class_names=class_names,
        split_names=split_names if tree.splits else None,
        ignored=+tally,
        notes=(note,) if tree.others else (),
    )


def split_of(name: str) -> str:
    """Return the split that a folder or file of this name holds, or an empty string."""
    return SPLIT_NAMES.get(name.rstrip("/").casefold(), "")


def _folders(root: Path, name: str) -> list[str]:
    try:
        return [key for key in list_folder(root / name, Counter()) if key.endswith("/")]
    except OSError as error:
        raise unreadable(root / name, error) from error


def _has_photos(folder: Path) -> bool:
    return next(walk(folder, Counter()), None) is not None
