"""Outlier scores of per-sample gradients and the controls beside them. Everywhere: higher = more suspicious."""

from oga_core.detectors.budget import flag_count, flagged
from oga_core.detectors.canaries import BUDGETS
from oga_core.detectors.detector import Detector
from oga_core.detectors.gradients import Gradients, of_head, of_units
from oga_core.detectors.recommended import NAME as RECOMMENDED, Interval, Recommendation, Recommended
from oga_core.detectors.registry import ALWAYS, CONTROLS, DEFAULT, DETECTORS, chosen, listed, named, scores

__all__ = [
    "ALWAYS",
    "BUDGETS",
    "CONTROLS",
    "DEFAULT",
    "DETECTORS",
    "RECOMMENDED",
    "Detector",
    "Gradients",
    "Interval",
    "Recommendation",
    "Recommended",
    "chosen",
    "flag_count",
    "flagged",
    "listed",
    "named",
    "of_head",
    "of_units",
    "scores",
]
