"""What is wrong with files, folders and their names, whatever is in them."""

from __future__ import annotations

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from resnets.audit.findings import Findings
from resnets.data.decode_errors import kind_of
from resnets.data.folders import look, split_of
from resnets.data.images import FORMATS
from resnets.data.scan import is_hidden, is_image_name
from resnets.errors import UserError
from resnets.files import printable

ARCHIVES: Final = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
UNREAD: Final = (
    *(".heic", ".heif", ".jxl", ".jp2", ".psd", ".svg", ".pdf", ".dng", ".cr2", ".cr3", ".nef"),
    *(".arw", ".orf", ".rw2", ".raf", ".mp4", ".mov", ".avi", ".mkv", ".webm"),
)
"""Pictures and films that the decoder does not read, by their extensions."""
UNPORTABLE: Final = frozenset('<>:"\\|?*') | {chr(code) for code in range(32)}

Identity = tuple[int, int]


@dataclass
class _Tree:
    """A walk over everything in a folder, however odd; hidden folders are not entered."""

    root: str
    findings: Findings
    splits: frozenset[str]
    decoded: frozenset[str]
    photos: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    classes: list[str] = field(default_factory=list)

    def enter(self, prefix: str, above: frozenset[Identity]) -> None:
        """Look at all that is in the folder `prefix` (empty, or ending with a slash)."""
        folder = os.path.join(self.root, prefix)
        try:
            info = os.stat(folder)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self.findings.add("folder-unreadable", prefix or ".", detail=error.strerror or "")
            return
        here = above | {(info.st_dev, info.st_ino)}
        self._names(prefix, [entry.name for entry in entries])
        for entry in entries:
            self._entry(prefix, entry, here)

    def _entry(self, prefix: str, entry: os.DirEntry[str], above: frozenset[Identity]) -> None:
        path = prefix + entry.name
        if is_hidden(entry.name):
            self.findings.add("hidden", path)
            return
        try:
            info = entry.stat()
        except OSError as error:
            loop = error.errno == errno.ELOOP
            told = error.errno == errno.EACCES or printable(path) in self.decoded
            if not told:  # by decoding
                self.findings.add("link-loop" if loop else "broken-link", path)
            return
        if stat.S_ISDIR(info.st_mode):
            if (info.st_dev, info.st_ino) in above:
                self.findings.add("link-loop", path)
                return
            self._folder(f"{path}/")
            self.enter(f"{path}/", above)
        elif is_image_name(entry.name):
            self._photo(path)
        elif not stat.S_ISREG(info.st_mode):
            self.findings.add("special-file", path)
        else:
            self.findings.add(self._other(path, entry.name), path)

    def _inside(self, path: str) -> list[str]:
        """Return the folders of a path below its split: class, and what is in it."""
        parts = path.split("/")[:-1]
        return parts[1:] if parts and f"{parts[0]}/" in self.splits else parts

    def _folder(self, path: str) -> None:
        inside = self._inside(path)
        if len(inside) == 1:
            self.classes.append(path)
        elif len(inside) > 1:
            kind = "split-inside-class" if split_of(inside[-1]) else "nested"
            self.findings.add(kind, path)

    def _photo(self, path: str) -> None:
        inside = self._inside(path)
        if not inside:
            self.findings.add("outside-class", path)
            return
        parts = path.split("/")
        self.photos["/".join(parts[: len(parts) - len(inside)]) + "/"] += 1

    def _other(self, path: str, name: str) -> str:
        suffix = os.path.splitext(name)[1].lower()
        head = b""
        with suppress(OSError), open(os.path.join(self.root, path), "rb") as file:
            head = file.read(32)
        kinds: Iterator[tuple[bool, str]] = iter(
            (
                (suffix in ARCHIVES, "archive"),
                (suffix in UNREAD, "unsupported-format"),
                (kind_of(head) in FORMATS, "unnamed-photo"),
                (True, "stray"),
            )
        )
        return next(kind for fits, kind in kinds if fits)

    def _names(self, prefix: str, names: Iterable[str]) -> None:
        alike: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            alike[name.casefold()].append(prefix + name)
            if any("\udc80" <= letter <= "\udcff" for letter in name):
                self.findings.add("name-not-utf8", prefix + name)
            elif UNPORTABLE & set(name) or name.endswith((" ", ".")):
                self.findings.add("name-unportable", prefix + name)
        for same in alike.values():
            if len(same) > 1:
                self.findings.add("name-clash", *same)


def check_folders(root: Path, ids: Iterable[str], findings: Findings) -> list[str]:
    """Add what is wrong with the files and folders below `root`; return the class folders, each
    relative to it and with a slash at its end.

    `ids` are the photos: a link of theirs that leads nowhere is left to who decodes them.
    """
    try:
        top = look(root)
        splits = frozenset(top.splits)
        for name in top.others if splits else ():
            findings.add("beside-splits", name)
    except UserError:  # a finding already
        splits = frozenset(f"{n}/" for n in os.listdir(root) if split_of(n) and (root / n).is_dir())
    tree = _Tree(os.fspath(root), findings, splits, frozenset(ids))
    tree.enter("", frozenset())
    for folder in tree.classes:
        if not tree.photos[folder]:
            findings.add("empty-class", folder)
    return tree.classes
