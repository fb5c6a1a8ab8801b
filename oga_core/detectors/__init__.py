"""Outlier scores of per-sample gradients and the controls beside them. Everywhere: higher = more suspicious."""

from oga_core.detectors.budget import flag_count, flag_rows
from oga_core.detectors.canaries import BUDGETS
from oga_core.detectors.detector import Detector
from oga_core.detectors.gradients import Gradients, of_head, of_units
from oga_core.detectors.recommended import NAME as RECOMMENDED, Interval, Recommendation, Recommended
from oga_core.detectors.registry import ALWAYS, CONTROLS, DEFAULT, DETECTORS, choose_detectors, list_names, make_detector, scores

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
    "choose_detectors",
    "flag_count",
    "flag_rows",
    "list_names",
    "make_detector",
    "of_head",
    "of_units",
    "scores",
]
