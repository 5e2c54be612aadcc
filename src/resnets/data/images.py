"""The one image decoder: any picture that people have, to ``H W C`` uint8, in one declared way.

================================  =================================================================
what the file holds               what comes out
================================  =================================================================
EXIF orientation                  applied (a corrupt EXIF block counts as none)
alpha, also LA, PA and PNG tRNS   composited on `background`
palette                           expanded to its colours
grey, 1 bit                       replicated to 3 channels, or kept where ``channels=1``
colour where ``channels=1``       luma of ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B
CMYK, YCCK, YCbCr                 converted by Pillow, which knows that Adobe's JPEGs are inverted
16-bit grey                       scaled: value · 255 / 65535, rounded; never clipped
16-bit colour                     the high byte of each sample (Pillow offers no more)
32-bit integer grey               as 16-bit where all values fit 16 bits, else refused
floating point, CIE Lab           refused
animation                         its first frame
more than `MAX_PIXELS`            refused from the header, before any pixel is decoded
more than `MAX_BYTES`             refused before it is read
truncated or broken               refused; never half a picture
a wrong file extension            ignored: the content decides
================================  =================================================================
"""

from __future__ import annotations

import io
import re
import stat
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError, features

from resnets.data.decode_errors import (
    MAX_PIXELS,
    DecodeError,
    check_pixels,
    one_line,
    why_broken,
    why_unidentified,
    why_unreadable,
)
from resnets.data.fit import Part
from resnets.data.quiet import pillow_warnings_ignored

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "DecodeError",
    "check_file",
    "decode",
    "decode_reduced",
    "read_file",
]

MAX_BYTES: Final = 256 * 2**20
FORMATS: Final[tuple[str, ...]] = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"),
    *(("AVIF",) if features.check("avif") else ()),
)
EXTENSIONS: Final = frozenset(
    suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS
)

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Where the stored right edge is then on the left, the stored bottom on top, and the sides swapped.
_LEFT, _TOP, _SWAPPED = {2, 3, 6, 7}, {3, 4, 7, 8}, {5, 6, 7, 8}
_WIDE_GREY = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_REFUSED = {"F": "floating-point image", "LAB": "CIE Lab image"}
_MODES = {1: "L", 3: "RGB"}
_ARRAY_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
Pixels = NDArray[np.uint8]
Source = Path | bytes | Image.Image | np.ndarray


def decode(
    source: Source, channels: int = 3, background: tuple[int, int, int] = (255, 255, 255)
) -> Pixels:
    """Decode one image to a new, writable ``H W C`` uint8 array (see the table above).

    Args:
        source: a file, its bytes, a picture of Pillow's, or an array ``H W``, ``H W 1``, ``H W 3``
            or ``H W 4``: uint8, uint16 (scaled), bool (0 or 255), or floating point in [0, 1]
            (scaled and rounded).
        channels: C of the result: 3 (RGB) or 1 (grey).
        background: RGB colour on which transparent pixels are composited.

    Safe to call from many threads at once.

    Raises:
        DecodeError: with the reason, for whatever is wrong with the image.
    """
    return decode_reduced(source, channels, background)[0]


def decode_reduced(
    source: Source,
    channels: int = 3,
    background: tuple[int, int, int] = (255, 255, 255),
    least: int = 0,
) -> tuple[Pixels, Part]:
    """Decode one image as `decode` does, where it is a JPEG perhaps to fewer pixels.

    JPEG's cosine transform gives a picture of 1/2, 1/4 or 1/8 of the sides for less work: it is the
    smallest of them whose short side has `least` pixels; 0 is for all pixels. Arrays, Pillow's
    pictures and other formats come whole.

    Returns:
      The pixels, and what they show of the photo.

    Raises:
      DecodeError: with the reason, for whatever is wrong with the image.
    """
    if channels not in _MODES:
        raise ValueError(f"channels is {channels}; it is 1 or 3")
    if isinstance(source, np.ndarray):
        image, part = _flatten(_from_array(source), channels, background), None
    else:
        content = read_file(source) if isinstance(source, Path) else source
        image, part = _from_file(content, channels, background, least)
    pixels = np.array(image)
    return pixels.reshape(*pixels.shape[:2], channels), part or Part(*image.size)


def check_file(path: Path) -> None:
    """Check, before it is opened, that `path` is a regular file of at most `MAX_BYTES`.

    To open a FIFO, as a folder of photos may hold, would wait for a writer for ever.

    Raises:
        DecodeError: with the reason, for anything else.
    """
    try:
        info = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise DecodeError(why_unreadable(error)) from error
    if stat.S_ISDIR(info.st_mode):
        raise DecodeError("a folder, not a file")
    if not stat.S_ISREG(info.st_mode):
        raise DecodeError("not a regular file")
    _check_bytes(info.st_size)


def read_file(path: Path) -> bytes:
    """Return the bytes of a file. Raises DecodeError with the reason why it cannot be read."""
    check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DecodeError(why_unreadable(error)) from error


def _check_bytes(size: int) -> None:
    if size > MAX_BYTES:
        raise DecodeError(f"{size:,} bytes (limit {MAX_BYTES:,})")


def _from_file(
    source: bytes | Image.Image, channels: int, background: tuple[int, int, int], least: int
) -> tuple[Image.Image, Part]:
    """Decode the bytes of a file, or a picture that Pillow has opened and may not have read."""
    content = source if isinstance(source, bytes) else b""
    if isinstance(source, bytes):
        if not content:
            raise DecodeError("empty file")
        _check_bytes(len(content))
    try:
        with pillow_warnings_ignored():
            if isinstance(source, Image.Image):  # whole: a reduced one would stay so for its owner
                return _from_picture(source, channels, background, 0)
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            return _from_picture(image, channels, background, least)
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        count = re.search(r"\d+", str(error))
        check_pixels(int(count.group()) if count else MAX_PIXELS + 1)
        raise DecodeError(one_line(error)) from error
    except UnidentifiedImageError as error:
        raise DecodeError(why_unidentified(content, FORMATS)) from error
    except MemoryError as error:
        raise DecodeError("out of memory") from error
    except Exception as error:  # a broken file can raise anything from within Pillow
        raise DecodeError(why_broken(content, error)) from error


def _from_picture(
    image: Image.Image, channels: int, background: tuple[int, int, int], least: int
) -> tuple[Image.Image, Part]:
    check_pixels(image.width * image.height)
    width, height = image.size
    reduced = image.draft(None, (least, least)) if least else None  # nothing but for JPEG
    image.load()
    # After load: PNG may keep its EXIF behind the pixels, and TIFF turns itself.
    orientation = _orientation(image)
    flat = _flatten(image, channels, background)
    if orientation in _TRANSPOSE:
        flat = flat.transpose(_TRANSPOSE[orientation])
    if reduced is None:
        return flat, Part(*flat.size)
    step = round(width / reduced[1][2])
    if orientation in _SWAPPED:
        width, height = height, width
    # Its last pixels show more than the photo has, and may have been turned to the front.
    left = flat.width * step - width if orientation in _LEFT else 0
    top = flat.height * step - height if orientation in _TOP else 0
    return flat, Part(width, height, step, left, top)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # corrupt EXIF says nothing about the pixels
        return 1


def _flatten(image: Image.Image, channels: int, background: tuple[int, int, int]) -> Image.Image:
    """Bring an image of any mode to L or RGB."""
    if image.mode in _REFUSED:
        raise DecodeError(_REFUSED[image.mode])
    if image.mode in _WIDE_GREY:
        image = _narrow(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGB", image.size, background)
        image.paste(layer, mask=layer)
    return image.convert(_MODES[channels])


def _narrow(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits, with an alpha channel where PNG names a transparent value."""
    wide = np.asarray(image).astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise DecodeError(f"32-bit grey with values {wide.min():,} to {wide.max():,}")
    grey = Image.fromarray(_scale_16(wide))
    if "transparency" not in image.info:
        return grey
    opaque = wide != image.info["transparency"]
    return Image.merge("LA", (grey, Image.fromarray(opaque.astype(np.uint8) * 255)))


def _scale_16(values: NDArray[np.integer]) -> Pixels:
    # 65535 / 255 is 257, so this is value · 255 / 65535, rounded.
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _scale_float(values: NDArray[np.floating]) -> Pixels:
    if not np.all((values >= 0) & (values <= 1)):  # false for NaN also
        raise DecodeError("floating-point array outside [0, 1]")
    return np.rint(values.astype(np.float64) * 255).astype(np.uint8)


def _from_array(array: np.ndarray) -> Image.Image:
    planes = array[..., None] if array.ndim == 2 else array
    if planes.ndim != 3 or planes.shape[2] not in _ARRAY_MODES or planes.size == 0:
        raise DecodeError(f"array of shape {array.shape} (an image is H W, or H W with 1, 3 or 4)")
    if planes.dtype == np.uint16:
        planes = _scale_16(planes)
    elif planes.dtype == np.bool_:
        planes = planes.astype(np.uint8) * 255
    elif np.issubdtype(planes.dtype, np.floating):
        planes = _scale_float(planes)
    elif planes.dtype != np.uint8:
        raise DecodeError(f"array of {planes.dtype} (use uint8, uint16, bool or float in [0, 1])")
    return Image.fromarray(planes[..., 0] if planes.shape[2] == 1 else planes)
