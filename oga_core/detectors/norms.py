"""Norms of the per-sample gradients: the simplest detectors of Outlier Gradient Analysis (arXiv 2405.03869, section 3)."""

from __future__ import annotations

import numpy as np

from oga_core.detectors.detector import Unfitted
from oga_core.detectors.gradients import Gradients
from oga_core.progress import Progress, silent


class L1(Unfitted):
    """L1 norm, exact."""

    name = "l1"
    title = "L1 norm"
    meaning = "‖g‖₁ of the sample's loss gradient; of the head 2 (1 − p_y) ‖h‖₁, h the features (arXiv 2405.03869)."

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        return gradients.l1


class L2(Unfitted):
    """L2 norm, exact."""

    name = "l2"
    title = "L2 norm"
    meaning = "‖g‖₂ of the sample's loss gradient; of the head ‖p − e_y‖₂ ‖h‖₂, h the features (arXiv 2405.03869)."

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        return gradients.l2
