"""Everything that can be wrong with a data set: how bad it is, and the way out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Severity(IntEnum):
    """How bad a finding is: ``error`` makes figures wrong or photos useless, ``warning`` may,
    ``note`` is for the reader to know."""

    NOTE = 0
    WARNING = 1
    ERROR = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Kind:
    """One kind of fault: its name for programs, what it is, and what to do about it."""

    name: str
    severity: Severity
    what: str
    way_out: str


E, W, N = Severity.ERROR, Severity.WARNING, Severity.NOTE
_SPLIT: Final = "train with a split that keeps copies together: --write-split F"
_KEEP: Final = "keep one of them"
_ROWS: Final[tuple[tuple[str, Severity, str, str], ...]] = (
    # -- the data set as a whole
    ("refused", E, "training would refuse this data", "do what the message says"),
    ("folder-unreadable", E, "folders that cannot be listed", "change their permissions"),
    # -- copies
    ("exact-leak", E, "the same pixels in two splits", _SPLIT),
    ("exact-labels", E, "the same pixels with different labels", "keep the one that is right"),
    ("near-leak", W, "nearly the same photo in two splits", _SPLIT),
    ("near-labels", W, "nearly the same photo with different labels", "look which label is right"),
    ("group-leak", E, "groups that should stay together, in two splits", _SPLIT),
    ("exact-copies", W, "the same pixels twice in one split", _KEEP),
    ("near-copies", N, "nearly the same photo twice in one split", "keep one, or know of it"),
    # -- files that give no photo
    ("empty-file", E, "files of zero bytes", "copy them again, or remove them"),
    ("truncated", E, "files that end too early", "copy them again, or remove them"),
    ("broken", E, "files whose pixels do not decode", "copy them again, or remove them"),
    ("broken-header", E, "files whose header is broken", "copy them again, or remove them"),
    ("not-an-image", E, "files with a photo's name that are none", "remove them"),
    ("unsupported-format", W, "pictures in a format that is not read", "save them as JPEG or PNG"),
    ("unsupported-pixels", E, "pixels that are not read (floats, Lab)", "save them as JPEG or PNG"),
    ("no-permission", E, "files that may not be read", "change their permissions"),
    ("missing", E, "photos that are not there", "restore them, or remove their links or rows"),
    ("bomb", E, "far more pixels than a photo has", "scale them down, or remove them"),
    ("too-large", E, "files that are too large to read", "scale them down, or remove them"),
    ("special-file", E, "neither files nor folders", "remove them"),
    ("unreadable", E, "files that cannot be read", "copy them again, or remove them"),
    # -- photos that decode, but are odd
    ("blank", W, "photos with next to nothing in them", "look at them; remove what is empty"),
    ("grey-band", W, "photos whose lower part is missing (plain grey)", "copy them again"),
    ("dark", N, "photos that are almost black", "look whether they can be recognised"),
    ("bright", N, "photos that are almost white", "look whether they can be recognised"),
    ("tiny", W, "photos far smaller than the others", "find the originals, or remove them"),
    ("huge", N, "photos far larger than the others", "scale them down, which is quicker"),
    ("aspect", W, "photos far longer or narrower than the others", "crop them: the middle counts"),
    ("wrong-extension", N, "names that say another format than the content", "rename them"),
    ("animated", N, "animations, of which the first frame counts", "save the frame that is meant"),
    ("several-pages", N, "files with several pictures, the first counts", "save the one meant"),
    ("cmyk", N, "CMYK photos, converted to RGB", "save them as RGB, if colours matter"),
    ("sixteen-bit", N, "photos with 16 bits, of which 8 are kept", "nothing, if 8 bits will do"),
    ("palette", N, "photos with a palette", "nothing, or find the originals: colours were lost"),
    ("alpha", N, "transparent photos, laid on white", "lay them on what they will stand on"),
    ("one-bit", N, "black and white without grey", "nothing, or find the originals"),
    ("grey", W, "grey photos among colour", "add more of them, or train with --channels 1"),
    ("colour", W, "colour photos among grey", "train with --channels 1"),
    ("turned", N, "photos turned by their EXIF, as they are shown", "nothing"),
    ("broken-exif", N, "EXIF that is damaged, and ignored", "look whether they stand upright"),
    ("place", N, "photos that say where they were taken", "remove the EXIF before you share them"),
    ("colour-profile", N, "colours of another profile than sRGB, read as sRGB", "save as sRGB"),
    # -- files and folders
    ("hidden", N, "hidden files and folders, passed over", "nothing"),
    ("stray", N, "files that are no photos, passed over", "nothing, or move them away"),
    ("archive", W, "archives among the photos, passed over", "unpack them, or move them away"),
    ("unnamed-photo", W, "photos without a photo's extension, passed over", "rename them"),
    ("outside-class", W, "photos outside class folders, passed over", "move them into a class"),
    ("nested", N, "folders in class folders, read as part of the class", "nothing, if they are"),
    ("split-inside-class", E, "folders named like splits in class folders", "split/class, not so"),
    ("beside-splits", W, "folders beside the splits, passed over", "move them into a split"),
    ("broken-link", W, "links to nothing, passed over", "restore what they point to, or remove"),
    ("link-loop", W, "links that lead in a circle", "remove them"),
    ("name-not-utf8", N, "names that are not UTF-8", "rename them: other programs fail on them"),
    ("name-clash", W, "names that differ by case only", "rename them: other systems lose one"),
    ("name-unportable", N, "names that other systems cannot hold", "rename them"),
    # -- classes
    ("empty-class", W, "class folders without photos", "add photos, or remove them"),
    ("class-unreadable", E, "classes none of whose photos decodes", "replace their photos"),
    ("class-case", W, "class names that differ by case only", "make them one"),
    ("class-spacing", W, "class names that differ by spaces, - or _ only", "make them one"),
    ("class-unicode", W, "class names that only look different to a computer", "make them one"),
    ("class-merged", N, "folders that are one class in two Unicode forms", "rename one of them"),
    ("class-name-odd", W, "class names with odd spaces or control characters", "rename them"),
    ("class-not-in-train", E, "classes without training photos", "add some, or remove the class"),
    ("class-not-in-split", W, "classes that a split does not test", "add photos to it"),
    ("class-small", W, "classes with fewer than 10 training photos", "add photos"),
    ("imbalance", N, "some classes have 10 times the photos of others", "see balanced accuracy"),
    ("format-tells-class", W, "the kind of file gives the class away", "save all alike"),
    ("split-small", N, "a split too small to tell models apart", "hold out more photos"),
    # -- tables
    ("row-repeated", N, "rows that say the same again", "remove them"),
    ("row-two-labels", E, "one photo with two labels", "keep the one that is right"),
    ("row-two-splits", E, "one photo in two splits", "keep one"),
    ("row-no-file", E, "rows whose file does not exist", "restore it, or remove the row"),
    ("row-no-label", E, "rows without a label", "fill it in, or remove the row"),
    ("row-no-path", E, "rows without a path", "fill it in, or remove the row"),
    ("row-bad-split", E, "rows with an unknown split", "use train, val or test"),
    ("row-outside", N, "rows whose file is outside the table's folder", "nothing, or move them"),
    ("not-in-table", N, "photos beside a table that no row names", "add rows, or nothing"),
)
KINDS: Final[dict[str, Kind]] = {row[0]: Kind(*row) for row in _ROWS}
