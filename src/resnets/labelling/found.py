"""What is found wrong with the labels of a data set, as text, tables and a page."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnets.data.images import DecodeError, decode
from resnets.data.sources import Dataset, Samples
from resnets.evaluate.label_page import Suspect, write_labels_page
from resnets.evaluate.mislabelled import Mislabelled, rows
from resnets.files import atomic, on_screen
from resnets.labelling.out_of_fold import OutOfFold
from resnets.pages import thumbnail

SHOWN = 20
"""Photos that a terminal names; the other outputs have all of them."""
PICTURED = 120
MIXES = 5
PROBABILITIES = ("given_probability", "probability")


@dataclass(frozen=True, eq=False)
class LabelCheck:
    """The labels of a data set, judged.

    Attributes:
        dataset: what was opened; `samples` are all its photos.
        judgement: what networks that never saw a photo say of it.
        result: which labels are likely to be wrong, of the photos that are `judged`.
        how: what judged them, for people.
        work: the folder of what was computed.
    """

    dataset: Dataset
    judgement: OutOfFold
    result: Mislabelled
    how: str
    work: Path

    @property
    def samples(self) -> Samples:
        return self.dataset.splits["all"]

    def issues(self, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the photos whose labels are likely to be wrong, the surest first."""
        judged = self.judgement.judged
        for row in rows(self.result, limit):
            i = int(judged[row.pop("position")])
            yield {
                "path": self.samples.path(i),
                "id": self.samples.ids[i],
                **row,
                "fold": int(self.judgement.fold[i]),
            }

    def left_out(self) -> dict[str, str]:
        """Return why which photos are not judged, by their ids."""
        states = zip(self.samples.ids, self.judgement.status, strict=True)
        return {name: why for name, why in states if why != "ok"}

    def to_json(self) -> dict[str, Any]:
        result = self.result
        return {
            "n": len(self.samples),
            "judged": len(result.labels),
            "left_out": self.left_out(),
            "how": self.how,
            "agreement": result.agreement,
            "found": len(result.found),
            "unsure": result.unsure,
            "share": result.share,
            "share_low": result.share_low,
            "share_high": result.share_high,
            "mixed": [mix._asdict() for mix in result.mixes],
            "issues": list(self.issues()),
        }

    def lines(self) -> Iterator[str]:
        """Yield what a terminal shows."""
        result = self.result
        yield result.summary()
        out = self.left_out()
        for name, why in [*out.items()][:1]:
            yield on_screen(f"not judged: {len(out):,}, such as {name} ({why})")
        for mix in result.mixes[:MIXES]:
            if mix.found:
                yield on_screen(f"labelled {mix.given}, seems {mix.suggested}: {mix.found:,}")
        for row in self.issues(SHOWN):
            yield on_screen(f"{row['path']}: {row['given']} → {row['suggested']} ({row['why']})")
        if len(result.found) > SHOWN:
            yield f"… and {len(result.found) - SHOWN:,} more, which the other outputs have"

    def write_probabilities(self, path: Path) -> None:
        """Write a row a photo, judged or not, with all probabilities (Parquet)."""
        self.judgement.write(path, self.samples, self.dataset.classes)

    def write_decisions(self, path: Path) -> None:
        """Write a CSV of the photos found, whose ``decision`` a person fills in: keep, drop, or
        the right class."""
        columns = ("path", "given", "suggested", "quality")
        with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*columns, "decision"])
            writer.writerows([*(row[name] for name in columns), ""] for row in self.issues())

    def write_page(self, path: Path) -> None:
        """Write the HTML page, with thumbnails of the first `PICTURED`."""
        judged, photos = self.judgement.judged, []
        for row, i in zip(self.issues(PICTURED), self.result.found, strict=False):
            try:
                picture = thumbnail(decode(self.samples.read(int(judged[i]))))
            except DecodeError:  # the file has gone since
                continue
            said = {name: row[name] for name in ("given", "suggested", *PROBABILITIES)}
            photos.append(Suspect(row["id"], **said, thumbnail=picture))
        write_labels_page(
            path, self.dataset.name, self.result, photos, self.how, len(self.left_out())
        )
