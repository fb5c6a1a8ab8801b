"""Class-conditional detectors: what is unusual among the samples of the same given label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np

from oga_core.detectors.detector import Around, Detector
from oga_core.detectors.gradients import Gradients
from oga_core.progress import Progress, silent

PREFIX = "by_class:"
FEWEST = 2
"""Samples of a class that a detector is fitted to; those of smaller classes get the middle score."""


class ByClass(Around):
    """One detector for each given label; a score is the share of the class that scores lower, ties counted half.

    So classes are flagged in proportion to their size, independent of the length of their gradients.

    Parameters
    ----------
    make
        Makes a fresh detector.
    """

    def __init__(self, make: Callable[[], Detector]) -> None:
        super().__init__(make, PREFIX, "by class", "Share of the class (by given label) that scores lower.")

    def fit(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> Self:
        self.fitted: dict[int, tuple[Detector, np.ndarray]] = {}
        for label in np.unique(gradients.labels).tolist():
            rows = np.flatnonzero(gradients.labels == label)
            if len(rows) >= FEWEST:
                some = gradients.take(rows)
                detector = self.make().fit(some, seed=seed, progress=progress)
                self.fitted[label] = detector, np.sort(detector.score_samples(some, progress=progress))
        return self

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        out = np.full(len(gradients), 0.5)
        for label, (detector, usual) in self.fitted.items():
            rows = np.flatnonzero(gradients.labels == label)
            score = detector.score_samples(gradients.take(rows), progress=progress)
            out[rows] = (np.searchsorted(usual, score, "left") + np.searchsorted(usual, score, "right")) / 2 / len(usual)
        return out
