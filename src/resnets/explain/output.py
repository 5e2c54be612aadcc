"""What `resnets explain` prints, and the pictures it writes."""

from __future__ import annotations

from pathlib import Path

from resnets.explain import PAGE, PICTURE
from resnets.explain.explainer import Explainer, Explanation
from resnets.explain.page import Page
from resnets.explain.pictures import side_by_side
from resnets.files import atomic, printable


def caption(explainer: Explainer) -> str:
    """Say how maps are made, in one line."""
    method = explainer.method
    at = f" at {explainer.layer}" if method.at_layer else ""
    side = explainer.preprocess.size
    return f"maps     {method.title}{at}, of photos at {side} px; test: {explainer.test}"


def line(one: Explanation) -> str:
    """Return a photo's row for people: path, class, its probability, and the verdict."""
    path = printable(one.path)
    if one.status != "ok":
        return f"{path}\t-\t{one.status}"
    shown = [path, printable(one.label), f"{one.probability:.4f}"]
    if one.trial:
        verdict = {True: "passes", False: "fails", None: "empty map"}[one.trial.passes]
        shown.append(f"{verdict} (rank correlation {one.trial.rank:+.2f})")
    return "\t".join(shown)


class Output:
    """What is written of photos as they are explained: a page, a picture of one photo, or into a
    folder a picture of each and a page of all.

    A picture is called by its number and its photo's name, as photos of two folders may share one.
    """

    def __init__(self, explainer: Explainer, out: Path, photos: int) -> None:
        """Write to `out`, of so many photos. Raises UserError if a file cannot be written."""
        self._explainer, self._out = explainer, out
        self._said = caption(explainer).partition(" ")[2].strip()
        self._digits, self._number = len(str(photos)), 0
        self._page = None if out.suffix == PICTURE else Page()
        self.written = False
        """Whether there is anything at `out`: of a photo that does not decode there is no picture.
        """
        if not out.suffix:
            out.mkdir(exist_ok=True)

    def add(self, one: Explanation) -> None:
        """Write the photo's picture, if pictures are written, and put it on the page."""
        self._number += 1
        if self._page:
            self._page.add(one)
        if one.status == "ok" and self._out.suffix != PAGE:
            with atomic(self._picture_of(one)) as temporary:
                side_by_side(one, self._said).save(temporary, "PNG")
            self.written = True

    def close(self) -> None:
        """Write the page, if there is one."""
        if self._page:
            out = self._out if self._out.suffix else self._out / "explain.html"
            self._page.write(self._explainer, out)
            self.written = True

    def _picture_of(self, one: Explanation) -> Path:
        if self._out.suffix:
            return self._out
        stem = printable(Path(one.path).stem)[:80]
        return self._out / f"{self._number:0{self._digits}}-{stem}.png"
