"""The report: one HTML file for a manager and an engineer alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from resnets.evaluate import confusion, curves, diagrams, words
from resnets.evaluate.calibration import Calibration
from resnets.evaluate.comparison import Compared
from resnets.evaluate.coverage import Coverage
from resnets.evaluate.metrics import Evaluation, badness
from resnets.evaluate.robustness import Robustness, figure
from resnets.evaluate.slices import Slice
from resnets.pages import within, write_page

SHOWN_MISTAKES = 24
SHOWN_PAIRS = 8
PICTURE_BYTES = 2_500_000  # for all photos together, before base64 makes them a third larger
OPEN_CLASSES = 24  # with more classes than this the whole table is folded away,
WORST_CLASSES = 10  # and only these are shown outright
NO_EXAMPLES: Mapping[tuple[int, int], Examples] = MappingProxyType({})
NO_FACTS: Mapping[str, Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True)
class ReportPhoto:
    """A photo that was misjudged.

    Attributes:
        path: where it lies, for people.
        truth, prediction: class names.
        probability: of the prediction, a fraction.
        thumbnail: a small picture of it, PNG or JPEG bytes.
    """

    path: str
    truth: str
    prediction: str
    probability: float
    thumbnail: bytes


@dataclass(frozen=True)
class Examples:
    """Small pictures of a confused pair: photos that were taken for the other class, and photos of
    the other class that were not mistaken."""

    mistaken: tuple[bytes, ...]
    right: tuple[bytes, ...]


@dataclass(frozen=True)
class Trust:
    """How far to believe what the model says of its own answers.

    Attributes:
        calibration: at the model's `temperature`.
        uncalibrated: without it; None where the model has none.
        coverage: what declining to answer buys.
    """

    calibration: Calibration
    uncalibrated: Calibration | None
    temperature: float
    coverage: Coverage


def write_report(
    out: Path,
    *,
    title: str,
    evaluation: Evaluation,
    split: str,
    learned: str = "",
    told: bool = True,
    history: Sequence[Mapping[str, float]] = (),
    facts: Mapping[str, Mapping[str, str]] = NO_FACTS,
    mistakes: Sequence[ReportPhoto] = (),
    examples: Mapping[tuple[int, int], Examples] = NO_EXAMPLES,
    trust: Trust | None = None,
    slices: Sequence[Slice] = (),
    compared: Compared | None = None,
    notes: Sequence[str] = (),
    robustness: Robustness | None = None,
) -> None:
    """Write one self-contained HTML file, atomically: `out` is the old file or the new, never half.

    Args:
        out: the file; its folder must exist.
        title: heading of the report.
        evaluation: the figures.
        split: which photos they come from: ``test``, ``val``, ``train``, ``all`` or another name.
        learned: what keeps the figures from being a judgement, as `words.learned` says it.
        told: whether the model file tells what trained the model.
        history: a row an epoch, with any of ``epoch``, ``train_loss``, ``val_loss``, ``val_top1``
            (a fraction), ``lr``, ``images_per_second``, ``seconds``. A missing column is no curve.
        facts: groups of names and values, such as ``{"Model": {"architecture": "resnet18"}}``.
        mistakes: misjudged photos, in any order; the most confident ones are shown.
        examples: photos of confused pairs, by (truth, prediction).
        trust: calibration, and accuracy against coverage.
        slices: parts of the photos.
        compared: how the model compares with another.
        notes: sentences for the end of the report.
        robustness: the figures of corrupted photos; no section without them.

    Raises:
        ValueError: a thumbnail is neither PNG nor JPEG.
        UserError: the file cannot be written; what was there before is untouched.
    """
    e = evaluation
    pairs = confusion.most_confused(e.confusion)
    matrix = confusion.table(e.confusion, e.classes, pairs)
    write_page(
        out,
        __package__,
        "report.html.j2",
        title=title,
        evaluation=e,
        wrong=e.n - sum(row[i] for i, row in enumerate(e.confusion)),
        split=words.provenance(split, learned, told),
        learned=learned,
        expectation=words.expectation(e),
        dots=words.dots(e),
        pairs=pairs[:SHOWN_PAIRS],
        matrix=matrix,
        picture=confusion.picture(e.confusion) if matrix.partial else None,
        block_side=confusion.block_side(len(e.classes)),
        mistakes=_shown(mistakes),
        mistakes_in_all=len(mistakes),
        examples=examples,
        trust=trust,
        diagram=trust and diagrams.reliability(trust.calibration, trust.uncalibrated),
        tradeoff=trust and diagrams.tradeoff(trust.coverage),
        slices=_by_fact(slices),
        marked=[part for part in slices if part.differs],
        compared=compared,
        comparison=compared and words.comparison(compared),
        axes=diagrams,
        classes=sorted(e.per_class, key=badness),
        open_classes=OPEN_CLASSES,
        worst_classes=WORST_CLASSES,
        charts=curves.charts(history),
        frame=curves,
        pace=words.pace(history),
        facts=facts,
        notes=notes,
        robustness=robustness,
        robust_lines=figure(robustness) if robustness else None,
    )


def _shown(photos: Sequence[ReportPhoto]) -> list[ReportPhoto]:
    """The most confident mistakes that fit into the budget of bytes."""
    surest = sorted(photos, key=lambda photo: -photo.probability)[:SHOWN_MISTAKES]
    fits = within((photo.thumbnail for photo in surest), PICTURE_BYTES)
    return [photo for photo, fit in zip(surest, fits, strict=True) if fit]


def _by_fact(slices: Sequence[Slice]) -> dict[str, list[Slice]]:
    facts: dict[str, list[Slice]] = {}
    for part in slices:
        facts.setdefault(part.fact, []).append(part)
    return facts
