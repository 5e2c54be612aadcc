"""What is known of each photo after it has been read once: numbers, flags, a digest, a picture."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from resnets.audit.near import SIDE
from resnets.data.cache import allocate, choose_storage
from resnets.data.images import FORMATS, MAX_PIXELS, DecodeError, Pixels, decode, read_file
from resnets.data.loader import prefetch
from resnets.data.quiet import pillow_warnings_ignored
from resnets.data.samples import Reader

ROW: Final = np.dtype(
    [
        *(("width", "<i4"), ("height", "<i4"), ("bytes", "<i8"), ("format", "<U5")),
        *(("flags", "<u4"), ("mean", "<f4"), ("deviation", "<f4"), ("colour", "<f4")),
        *(("digest", "S16"), ("ok", "?")),
    ]
)
CHUNK: Final = 32
STEPS: Final = 96  # pixels across that the brightness is measured on
_SIXTEEN: Final = ("I;16", "16B", "16N", "16L")
_GPS: Final = 0x8825


def _bits(image: Image.Image) -> bool:
    """Tell whether samples have 16 bits, which Pillow's mode says of grey only."""
    raw = [tile[3] for tile in getattr(image, "tile", [])]
    names = [args if isinstance(args, str) else str(args[0]) for args in raw if args]
    return any(sign in name for name in (image.mode, *names) for sign in _SIXTEEN)


def _damaged_exif(image: Image.Image) -> bool:
    """Tell whether there is EXIF whose first directory is cut short, or no TIFF at all, or that
    names no orientation that there is."""
    block = image.info.get("exif", b"")
    if not block:
        return False
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 10:
        return True
    try:
        start = struct.unpack_from(f"{order}I", block, 4)[0]
        entries = struct.unpack_from(f"{order}H", block, start)[0]
        return start + 2 + 12 * entries > len(block) or _orientation(image) not in range(1, 9)
    except (struct.error, SyntaxError, TypeError, ValueError):
        return True


def _exif(image: Image.Image) -> Image.Exif:
    """Read EXIF of the header. Pillow decodes every PNG that has none there, to look behind the
    pixels; here only one that names some."""
    inside = image.format != "PNG" or "exif" in image.info
    file = getattr(image, "fp", None)
    behind = not inside and isinstance(file, io.BytesIO) and b"eXIf" in file.getvalue()
    return image.getexif() if behind else Image.Image.getexif(image)


def _orientation(image: Image.Image) -> int:
    return int(_exif(image).get(ExifTags.Base.Orientation, 1))


def _other_profile(image: Image.Image) -> bool:
    profile = image.info.get("icc_profile") or b""
    known = ("sRGB", "IEC61966")
    names = [name.encode(code) for name in known for code in ("ascii", "utf-16-be")]
    # Bytes 16 to 20 of a profile name the colours that it is for.
    return profile[16:20] == b"RGB " and not any(name in profile for name in names)


FLAGS: Final[dict[str, Callable[[Image.Image], bool]]] = {
    "animated": lambda image: image.format in ("GIF", "PNG", "WEBP", "AVIF") and _frames(image) > 1,
    "several-pages": lambda image: image.format in ("TIFF", "MPO") and _frames(image) > 1,
    "cmyk": lambda image: image.mode in ("CMYK", "YCCK"),
    "sixteen-bit": _bits,
    "palette": lambda image: image.mode in ("P", "PA"),
    "alpha": lambda image: image.has_transparency_data,
    "one-bit": lambda image: image.mode == "1",
    "turned": lambda image: _orientation(image) in range(2, 9),
    "broken-exif": _damaged_exif,
    "place": lambda image: bool(_exif(image).get(_GPS)),
    "colour-profile": _other_profile,
}
"""What the header of a file tells, in the order of the bits of ``flags``."""


def _frames(image: Image.Image) -> int:
    return int(getattr(image, "n_frames", 1))


@dataclass
class Facts:
    """What is known of ``N`` photos.

    Attributes:
      rows: of `ROW`; ``width`` and ``height`` as shown, ``mean`` and ``deviation`` of the grey
        levels, ``colour`` the greatest distance between the channels, 0…255; ``digest`` of the
        decoded pixels. Where ``ok`` is false only ``format``, ``bytes`` and ``flags`` may be known.
      pictures: ``N 32 32`` uint8, grey: the whole photo, scaled.
      reasons: why those that do not decode do not.
    """

    rows: NDArray[np.void]
    pictures: NDArray[np.uint8]
    reasons: dict[int, str] = field(default_factory=dict)

    def flag(self, name: str) -> NDArray[np.bool_]:
        """Return of which photos a header's flag is true: ``N``."""
        bit = 1 << list(FLAGS).index(name)
        return (self.rows["flags"] & bit).astype(bool)


def read_facts(
    reader: Reader,
    count: int,
    workers: int,
    advance: Callable[[int], object] = lambda count: None,
) -> Facts:
    """Read and decode every photo once, in full; memory is that of the facts, 1.2 KiB a photo."""
    shape = (count, SIDE, SIDE)
    storage = choose_storage(count * SIDE * SIDE, Path(gettempdir()))
    pictures = allocate(shape, storage, np.uint8)
    if pictures is None:  # neither memory nor disk has room: the system will say so
        pictures = np.zeros(shape, np.uint8)
    facts = Facts(np.zeros(count, ROW), pictures)

    def read(start: int) -> int:
        stop = min(start + CHUNK, count)
        for i in range(start, stop):
            _read_one(reader, i, facts)
        return stop - start

    for done in prefetch(read, range(0, count, CHUNK), workers):
        advance(done)
    return facts


def _read_one(reader: Reader, i: int, facts: Facts) -> None:
    row = facts.rows[i]
    try:
        source = reader.read(i)
        content = read_file(source) if isinstance(source, Path) else source
        if isinstance(content, bytes):
            row["bytes"] = len(content)
            row["format"], row["flags"] = _header(content)
        pixels = decode(content)
    except DecodeError as error:
        facts.reasons[i] = str(error)
        return
    row["height"], row["width"] = pixels.shape[:2]
    row["digest"] = _digest(pixels)
    small = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX)
    facts.pictures[i] = np.asarray(small.convert("L"))
    spread = np.ptp(np.asarray(small), axis=2)
    row["colour"] = spread.max()
    row["mean"], row["deviation"] = _brightness(pixels)
    row["ok"] = True


def _header(content: bytes) -> tuple[str, int]:
    """Return the format and the flags that a file's header tells; nothing where it is broken."""
    try:
        with pillow_warnings_ignored(), Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:  # nothing of it is decoded
                return image.format or "", 0
            flags = 0
            for bit, is_so in enumerate(FLAGS.values()):
                flags |= _safely(is_so, image) << bit
            return image.format or "", flags
    except Exception:  # decoding says what is wrong
        return "", 0


def _safely(is_so: Callable[[Image.Image], bool], image: Image.Image) -> int:
    try:
        return int(is_so(image))
    except Exception:  # a damaged block says nothing about itself
        return 0


def _digest(pixels: Pixels) -> bytes:
    # NumPy drops zero bytes at the end of a string, so the last one is never zero.
    found = hashlib.blake2b(str(pixels.shape).encode(), digest_size=15)
    found.update(np.ascontiguousarray(pixels).data)
    return found.digest() + b"x"


def _brightness(pixels: Pixels) -> tuple[float, float]:
    step = max(1, min(pixels.shape[:2]) // STEPS)
    some = pixels[::step, ::step].reshape(-1, 3) @ np.asarray([0.299, 0.587, 0.114], np.float32)
    return float(some.mean()), float(some.std())
