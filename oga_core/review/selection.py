"""The one selection behind histogram, map, table and gallery: which samples are meant, in the order of suspicion."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from oga_core.detectors import flagged
from oga_core.review.decisions import ACTIONS, Decision
from oga_core.runs import Run

USUAL_BUDGET, NOTHING_TO_TRIM = 0.05, 0.01
"""Shares that are flagged at first where there is no recommendation, and where it is to trim nothing."""
UNDECIDED = "undecided"
STATES = (UNDECIDED, *ACTIONS)
MODES = ("replace", "add", "subtract")
POINTS_AT_ONCE = 1 << 16  # working arrays stay in the processor's cache

Polygon = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Selection:
    """What the reviewer has chosen to look at.

    Attributes
    ----------
    detector, budget
        The score that orders the samples, and the share of them in (0, 1) that counts as flagged.
    flagged_only
        Whether only flagged samples are meant.
    labels, predicted
        Given labels and predicted classes; empty means all.
    decisions
        Values of `STATES`; empty means all.
    lassos
        Polygons on the map in the order they were drawn, each with ``replace``, ``add`` or ``subtract``.
    """

    detector: str
    budget: float = USUAL_BUDGET
    flagged_only: bool = True
    labels: tuple[str, ...] = ()
    predicted: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    lassos: tuple[tuple[str, Polygon], ...] = ()

    def lassoed(self, polygon: Polygon, mode: str) -> Selection:
        """The selection after another lasso; one that replaces makes those before it pointless."""
        before = () if mode == "replace" else self.lassos
        return replace(self, lassos=(*before, (mode, polygon)), flagged_only=self.flagged_only and bool(self.lassos))

    def without_lasso(self) -> Selection:
        """The selection with nothing drawn on the map."""
        return replace(self, lassos=(), flagged_only=True)


def default_selection(run: Run) -> Selection:
    """What a run is looked at with first: the recommended score and budget, where it has them, else its first detector and 5 %.

    Where nothing is to be trimmed, the first 1 %.
    """
    found = run.recommendation
    budget = USUAL_BUDGET if found is None else found.budget or NOTHING_TO_TRIM
    return Selection(run.detectors[0].name, budget)


def selected(run: Run, selection: Selection, standing: Mapping[str, Decision], positions: np.ndarray | None) -> np.ndarray:
    """Rows of ``run.table`` that are selected, most suspicious first, int64.

    Parameters
    ----------
    standing
        The decisions that stand, by sample id.
    positions
        The run's map, float32, shape ``(n, 2)``; without it lassos are left out of account.
    """
    table = run.table
    score = table[selection.detector].to_numpy()
    rows = flagged(score, selection.budget) if selection.flagged_only else flagged(score, len(score))
    keep = np.ones(len(table), bool)
    if selection.labels:
        keep &= table["label"].isin(selection.labels).to_numpy()
    if selection.predicted:
        keep &= table["predicted"].isin(selection.predicted).to_numpy()
    if selection.decisions:
        keep &= np.isin(states(table, standing), selection.decisions)
    if selection.lassos and positions is not None:
        keep &= within(positions, selection.lassos)
    return rows[keep[rows]]


def states(table: pd.DataFrame, standing: Mapping[str, Decision]) -> np.ndarray:
    """A value of `STATES` for each row of a run's table, str, shape ``(n,)``."""
    return np.array([standing[s].action if s in standing else UNDECIDED for s in table["sample_id"]], dtype=str)


def within(positions: np.ndarray, lassos: tuple[tuple[str, Polygon], ...]) -> np.ndarray:
    """Which points a series of lassos leaves, bool, shape ``(n,)``."""
    chosen = np.zeros(len(positions), bool)
    for mode, polygon in lassos:
        hit = inside(positions, polygon)
        chosen = hit if mode == "replace" else chosen | hit if mode == "add" else chosen & ~hit
    return chosen


def inside(positions: np.ndarray, polygon: Sequence[Sequence[float]]) -> np.ndarray:
    """Which points lie in a polygon by the even-odd rule, bool ``(n,)``; it may cross itself and is closed by itself.

    Parameters
    ----------
    positions
        float ``(n, 2)``; a point that is not finite lies outside.
    polygon
        Corners ``(x, y)``; fewer than 3 enclose nothing.
    """
    mask = np.zeros(len(positions), bool)
    if len(polygon) < 3:
        return mask
    corners = np.asarray(polygon, np.float64)
    low, high = corners.min(0), corners.max(0)
    for start in range(0, len(positions), POINTS_AT_ONCE):
        block = positions[start : start + POINTS_AT_ONCE]
        near = np.flatnonzero(((block >= low) & (block <= high)).all(1))
        mask[start + near] = _odd_crossings(block[near].astype(np.float64), corners)
    return mask


def _odd_crossings(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Whether the ray from each point to the right crosses the polygon an odd number of times."""
    x, y = points.T
    odd = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0)):
        spans = (y < y0) != (y < y1)
        # Multiplied out instead of divided, so that corners on whole numbers are decided exactly.
        side = (y - y0) * (x1 - x0) - (x - x0) * (y1 - y0)
        odd ^= spans & (side > 0 if y1 > y0 else side < 0)
    return odd


def to_json(selection: Selection) -> str:
    """The selection as JSON, the same for equal selections."""
    return json.dumps(asdict(selection), sort_keys=True)


def from_json(text: str, run: Run) -> Selection:
    """A selection for a run from JSON that may be old or a stranger's: what does not fit the run is left out."""
    known = default_selection(run)
    try:
        found: dict[str, Any] = json.loads(text)
        lassos = tuple((str(mode), tuple((float(x), float(y)) for x, y in polygon)) for mode, polygon in found["lassos"])
        budget = float(found["budget"])
    except (ValueError, TypeError, KeyError):
        return known
    detector = str(found.get("detector"))
    return Selection(
        detector=detector if detector in {d.name for d in run.detectors} else known.detector,
        budget=budget if 0 < budget < 1 else known.budget,
        flagged_only=bool(found.get("flagged_only", True)),
        labels=_known(found.get("labels"), run.class_names),
        predicted=_known(found.get("predicted"), run.class_names),
        decisions=_known(found.get("decisions"), STATES),
        lassos=tuple((mode, polygon) for mode, polygon in lassos if mode in MODES),
    )


def _known(values: Any, allowed: Any) -> tuple[str, ...]:
    return tuple(v for v in values if v in allowed) if isinstance(values, list) else ()
