"""Faults of files, folders and classes: each plants itself in a data set that is being made.

Those of single photos are in `planted_photos`.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

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
