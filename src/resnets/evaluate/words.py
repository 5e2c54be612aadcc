"""Figures as people say them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from resnets.evaluate.calibration import Calibration
from resnets.evaluate.comparison import Compared
from resnets.evaluate.confusion import most_confused
from resnets.evaluate.coverage import Coverage
from resnets.evaluate.curves import column
from resnets.evaluate.metrics import Evaluation, badness
from resnets.evaluate.slices import Slice
from resnets.pages import percent

NAMED = 3
"""Classes, and pairs of them, that a terminal is told of."""
SPLITS = {
    "test": ("the test split", ", which training never saw"),
    "val": (
        "the validation split",
        ", which helped to choose the best epoch, so the figure can be slightly too good",
    ),
    "train": ("the training split", ""),
    "all": ("all photos of the data", ""),
}
"""What a split is, and what that means for its figures, unless training saw its photos."""


@dataclass(frozen=True)
class Expectation:
    """Of `of` new photos `about` are right, and with 95 % confidence between `low` and `high`."""

    of: int
    about: int
    low: int
    high: int


@dataclass(frozen=True)
class Dots:
    """A hundred dots: surely right, inside the interval, surely wrong."""

    right: int
    maybe: int
    wrong: int


def details(evaluation: Evaluation) -> list[str]:
    """Return lines for a terminal: how many are right, the hardest classes, what is confused."""
    confusion, classes = evaluation.confusion, evaluation.classes
    right = sum(row[i] for i, row in enumerate(confusion))
    lines = [f"right    {right:,} of {evaluation.n:,}"]
    hardest = [row for row in sorted(evaluation.per_class, key=badness) if row.recall is not None]
    if len(hardest) > 2:
        shares = (f"{row.name} {percent(row.recall or 0.0)} %" for row in hardest[:NAMED])
        lines.append(f"hardest  {', '.join(shares)}")
    if pairs := most_confused(confusion, NAMED):
        taken = (f"{classes[p.truth]} for {classes[p.prediction]} ({p.count:,})" for p in pairs)
        lines.append(f"taken    {', '.join(taken)}")
    return lines


def trust(calibration: Calibration, before: Calibration | None, coverage: Coverage) -> list[str]:
    """Return lines for a terminal: how far probabilities are off, and what declining buys."""
    without = f" (without its temperature {100 * before.ece:.1f})" if before else ""
    lines = [f"sure     off by {100 * calibration.ece:.1f} points on average{without}"]
    found = coverage.at_accuracy["0.99"]
    if found and found.coverage < 1:
        lines.append(
            f"answers  {percent(found.coverage)} % of them with {percent(found.accuracy)} % right, "
            f"from a probability of {found.threshold:.3f}"
        )
    return lines


def slices(parts: Sequence[Slice]) -> list[str]:
    """Return a line for a terminal for each part of the photos that differs from the rest."""
    return [
        f"{part.differs:8} {part.fact} {part.value}: {percent(part.top1)} % of {part.n:,}, the "
        f"rest {percent(part.rest)} %"
        for part in parts
        if part.differs
    ]


def comparison(compared: Compared) -> str:
    """Return in a sentence or two which model is better, and how sure that is."""
    f = compared.figures
    low, high = 100 * f.difference_low, 100 * f.difference_high
    p_value = f"p = {f.p_value:.2g}" if f.p_value >= 1e-4 else "p < 0.0001"
    verdict = {
        "better": "This model is better",
        "worse": "This model is worse",
        "undecided": "Which one is better these photos do not tell",
    }[f.verdict]
    but = f" But of {compared.other}: {compared.learned}." if compared.learned else ""
    return (
        f"{verdict}: {percent(f.top1)} % right against {percent(f.other_top1)} %, a difference of "
        f"{100 * f.difference:+.2f} points (95 % interval {low:+.2f} to {high:+.2f}). Only this "
        f"one is right on {f.only_this:,}, only the other on {f.only_other:,} of {f.n:,} photos "
        f"(McNemar's exact test: {p_value}).{but}"
    )


def expectation(evaluation: Evaluation) -> Expectation:
    """Out of 100, or out of 1,000 and more where whole hundredths would hide the mistakes."""
    for of in (100, 1_000, 10_000, 100_000):
        low, about, high = (
            round(of * share)
            for share in (evaluation.top1_low, evaluation.top1, evaluation.top1_high)
        )
        if low < about < high or (low < high and evaluation.top1 in (0.0, 1.0)):
            break
    return Expectation(of, about, low, high)


def dots(evaluation: Evaluation) -> Dots:
    """The interval of top-1 in whole hundredths."""
    low, high = round(100 * evaluation.top1_low), round(100 * evaluation.top1_high)
    return Dots(right=low, maybe=high - low, wrong=100 - high)


def provenance(split: str, learned: str = "", told: bool = True) -> str:
    """What a split is, and how far its figure can be believed, if `learned` does not say it.

    `told` is whether the model file tells what trained the model.
    """
    what, remark = SPLITS.get(split, (f"split {split}", ""))
    if not told:
        remark = "; what trained the model is not recorded in its file"
    return what if learned else what + remark


def learned(seen: int | None, n: int) -> str:
    """Say what keeps figures of `n` photos from being a judgement, or nothing.

    `seen` is how many of them training saw; None where that is not known.
    """
    if seen is None:
        return "these photos may have trained the model, whose file does not tell"
    if seen == n:
        return "these photos trained the model"
    return f"{seen:,} of these {n:,} photos were seen in training" if seen else ""


def pace(history: Sequence[Mapping[str, float]]) -> str:
    """``"12 epochs in 1 min 43 s, 812 images a second"``, as far as the history tells."""
    seconds = [value for _, value in column(history, "seconds")]
    rates = [value for _, value in column(history, "images_per_second")]
    words = f"{len(history):,} epoch{'' if len(history) == 1 else 's'}"
    if seconds:
        words += f" in {duration(sum(seconds))}"
    if rates:
        words += f", {median(rates):,.0f} images a second"
    return words


def duration(seconds: float) -> str:
    """``103`` → ``"1 min 43 s"``: the largest unit and the one below it."""
    whole = round(seconds)
    counts = {
        "d": whole // 86_400,
        "h": whole // 3_600 % 24,
        "min": whole // 60 % 60,
        "s": whole % 60,
    }
    parts = [f"{count} {unit}" for unit, count in counts.items()]
    largest = next((i for i, count in enumerate(counts.values()) if count), len(parts) - 1)
    return " ".join(parts[largest : largest + 2])
