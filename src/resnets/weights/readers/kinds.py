"""Which format a file is in, by its first bytes; names and extensions say nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from resnets.errors import UserError
from resnets.weights.readers import archive
from resnets.weights.readers.foreign import MAX_BYTES

PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""What pickles start with, by protocol; torch writes 2."""
MAGIC = {b"\x89HDF\r\n\x1a\n": "h5"} | dict.fromkeys(PICKLES, "torch")
NOT_WEIGHTS = {
    b"version https://git-lfs": "a pointer of Git LFS, not the file; run git lfs pull",
    b"<": "a web page, not a checkpoint",
    b"\x1f\x8b": "a gzip file; unpack it first",
}
START = 24


def kind_of(path: Path) -> str:
    """Return ``torch``, ``safetensors``, ``h5``, ``keras`` or ``onnx``.

    Raises:
      UserError: there is no such file, it cannot be read, or it is something else.
    """
    size = _size(path)
    try:
        with path.open("rb") as file:
            start = file.read(START)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if size < START:
        raise UserError(f"{path}: {f'truncated ({size} bytes)' if size else 'empty'}")
    if size > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES >> 30} GiB, which no ResNet is")
    if start.startswith(archive.MAGIC):
        return _kind_of_zip(path)
    for magic, kind in MAGIC.items():
        if start.startswith(magic):
            return kind
    if _is_safetensors(start):
        return "safetensors"
    if _is_onnx(start):
        return "onnx"
    for magic, what in NOT_WEIGHTS.items():
        if start.startswith(magic):
            raise UserError(f"{path}: {what}")
    raise UserError(f"{path}: not a checkpoint of PyTorch, safetensors, Keras or ONNX")


def _size(path: Path) -> int:
    try:
        info = os.stat(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # a NUL within the name
        raise UserError(f"{str(path)!r}: {error}") from None
    if not stat.S_ISREG(info.st_mode):
        raise UserError(f"{path}: neither a file nor a folder")
    return info.st_size


def _kind_of_zip(path: Path) -> str:
    with archive.opened(path) as file:
        names = file.namelist()
    if any(name.endswith("data.pkl") for name in names):
        return "torch"
    if "config.json" in names or "model.weights.h5" in names:
        return "keras"
    raise UserError(f"{path}: a zip file, but neither PyTorch's nor Keras's")


def _is_safetensors(start: bytes) -> bool:
    """A header's length in eight bytes, the upper four of which are zero, and a JSON object."""
    return start[4:9] == b"\0\0\0\0{"


def _is_onnx(start: bytes) -> bool:
    """The first field (a varint) is the version of the representation, which is a small number."""
    return start[0] == 0x08 and 0 < start[1] < 0x40 and start[2] >> 3 in range(2, 26)
