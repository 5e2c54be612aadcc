"""What `resnets explain` prints, and the pictures it writes."""

from __future__ import annotations

from pathlib import Path

from resnets.explain import PAGE, PICTURE
from resnets.explain.explainer import Explainer, Explanation
from resnets.explain.page import Page
from resnets.explain.pictures import side_by_side
from resnets.files import atomic, on_screen, printable


def caption(explainer: Explainer) -> str:
    """Say how maps are made, in one line."""
    method = explainer.method
    at = f" at {explainer.layer}" if method.at_layer else ""
    side = explainer.preprocess.size
    return f"maps     {method.title}{at}, of photos at {side} px; test: {explainer.test}"


def line(one: Explanation) -> str:
    """Return a photo's row for people: path, class, its probability, the class that is explained if
    that is another, and what the tests say."""
    path = on_screen(one.path)
    if one.status != "ok":
        return f"{path}\t-\t{on_screen(one.status)}"
    label, probability = one.top[0]
    shown = [path, on_screen(label), f"{probability:.4f}"]
    if one.label != label:
        shown[-1] += f", explained: {on_screen(one.label)} {one.probability:.4f}"
    if one.trial:
        verdict = {True: "passes", False: "fails", None: "empty map"}[one.trial.passes]
        shown.append(f"{verdict} (rank correlation {one.trial.rank:+.2f})")
    if one.curves:
        better = ", ".join(f"{k} {'yes' if c.better else 'no'}" for k, c in one.curves.items())
        shown.append(f"better than random order: {better}")
    return "\t".join(shown)


class Output:
    """What is written of photos as they are explained: a page, a picture of one photo, or into a
    folder a picture of each and a page of all.

    A picture is called by its number and its photo's name, as photos of two folders may share one.
    """

    def __init__(self, explainer: Explainer, out: Path, photos: int) -> None:
        """Write to `out`, of so many photos; nothing before the first `add`."""
        self._explainer, self._out, self._photos = explainer, out, photos
        self._said = caption(explainer).partition(" ")[2].strip()
        self._digits, self._number = len(str(photos)), 0
        self._ending = out.suffix.lower()
        self._page = None if self._ending == PICTURE else Page()
        self.written: list[Path] = []
        """The files; of a photo that does not decode there is no picture."""

    def add(self, one: Explanation) -> None:
        """Write the photo's picture, if pictures are written, and put it on the page.

        Raises:
          UserError: it cannot be written.
        """
        self._number += 1
        if self._page:
            self._page.add(one)
        if one.status == "ok" and self._ending != PAGE:
            path = self._out if self._ending else self._inside(self._name_of(one))
            with atomic(path) as temporary:
                side_by_side(one, self._said).save(temporary, "PNG")
            self.written.append(path)

    def close(self) -> None:
        """Write the page, if there is one. Raises UserError if it cannot be written."""
        if self._page:
            path = self._out if self._ending else self._inside("explain.html")
            self._page.write(self._explainer, path)
            self.written.append(path)

    def older(self) -> list[str]:
        """Return the names of pictures in the folder that have not been written now."""
        found = [] if self._ending else self._out.glob(f"*{PICTURE}")
        return sorted(path.name for path in set(found).difference(self.written))

    def so_far(self) -> str:
        """Say what is written of a page that is not finished."""
        if not self.written:
            return "nothing is written"
        return (
            f"pictures of {len(self.written):,} of {self._photos:,} photos are in {self._out}, "
            "without a page of them"
        )

    def _inside(self, name: str) -> Path:
        self._out.mkdir(exist_ok=True)
        return self._out / name

    def _name_of(self, one: Explanation) -> str:
        stem = printable(Path(one.path).stem)[:80]
        return f"{self._number:0{self._digits}}-{stem}{PICTURE}"
