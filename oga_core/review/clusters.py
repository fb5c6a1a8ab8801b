"""Groups of samples whose gradients point the same way: what is wrong with one is often wrong with all of them."""

from __future__ import annotations

import hashlib

import numpy as np

from oga_core.gradients import Factors
from oga_core.runs import Run

ALIKE = 0.8
"""Cosine with the first of a group from which on a gradient belongs to it."""
MOST = 20_000
"""Samples that are grouped."""
BLOCK = 512
CACHED = 4
"""Groupings of a run that are kept."""


def clusters(run: Run, rows: np.ndarray) -> np.ndarray:
    """The group of each of some rows of ``run.table``, int64, shape ``(m,)``: numbers from 0, without gaps.

    Leader clustering (Hartigan, Clustering Algorithms, 1975, chapter 3) in each given label, longest gradient first: a sample
    joins the leader before it with whose gradient its own has the largest cosine, or is a leader itself where none is 0.8 or
    more. So the groups do not depend on the order of the rows. Gradients of the head with different given labels never are so
    much alike (where the features do not point in opposite directions): the residuals p − e_y and p′ − e_y′ have a cosine of ½
    at most, for each has half of its square or more where the other has the other sign.

    Parameters
    ----------
    rows
        Different rows. Only the first 20,000 are grouped; each of the others is alone.
    """
    rows = np.asarray(rows, np.int64)
    some = np.sort(rows[:MOST])
    groupings: dict[bytes, np.ndarray] = run.cached.setdefault("clusters", {})
    key = hashlib.sha256(some.tobytes()).digest()
    if key not in groupings:
        while len(groupings) >= CACHED:
            groupings.pop(next(iter(groupings)), None)
        groupings[key] = leaders(run.factors.take(some), run.codes("label")[some])
    group = groupings[key]
    single = np.arange(len(rows) - len(some)) + group.max(initial=-1) + 1
    return np.concatenate([group[np.searchsorted(some, rows[:MOST])], single])


def leaders(factors: Factors, labels: np.ndarray) -> np.ndarray:
    """The number of each gradient's leader, from 0, int64, shape ``(n,)``; labels: whole numbers, shape ``(n,)``."""
    out = np.empty(len(factors), np.int64)
    found = 0
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        order = rows[np.argsort(-(factors.residual_norms[rows] * factors.feature_norms[rows]), kind="stable")]
        leader = _find_leaders(*(values[order].astype(np.float32) for values in (factors.residuals, factors.features)))
        leading, number = np.unique(leader, return_inverse=True)
        out[order] = number + found
        found += len(leading)
    return out


def _find_leaders(residuals: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The position of each gradient's leader, int64, shape ``(n,)``; who comes first leads."""
    out = np.empty(len(residuals), np.int64)
    leading = np.empty(0, np.int64)
    for start in range(0, len(residuals), BLOCK):
        here = slice(start, start + BLOCK)
        r, h = residuals[here], features[here]
        best, leader = np.full(len(r), ALIKE, np.float32), np.full(len(r), -1)
        for first in range(0, len(leading), BLOCK):  # so that what is worked on stays in the processor's cache
            among = leading[first : first + BLOCK]
            cosines = (r @ residuals[among].T) * (h @ features[among].T)
            nearest = cosines.argmax(1)
            cosine = cosines[np.arange(len(r)), nearest]
            nearer = cosine >= best if first == 0 else cosine > best
            best[nearer], leader[nearer] = cosine[nearer], among[nearest[nearer]]
        inside = (r @ r.T) * (h @ h.T)
        for i in range(len(r)):
            if leader[i] >= 0:
                continue
            leader[i] = start + i
            later = inside[i, i + 1 :]
            nearer = np.where(leader[i + 1 :] < 0, later >= ALIKE, later > best[i + 1 :])
            best[i + 1 :][nearer], leader[i + 1 :][nearer] = later[nearer], start + i
        out[here] = leader
        leading = np.append(leading, start + np.flatnonzero(leader == start + np.arange(len(r))))
    return out
