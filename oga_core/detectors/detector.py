"""The one form of every detector and control."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

import numpy as np

from oga_core.detectors.gradients import Gradients
from oga_core.errors import InputError
from oga_core.progress import Progress, silent


class Detector(ABC):
    """Learns from some samples' gradients how usual ones look; says of others, or the same, how suspicious they are.

    Attributes
    ----------
    name
        Name of the column, as `make_detector` takes it.
    title, meaning
        For people: a few words, and one sentence.
    compares
        Whether it compares gradients coordinate by coordinate, which mean the same only within one model.
    of_classes
        Whether it looks at the probabilities of classes, which a language model does not have.
    """

    name: str
    title: str
    meaning: str
    compares: bool = False
    of_classes: bool = False

    def require(self) -> None:  # noqa: B027  # most need nothing
        """Raise `InputError` where a library that it needs is missing."""

    @abstractmethod
    def fit(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> Self:
        """Learn from n samples; the same for the same seed, independent of earlier fits. Returns itself."""

    @abstractmethod
    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        """Outlier scores of m samples, float64, shape ``(m,)``, higher = more suspicious."""

    def fit_score(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> np.ndarray:
        """Outlier scores of the samples that are learned from."""
        return self.fit(gradients, seed=seed, progress=progress).score_samples(gradients, progress=progress)


class OfFitted(Detector):
    """A detector that scores the samples it was fitted to, no others: `fit` leaves ``gradients`` and ``scores``."""

    gradients: Gradients
    scores: np.ndarray

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        if gradients is not self.gradients:
            raise InputError(f"{self.name} scores only the samples it was fitted to")
        return self.scores


class Around(Detector):
    """A detector made of others of one kind.

    Parameters
    ----------
    make
        Makes a fresh one of them.
    prefix, suffix
        Before its name, and after its title.
    meaning
        What is done with them, before their own meaning.
    """

    def __init__(self, make: Callable[[], Detector], prefix: str, suffix: str, meaning: str) -> None:
        self.make, self.inner = make, make()
        self.name, self.compares = prefix + self.inner.name, self.inner.compares
        self.of_classes = self.of_classes or self.inner.of_classes
        self.title = f"{self.inner.title}, {suffix}"
        self.meaning = f"{meaning} {self.inner.meaning}"

    def require(self) -> None:
        """As theirs."""
        self.inner.require()


class Unfitted(Detector):
    """A detector with nothing to learn: a sample's score depends on that sample alone."""

    def fit(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> Self:
        return self
