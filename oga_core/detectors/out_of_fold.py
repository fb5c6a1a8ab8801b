"""Detectors on heads trained without the sample they score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np

from oga_core.detectors.detector import Around, Detector, OfFitted
from oga_core.detectors.gradients import Gradients, of_units
from oga_core.detectors.refit import out_of_fold_logits, require_features
from oga_core.progress import Progress, silent

PREFIX = "oof:"


def out_of_fold(gradients: Gradients, seed: int) -> Gradients:
    """The same samples' head gradients by models trained without them, or else by heads fitted to the other folds.

    Heads are fitted on frozen features, which were learned with all labels: what the features have kept of a sample's own
    label is not undone by that.

    Raises
    ------
    InputError
        If there is neither.
    """
    if gradients.out_of_fold is not None:
        return gradients.out_of_fold
    features, norms = require_features(gradients)
    logits = out_of_fold_logits(features, norms, gradients.labels, gradients.classes, seed=seed)
    return of_units(logits, features, norms, gradients.labels)


def scores_by_fold(make: Callable[[], Detector], gradients: Gradients, seed: int, progress: Progress = silent) -> np.ndarray:
    """Scores of the samples a detector is fitted to; where each fold has a model of its own, detectors that compare coordinates
    are fitted fold by fold. float64, shape ``(n,)``."""
    detector = make()
    if gradients.fold is None or not detector.compares:
        return detector.fit_score(gradients, seed=seed, progress=progress)
    out = np.empty(len(gradients))
    for fold in np.unique(gradients.fold):
        own = np.flatnonzero(gradients.fold == fold)
        out[own] = make().fit_score(gradients.take(own), seed=seed, progress=progress)
    return out


class OutOfFold(OfFitted, Around):
    """A detector on out-of-fold gradients.

    Parameters
    ----------
    make
        Makes a fresh detector.
    """

    of_classes = True

    def __init__(self, make: Callable[[], Detector]) -> None:
        super().__init__(make, PREFIX, "out of fold", "By models or heads trained without the sample.")

    def fit(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> Self:
        self.gradients = gradients
        self.scores = scores_by_fold(self.make, out_of_fold(gradients, seed), seed, progress)
        return self
