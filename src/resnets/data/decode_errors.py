"""Why an image does not decode, in the few words of a status column."""

from __future__ import annotations

import re
from typing import Final

MAX_PIXELS: Final = 100_000_000
_SIGNATURES: Final = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WEBP": rb"RIFF....WEBP",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM....\0\0\0\0",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "PPM": rb"P[1-7Ff]\s",
    "AVIF": rb"....ftypavi[fs]",
    "HEIC": rb"....ftyp(hei|hev|mif1|msf1)",
    "PDF": rb"%PDF-",
}
_CUT_SHORT: Final = re.compile("truncat|not enough|unexpected end|too small|too short", re.I)


class DecodeError(Exception):
    """An image that cannot be decoded; ``str()`` is the short reason, fit for a status column."""


def check_pixels(count: int) -> None:
    """Raise DecodeError for more than `MAX_PIXELS`."""
    if count > MAX_PIXELS:
        raise DecodeError(f"{count:,} pixels (limit {MAX_PIXELS:,})")


def why_unreadable(error: OSError | ValueError) -> str:
    """Say why a file cannot be read; a ValueError is about its name."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return "file not found"
    if isinstance(error, PermissionError):
        return "no permission"
    return (isinstance(error, OSError) and error.strerror) or one_line(error)


def why_unidentified(content: bytes, formats: tuple[str, ...]) -> str:
    """Say why no decoder takes `content`."""
    kind = kind_of(content)
    if kind is None:
        return f"not an image (starts with {content[:8]!r})"
    return f"broken {kind} header" if kind in formats else f"{kind} is not supported"


def why_broken(content: bytes, error: Exception) -> str:
    """Say what was wrong with `content` when its decoder failed."""
    kind = kind_of(content) or "image"
    message = one_line(error)
    if isinstance(error, EOFError) or _CUT_SHORT.search(message):
        return f"truncated {kind}"
    return f"broken {kind} ({message})"


def one_line(error: Exception) -> str:
    """Return the message of `error`, on one line of at most 80 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 80 else text[:79] + "…"


def kind_of(content: bytes) -> str | None:
    """Return the format that the first bytes of a file tell, decodable or not; None for others."""
    return next((n for n, sign in _SIGNATURES.items() if re.match(sign, content, re.DOTALL)), None)
