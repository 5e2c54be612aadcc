"""What `resnets explain` prints, and the pictures it writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from resnets.explain.explainer import Explainer, Explanation
from resnets.explain.page import write_explanations
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


def write_pictures(explained: Sequence[Explanation], explainer: Explainer, out: Path) -> None:
    """Write a picture of one photo, or into a folder one of each and a page of all.

    A picture is called by its number and its photo's name, as photos of two folders may share one.

    Raises:
      UserError: one cannot be written.
    """
    said = caption(explainer).partition(" ")[2].strip()
    good = [(i, one) for i, one in enumerate(explained, 1) if one.status == "ok"]
    if out.suffix:
        for _, one in good:
            _save(one, said, out)
        return
    out.mkdir(exist_ok=True)
    digits = len(str(len(explained)))
    for i, one in good:
        stem = printable(Path(one.path).stem)[:80]
        _save(one, said, out / f"{i:0{digits}}-{stem}.png")
    write_explanations(explained, explainer, out / "explain.html")


def _save(one: Explanation, said: str, path: Path) -> None:
    with atomic(path) as temporary:
        side_by_side(one, said).save(temporary, "PNG")
