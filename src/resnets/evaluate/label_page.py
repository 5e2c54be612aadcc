"""The page of labels that are likely to be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnets.evaluate.mislabelled import Mislabelled
from resnets.pages import within, write_page

PICTURE_BYTES = 2_500_000  # for all photos together, before base64 makes them a third larger
PAIRS = 12


@dataclass(frozen=True)
class Suspect:
    """A photo whose label is likely to be wrong.

    Attributes:
        path: where it lies, for people.
        given, suggested: class names.
        given_probability, probability: of these two, fractions.
        thumbnail: a small picture of it, PNG or JPEG bytes.
    """

    path: str
    given: str
    suggested: str
    given_probability: float
    probability: float
    thumbnail: bytes


def write_labels_page(
    out: Path,
    name: str,
    result: Mislabelled,
    photos: Sequence[Suspect],
    how: str,
    left_out: int,
) -> None:
    """Write one self-contained HTML file, atomically, of fewer than 5 MB.

    Args:
        out: the file; its folder must exist.
        name: of the data.
        result: what was found.
        photos: those to show, the surest first.
        how: what judged them, in words.
        left_out: photos that are not judged.

    Raises:
        ValueError: a thumbnail is neither PNG nor JPEG.
        UserError: the file cannot be written.
    """
    fits = within((photo.thumbnail for photo in photos), PICTURE_BYTES)
    write_page(
        out,
        __package__,
        "labels.html.j2",
        name=name,
        result=result,
        photos=[photo for photo, fit in zip(photos, fits, strict=True) if fit],
        mixes=[mix for mix in result.mixes if mix.found][:PAIRS],
        how=how,
        left_out=left_out,
    )
