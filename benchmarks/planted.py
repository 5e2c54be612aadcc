"""Faults, one by one: each plants itself in a data set that is being made."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

Photo = tuple[str, bytes]  # the class, and the file's content


@dataclass(frozen=True)
class Planted:
    """A fault: its kind, and a name that the finding must give (path, row or class)."""

    kind: str
    where: str


@dataclass
class Plot:
    """A data set that is being made; `spare` gives photos that are nowhere else in it."""

    root: Path
    spare: Iterator[Photo]
    planted: list[Planted] = field(default_factory=list)
    _number: int = 0

    def name(self, suffix: str = ".jpg", folder: str = "") -> str:
        """Return the path of a new file; `folder` is its class if none is given."""
        self._number += 1
        place = folder or f"train/{self.host}"
        (self.root / place).mkdir(parents=True, exist_ok=True)
        return f"{place}/planted-{self._number:03}{suffix}"

    host: str = ""

    def picture(self) -> Image.Image:
        """Return a photo that is not yet in the data set."""
        return Image.open(io.BytesIO(next(self.spare)[1])).convert("RGB")

    def add(self, kind: str, content: bytes, suffix: str = ".jpg", folder: str = "") -> str:
        name = self.name(suffix, folder)
        (self.root / name).write_bytes(content)
        self.planted.append(Planted(kind, name))
        return name

    def fill(self, folder: str, count: int) -> list[str]:
        """Add so many good photos to a folder."""
        names = [self.name(".jpg", folder) for _ in range(count)]
        for name in names:
            (self.root / name).write_bytes(next(self.spare)[1])
        return names


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


# -- photos ---------------------------------------------------------------------------------------


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
"""Faults of single photos, each made of a photo of its own."""


# -- files and folders ----------------------------------------------------------------------------


def _file(kind: str, name: str, content: bytes, where: str = "") -> Callable[[Plot], None]:
    def plant(plot: Plot) -> None:
        path = plot.root / name.format(host=plot.host)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        shown = where.format(host=plot.host) or str(path.relative_to(plot.root))
        plot.planted.append(Planted(kind, shown))

    return plant


def _photo(kind: str, name: str, where: str = "") -> Callable[[Plot], None]:
    return lambda plot: _file(kind, name, next(plot.spare)[1], where)(plot)


def _archive(plot: Plot) -> None:
    name = plot.root / f"train/{plot.host}/more.zip"
    with zipfile.ZipFile(name, "w") as archive:
        archive.writestr("more.jpg", next(plot.spare)[1])
    plot.planted.append(Planted("archive", str(name.relative_to(plot.root))))


def _too_large(plot: Plot) -> None:
    name = plot.name()
    with (plot.root / name).open("wb") as file:
        file.truncate(300 * 2**20)  # a hole: it takes no room
    plot.planted.append(Planted("too-large", name))


def _fifo(plot: Plot) -> None:
    name = plot.name()
    os.mkfifo(plot.root / name)
    plot.planted.append(Planted("special-file", name))


def _denied(plot: Plot) -> None:
    name = plot.add("no-permission", next(plot.spare)[1])
    (plot.root / name).chmod(0)


def _dead_link(plot: Plot) -> None:
    photo, other = plot.name(), f"train/{plot.host}/notes"
    for name, kind in ((photo, "missing"), (other, "broken-link")):
        (plot.root / name).symlink_to("gone.jpg")
        plot.planted.append(Planted(kind, name))


def _circle(plot: Plot) -> None:
    name = f"train/{plot.host}/again"
    (plot.root / name).symlink_to("..", target_is_directory=True)
    plot.planted.append(Planted("link-loop", name))


def _odd_bytes(plot: Plot) -> None:
    folder = os.fsencode(plot.root / f"train/{plot.host}")
    with open(folder + b"/caf\xe9.jpg", "wb") as file:
        file.write(next(plot.spare)[1])
    plot.planted.append(Planted("name-not-utf8", f"train/{plot.host}/caf\\xe9.jpg"))


def _clash(plot: Plot) -> None:
    for name in ("Shelf.jpg", "shelf.jpg"):
        (plot.root / f"train/{plot.host}/{name}").write_bytes(next(plot.spare)[1])
    plot.planted.append(Planted("name-clash", f"train/{plot.host}/Shelf.jpg"))


FILES: dict[str, Callable[[Plot], None]] = {
    "hidden": _file("hidden", "train/{host}/.DS_Store", b"x"),
    "hidden folder": _file("hidden", "train/__MACOSX/._1.jpg", b"x", "train/__MACOSX"),
    "stray": _file("stray", "train/{host}/notes.txt", b"not a photo"),
    "film": _file("unsupported-format", "train/{host}/clip.mp4", b"\0\0\0\x18ftypmp42"),
    "archive": _archive,
    "unnamed-photo": _photo("unnamed-photo", "train/{host}/IMG_0001"),
    "outside-class": _photo("outside-class", "train/lost.jpg"),
    "nested": _photo("nested", "train/{host}/more/1.jpg", "train/{host}/more/"),
    "split-inside-class": _photo(
        "split-inside-class", "train/{host}/test/1.jpg", "train/{host}/test/"
    ),
    "beside-splits": _photo("beside-splits", "extra/1.jpg", "extra/"),
    "too-large": _too_large,
    "special-file": _fifo,
    "no-permission": _denied,
    "broken-link": _dead_link,
    "link-loop": _circle,
    "name-not-utf8": _odd_bytes,
    "name-clash": _clash,
    "name-unportable": _photo("name-unportable", "train/{host}/what?.jpg"),
}
"""Faults of files, folders and names."""


# -- classes --------------------------------------------------------------------------------------


def _classes(plot: Plot, kind: str, *names: str, where: str = "", count: int = 12) -> None:
    for name in names:
        plot.fill(f"train/{name}", count)
        plot.fill(f"test/{name}", 1)
    plot.planted.append(Planted(kind, where or names[0]))


def _empty_class(plot: Plot) -> None:
    (plot.root / "train/Nothing").mkdir()
    plot.planted.append(Planted("empty-class", "train/Nothing/"))


def _unreadable_class(plot: Plot) -> None:
    for _ in range(2):
        (plot.root / plot.name(".jpg", "train/Garbage")).write_bytes(b"garbage")
    plot.planted.append(Planted("class-unreadable", "Garbage"))


def _only_tested(plot: Plot) -> None:
    plot.fill("test/Unknown", 2)
    plot.planted += [Planted("class-not-in-train", "Unknown"), Planted("refused", "")]


def _only_learnt(plot: Plot) -> None:
    plot.fill("train/Untested", 12)
    plot.planted.append(Planted("class-not-in-split", "Untested"))


def _one_format(plot: Plot) -> None:
    for _ in range(12):
        content = encoded(plot.picture(), "BMP")
        (plot.root / plot.name(".bmp", "train/Scanned")).write_bytes(content)
    plot.fill("test/Scanned", 1)
    plot.planted.append(Planted("format-tells-class", "Scanned"))


CLASSES: dict[str, Callable[[Plot], None]] = {
    "empty-class": _empty_class,
    "class-unreadable": _unreadable_class,
    "class-not-in-train": _only_tested,
    "class-not-in-split": _only_learnt,
    "format-tells-class": _one_format,
}
CLASSES["class-case"] = lambda plot: _classes(plot, "class-case", "Quince", "quince")
CLASSES["class-spacing"] = lambda plot: _classes(plot, "class-spacing", "Oat Drink", "Oat-Drink")
CLASSES["class-unicode"] = lambda plot: _classes(plot, "class-unicode", "Mango", "М" + "ango")
CLASSES["class-merged"] = lambda plot: _classes(
    plot, "class-merged", "Purée", "Pure\u0301e", where=ascii("Purée")
)
CLASSES["class-name-odd"] = lambda plot: _classes(
    plot, "class-name-odd", "Fig\u200b", where=repr("Fig\u200b")
)
CLASSES["class-small"] = lambda plot: _classes(plot, "class-small", "Rarity", count=3)
