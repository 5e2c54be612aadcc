"""Faults of single photos, each made of a photo of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps
from planted import Plot, encoded


def _content(kind: str, make: Callable[[Image.Image], bytes], suffix: str = ".jpg") -> Callable:
    return lambda plot: plot.add(kind, make(plot.picture()), suffix)


def _grey_band(image: Image.Image) -> Image.Image:
    pixels = np.array(image)
    pixels[int(len(pixels) * 0.6) :] = 128
    return Image.fromarray(pixels)


def _exif(tag: int, value: object) -> Image.Exif:
    exif = Image.Exif()
    exif[tag] = value
    return exif


def _place() -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[2] = (59.0, 51.0, 30.0)
    return exif


def _other_profile() -> bytes:
    content = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for code in ("ascii", "utf-16-be"):
        content = content.replace("sRGB".encode(code), "Wide".encode(code))
        content = content.replace("IEC61966".encode(code), "ABCDEFGH".encode(code))
    return content


def _cut(image: Image.Image) -> bytes:
    content = encoded(image, quality=90)
    return content[: len(content) * 6 // 10]


def _flipped_bits(image: Image.Image) -> bytes:
    content = bytearray(encoded(image, "PNG"))
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    return bytes(content)


def _dimmed(image: Image.Image, low: int, high: int) -> Image.Image:
    grey = np.asarray(image, np.float32)
    scaled = low + (grey - grey.min()) / max(float(np.ptp(grey)), 1) * (high - low)
    return Image.fromarray(scaled.astype(np.uint8))


def _dark(image: Image.Image) -> bytes:
    pixels = np.zeros((*image.size[::-1], 3), np.uint8)
    pixels[: len(pixels) // 8, : pixels.shape[1] // 8] = 120
    return encoded(Image.fromarray(pixels), "PNG")


def _bright(image: Image.Image) -> bytes:
    pixels = np.full((*image.size[::-1], 3), 255, np.uint8)
    pixels[-(len(pixels) // 8) :, : pixels.shape[1] // 8] = 140
    return encoded(Image.fromarray(pixels), "PNG")


def _sixteen(image: Image.Image) -> bytes:
    return encoded(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), "PNG")


def _enlarged(image: Image.Image) -> bytes:
    return encoded(image.resize((image.width * 8, image.height * 8)), quality=60)


def _shrunk(image: Image.Image) -> bytes:
    return encoded(image.resize((max(2, image.width // 6), max(2, image.height // 6))), quality=95)


def _narrow(image: Image.Image) -> bytes:
    return encoded(image.crop((0, 0, image.width, image.height // 8)), quality=95)


def _animation(image: Image.Image) -> bytes:
    return encoded(image, "GIF", save_all=True, append_images=[ImageOps.invert(image)])


def _pages(image: Image.Image) -> bytes:
    return encoded(image, "TIFF", save_all=True, append_images=[ImageOps.invert(image)])


def _transparent(image: Image.Image) -> bytes:
    layer = image.copy()
    layer.putalpha(ImageOps.invert(image.convert("L")))
    return encoded(layer, "PNG")


PHOTOS: dict[str, Callable[[Plot], str]] = {
    "empty-file": lambda plot: plot.add("empty-file", b""),
    "truncated": _content("truncated", _cut),
    "broken": _content("broken", _flipped_bits, ".png"),
    "broken-header": _content("broken-header", lambda i: b"\xff\xd8\xff\xe0" + bytes(200)),
    "not-an-image": lambda plot: plot.add("not-an-image", b"<html>404 Not Found</html>"),
    "unsupported-format": lambda plot: plot.add(
        "unsupported-format", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    ),
    "unsupported-pixels": _content(
        "unsupported-pixels", lambda i: encoded(i.convert("F"), "TIFF"), ".tif"
    ),
    "bomb": lambda plot: plot.add("bomb", encoded(Image.new("1", (12_000, 10_000)), "PNG"), ".png"),
    "blank": _content("blank", lambda i: encoded(Image.new("RGB", i.size, (90, 120, 60)))),
    "grey-band": _content("grey-band", lambda i: encoded(_grey_band(i), quality=95)),
    "dark": _content("dark", _dark, ".png"),
    "bright": _content("bright", _bright, ".png"),
    "tiny": _content("tiny", _shrunk),
    "huge": _content("huge", _enlarged),
    "aspect": _content("aspect", _narrow),
    "wrong-extension": _content("wrong-extension", lambda i: encoded(i, "PNG")),
    "animated": _content("animated", _animation, ".gif"),
    "several-pages": _content("several-pages", _pages, ".tif"),
    "cmyk": _content("cmyk", lambda i: encoded(i.convert("CMYK"))),
    "sixteen-bit": _content("sixteen-bit", _sixteen, ".png"),
    "palette": _content("palette", lambda i: encoded(i.quantize(64), "PNG"), ".png"),
    "alpha": _content("alpha", _transparent, ".png"),
    "one-bit": _content("one-bit", lambda i: encoded(i.convert("1"), "PNG"), ".png"),
    "grey": _content("grey", lambda i: encoded(i.convert("L"), quality=90)),
    "turned": _content("turned", lambda i: encoded(i, quality=90, exif=_exif(0x0112, 6))),
    "broken-exif": _content(
        "broken-exif",
        lambda i: encoded(i, quality=90, exif=b"Exif\0\0II*\0\x08\0\0\0\x63\0\x12\x01\x03\0"),
    ),
    "place": _content("place", lambda i: encoded(i, quality=90, exif=_place())),
    "colour-profile": _content(
        "colour-profile", lambda i: encoded(i, quality=90, icc_profile=_other_profile())
    ),
}
