"""One-class SVM on per-sample gradients (Schölkopf et al., Neural Computation 2001), with the kernel of the whole gradient."""

from __future__ import annotations

from typing import Self

import numpy as np

from oga_core.detectors.detector import Detector
from oga_core.detectors.gradients import Gradients
from oga_core.gradients import Factors
from oga_core.gradients.factors import BLOCK
from oga_core.progress import Progress, silent

LEARNED_FROM = 2000
"""Samples the SVM is fitted to, drawn uniformly: its kernel matrix has that many squared."""


class OneClassSVM(Detector):
    """RBF kernel, scikit-learn's ``nu=0.5`` and ``gamma="scale"``; score = minus its decision function.

    Distances follow from the two factors, ‖g − g'‖² = ‖g‖² + ‖g'‖² − 2 ⟨r, r'⟩ ⟨h, h'⟩: no gradient is materialised, however
    wide.
    """

    name = "ocsvm"
    title = "One-class SVM"
    compares = True
    meaning = "Distance outside the region that holds half of the loss gradients (RBF kernel; Schölkopf et al., 2001)."

    def fit(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> Self:
        n = len(gradients)
        rows = np.sort(np.random.default_rng(seed).choice(n, min(n, LEARNED_FROM), replace=False))
        inliers = gradients.factors.take(rows)
        residuals, features = (v.astype(np.float64) for v in inliers.block(slice(None)))
        squares = (residuals**2).sum(1) * (features**2).sum(1)
        mean = (residuals.sum(1) * features.sum(1)).mean() / inliers.width
        spread = squares.mean() - inliers.width * mean**2  # width × the variance of all coordinates
        self.gamma = 1.0 / spread if spread > 0 else 1.0
        from sklearn.svm import OneClassSVM as ExactOneClassSVM  # half a second, for those only who fit

        self.svm = ExactOneClassSVM(kernel="precomputed")
        self.svm.fit(self._kernel(residuals, features, residuals, features))
        self.support = inliers.take(self.svm.support_)
        self.weights = self.svm.dual_coef_[0]
        return self

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        factors: Factors = gradients.factors
        out = np.empty(len(factors))
        support = [v.astype(np.float64) for v in self.support.block(slice(None))]
        for start in range(0, len(factors), BLOCK):
            rows = slice(start, min(start + BLOCK, len(factors)))
            residuals, features = (v.astype(np.float64) for v in factors.block(rows))
            out[rows] = -(self._kernel(residuals, features, *support) @ self.weights + self.svm.intercept_[0])
            progress("one-class SVM", rows.stop, len(factors))
        return out

    def _kernel(self, r: np.ndarray, h: np.ndarray, other_r: np.ndarray, other_h: np.ndarray) -> np.ndarray:
        squares = (r**2).sum(1) * (h**2).sum(1)
        other_squares = (other_r**2).sum(1) * (other_h**2).sum(1)
        distances = squares[:, None] + other_squares - 2 * (r @ other_r.T) * (h @ other_h.T)
        return np.asarray(np.exp(-self.gamma * np.maximum(distances, 0)))
