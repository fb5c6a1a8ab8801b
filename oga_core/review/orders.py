"""The orders in which selected samples can be looked at."""

from __future__ import annotations

import numpy as np

from oga_core.detectors import RECOMMENDED
from oga_core.detectors.noise import Noise
from oga_core.detectors.out_of_fold import PREFIX
from oga_core.review.clusters import MOST, clusters
from oga_core.runs import Run

ORDERS = ("suspicion", "cluster", "uncertainty")


def in_clusters(run: Run, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows with the biggest group first, in a group by suspicion, and the group of each, int64.

    Parameters
    ----------
    rows
        Most suspicious first. Groups of the same size come in the order of their most suspicious sample.
    """
    groups = clusters(run, rows)
    _, first, group, sizes = np.unique(groups[:MOST], return_index=True, return_inverse=True, return_counts=True)
    order = np.arange(len(rows))
    order[:MOST] = np.lexsort((first[group], -sizes[group]))  # which is stable; the others are alone, and come last anyway
    return rows[order], groups[order]


def order_by_uncertainty(run: Run, rows: np.ndarray, detector: str, flags: int) -> np.ndarray:
    """Rows about which a person's answer tells most, first: it is least known whether their label is wrong.

    Uncertainty sampling (Lewis and Gale, A sequential algorithm for training text classifiers, SIGIR 1994): the probability of
    a wrong label nearest to ½, where the run's recommended score is one; else the place in the order of suspicion nearest to
    where the flags end.

    Parameters
    ----------
    rows
        Most suspicious first by ``detector``; equally uncertain ones stay so.
    flags
        How many samples are flagged.
    """
    wrong = probability_of_wrong_label(run)
    if wrong is not None:
        certainty = np.abs(wrong[rows] - 0.5)
    else:
        place = np.empty(len(run.table), np.int32)
        place[run.ranked(detector)] = np.arange(len(place), dtype=np.int32)
        certainty = np.abs(place[rows] - (flags - 0.5))
    return rows[np.argsort(certainty, kind="stable")]


def probability_of_wrong_label(run: Run) -> np.ndarray | None:
    """The recommended score, float64, shape ``(n,)``, where it is that of the noise model alone; None where it is not."""
    found = run.recommendation
    noise_only = found is not None and found.detectors == [PREFIX + Noise.name]
    return run.table[RECOMMENDED].to_numpy() if noise_only else None
