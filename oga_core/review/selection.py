"""The one selection behind histogram, map, table and gallery: which samples are meant, and in which order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from oga_core.data import Dataset
from oga_core.data.search import texts, with_words
from oga_core.detectors import flag_count
from oga_core.review.lasso import MODES, Drawn, Polygon, within
from oga_core.review.orders import ORDERS, in_clusters, order_by_uncertainty
from oga_core.review.standing import STATES, Standing
from oga_core.runs import Run

USUAL_BUDGET, NOTHING_TO_TRIM = 0.05, 0.01
"""Shares that are flagged at first where there is no recommendation, and where it is to trim nothing."""
LONGEST_SEARCH = 200
"""Characters."""
MOST_PICKED = 1000
"""Samples."""

Positions = Mapping[str, np.ndarray] | None


@dataclass(frozen=True)
class Selection:
    """The samples that the reviewer has chosen to look at.

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
        Polygons on pictures of the map in the order they were drawn: ``replace``, ``add`` or ``subtract``, the corners, and the
        picture.
    score_range
        Least and greatest score by the detector, both inclusive.
    search
        Words that must all be in the text or the source, in capitals or not.
    disputed
        Whether only samples are meant that reviewers disagree about.
    order
        One of `ORDERS`.
    samples
        Ids of samples that were picked, which alone are meant; empty means all.
    """

    detector: str
    budget: float = USUAL_BUDGET
    flagged_only: bool = True
    labels: tuple[str, ...] = ()
    predicted: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    lassos: tuple[Drawn, ...] = ()
    score_range: tuple[float, float] | None = None
    search: str = ""
    disputed: bool = False
    order: str = ORDERS[0]
    samples: tuple[str, ...] = ()

    def lassoed(self, polygon: Polygon, mode: str, picture: str) -> Selection:
        """The selection after another lasso; one that replaces makes those before it pointless.

        The first one takes from all samples, not from the flagged ones only, unless it subtracts.
        """
        before = () if mode == "replace" else self.lassos
        flagged_only = self.flagged_only and (bool(self.lassos) or mode == "subtract")
        return replace(self, lassos=(*before, (mode, polygon, picture)), flagged_only=flagged_only)

    def without_lasso(self) -> Selection:
        """The selection with nothing drawn on the map."""
        return replace(self, lassos=(), flagged_only=True)


def default_selection(run: Run) -> Selection:
    """The selection that a run opens with: the recommended score and budget, where it has them, else its first detector and 5 %.

    Where nothing is to be trimmed, the first 1 %.
    """
    found = run.recommendation
    budget = USUAL_BUDGET if found is None else found.budget or NOTHING_TO_TRIM
    return Selection(run.detectors[0].name, budget)


def select_rows(
    run: Run, selection: Selection, standing: Standing, positions: Positions = None, dataset: Dataset | None = None
) -> np.ndarray:
    """Rows of ``run.table`` that are selected, in the order of the selection, int64.

    Parameters
    ----------
    standing
        The decisions in force.
    positions
        Of the samples in each picture of the map, by its name, float32, shape ``(n, 2)``; a lasso on a missing picture is
        ignored.
    dataset
        The run's data, whose texts are searched; without it only the sources are.
    """
    return arrange_rows(run, selection, standing, positions, dataset)[0]


def arrange_rows(
    run: Run, selection: Selection, standing: Standing, positions: Positions = None, dataset: Dataset | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """As `select_rows`, and in the order ``cluster`` the number of each row's group, int64, as `clusters` gives it.

    Groups are made before decisions are looked at, so that deciding does not change them.
    """
    rows = run.ranked(selection.detector)
    count = flag_count(selection.budget, len(rows))
    rows = (rows[:count] if selection.flagged_only else rows).astype(np.int64)
    rows = _left(rows, _by_content(run, selection, positions, dataset))
    groups = None
    if selection.order == "cluster":
        rows, groups = in_clusters(run, rows)
    elif selection.order == "uncertainty":
        rows = order_by_uncertainty(run, rows, selection.detector, count)
    decided = _by_decision(selection, standing)
    return _left(rows, decided), groups if groups is None or decided is None else groups[decided[rows]]


def _left(rows: np.ndarray, keep: np.ndarray | None) -> np.ndarray:
    return rows if keep is None else rows[keep[rows]]


def _by_content(run: Run, selection: Selection, positions: Positions, dataset: Dataset | None) -> np.ndarray | None:
    """Which rows pass the filters that no decision changes, bool, shape ``(n,)``; None where there are none."""
    masks = []
    for column, names in (("label", selection.labels), ("predicted", selection.predicted)):
        if names and column in run.table:
            wanted = np.isin(np.array([*run.class_names, ""], dtype=object), names)
            masks.append(wanted[run.codes(column)])
    if selection.samples:
        picked = np.zeros(len(run.table), bool)
        picked[run.rows_of(selection.samples)] = True
        masks.append(picked)
    if selection.score_range is not None:
        score = run.table[selection.detector].to_numpy()
        low, high = selection.score_range
        masks.append((score >= low) & (score <= high))
    if selection.search.strip():
        masks.append(_with_words(run, selection.search, dataset))
    if (drawn := within(positions or {}, selection.lassos)) is not None:
        masks.append(drawn)
    return np.logical_and.reduce(masks) if masks else None


def _by_decision(selection: Selection, standing: Standing) -> np.ndarray | None:
    masks = []
    if selection.decisions:
        masks.append(np.isin(STATES, selection.decisions)[standing.codes])
    if selection.disputed:
        masks.append(standing.disputed)
    return np.logical_and.reduce(masks) if masks else None


def _with_words(run: Run, words: str, dataset: Dataset | None) -> np.ndarray:
    if dataset is not None:
        return dataset.search(words)[run.table["index"].to_numpy()]
    return with_words([texts(run.table["source"])], words)


def to_json(selection: Selection) -> str:
    """The selection as JSON, the same for equal selections."""
    return json.dumps(asdict(selection), sort_keys=True)


def from_json(text: str, run: Run) -> Selection:
    """A selection for a run from JSON that may be old or untrusted: what does not fit the run is left out."""
    known = default_selection(run)
    try:
        found: dict[str, Any] = json.loads(text)
        lassos = tuple(
            (str(mode), tuple((float(x), float(y)) for x, y in polygon), str(picture))
            for mode, polygon, picture in found["lassos"]
        )
        budget = float(found["budget"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return known
    picked = found.get("samples")
    detector, search, order = (str(found.get(field, "")) for field in ("detector", "search", "order"))
    return Selection(
        detector=detector if detector in {d.name for d in run.detectors} else known.detector,
        budget=budget if 0 < budget < 1 else known.budget,
        flagged_only=bool(found.get("flagged_only", True)),
        labels=_check_known(found.get("labels"), run.class_names),
        predicted=_check_known(found.get("predicted"), run.class_names if "predicted" in run.task.predictions else ()),
        decisions=_check_known(found.get("decisions"), STATES),
        lassos=tuple(drawn for drawn in lassos if drawn[0] in MODES),
        score_range=_range(found.get("score_range")),
        search=search[:LONGEST_SEARCH],
        disputed=found.get("disputed") is True,
        order=order if order in ORDERS else ORDERS[0],
        samples=tuple(id_ for id_ in picked[:MOST_PICKED] if isinstance(id_, str)) if isinstance(picked, list) else (),
    )


def _check_known(values: Any, allowed: Any) -> tuple[str, ...]:
    return tuple(v for v in values if v in allowed) if isinstance(values, list) else ()


def _range(found: Any) -> tuple[float, float] | None:
    try:
        low, high = map(float, found)
    except (ValueError, TypeError, OverflowError):
        return None
    return (low, high) if low <= high else None
