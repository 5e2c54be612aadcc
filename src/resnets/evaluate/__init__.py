"""How good a classifier is, how sure that figure is, and a report that people can read."""

from __future__ import annotations

from resnets.evaluate.intervals import wilson
from resnets.evaluate.metrics import ClassMetrics, Evaluation, evaluate
from resnets.evaluate.report import ReportPhoto, write_report

__all__ = ["ClassMetrics", "Evaluation", "ReportPhoto", "evaluate", "wilson", "write_report"]
