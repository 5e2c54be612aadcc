"""Zip files, opened so that what their directory says can be relied on; nothing is extracted."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from resnets.errors import UserError
from resnets.weights.readers.foreign import MAX_BYTES, SLACK, shown

RATIO = 100
"""How many times its size a file may unpack to; trained weights hardly pack at all."""

MAGIC = b"PK\x03\x04"
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file for reading.

    Raises:
      UserError: it is damaged, encrypted, packed in an odd way, unpacks to far more than its own
        size, or has members with odd names or the same name.
    """
    try:
        file = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise UserError(f"{path}: truncated or damaged (a zip file without its end)") from None
    with file:
        members = file.infolist()
        room = min(MAX_BYTES, RATIO * path.stat().st_size + SLACK)
        # zipfile never unpacks more of a member than its directory says.
        if sum(member.file_size for member in members) > room:
            raise UserError(f"{path}: unpacks to more than such a file can hold")
        if len({member.filename for member in members}) < len(members):
            raise UserError(f"{path}: two members of the zip file have the same name")
        for member in members:
            _check(path, member)
        yield file


def _check(path: Path, member: zipfile.ZipInfo) -> None:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts:
        raise UserError(f"{path}: a member of the zip file is named {shown(member.filename)}")
    if member.flag_bits & 1:
        raise UserError(f"{path}: encrypted")
    if member.compress_type not in PACKINGS:
        raise UserError(f"{path}: {shown(member.filename)} is packed in a way that is not read")
