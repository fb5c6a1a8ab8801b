"""All that is said about one sample while it is being reviewed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oga_core.detectors import Detector
from oga_core.runs import Run

NEIGHBOURS = 8


@dataclass(frozen=True)
class Score:
    """A score of one sample, and the share of its class (by given label) that scores no higher, in percent."""

    detector: Detector
    value: float
    percentile: float


@dataclass(frozen=True)
class Neighbour:
    """A sample with a similar gradient: its row, and the cosine of the two gradients."""

    row: int
    cosine: float


def scores(run: Run, row: int) -> list[Score]:
    """Every score of a row of ``run.table``, with its percentile within the class."""
    table = run.table
    same = (table["label"] == table["label"].iloc[row]).to_numpy()
    out = []
    for detector in run.detectors:
        values = table[detector.name].to_numpy()
        out.append(Score(detector, float(values[row]), 100 * float(np.mean(values[same] <= values[row]))))
    return out


def neighbours(run: Run, row: int, k: int = NEIGHBOURS) -> list[Neighbour]:
    """The samples with the most similar gradients, by cosine, most similar first."""
    rows, cosines = run.factors.neighbours(row, k)
    return [Neighbour(int(r), float(c)) for r, c in zip(rows, cosines, strict=True)]
