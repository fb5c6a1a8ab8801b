"""The one form of every detector and control."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import numpy as np

from oga_core.detectors.gradients import Gradients
from oga_core.progress import Progress, silent


class Detector(ABC):
    """Learns from some samples' gradients how usual ones look; says of others, or the same, how suspicious they are.

    Attributes
    ----------
    name
        Name of the column, as `named` takes it.
    title, meaning
        For people: a few words, and one sentence.
    compares
        Whether it compares gradients coordinate by coordinate, which mean the same only within one model.
    """

    name: str
    title: str
    meaning: str
    compares: bool = False

    def require(self) -> None:  # noqa: B027  # most need nothing
        """Raise `InputError` where a library that it needs is not there."""

    @abstractmethod
    def fit(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> Self:
        """Learn from n samples; the same for the same seed, whatever was fitted before. Returns itself."""

    @abstractmethod
    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        """Outlier scores of m samples, float64, shape ``(m,)``, higher = more suspicious."""

    def fit_score(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> np.ndarray:
        """Outlier scores of the samples that are learned from."""
        return self.fit(gradients, seed=seed, progress=progress).score_samples(gradients, progress=progress)


class Unfitted(Detector):
    """A detector with nothing to learn: a sample's score depends on that sample alone."""

    def fit(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> Self:
        return self
