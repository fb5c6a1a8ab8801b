"""cleanlab's label quality as a control (optional extra ``cleanlab``)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax

from oga_core.detectors.detector import Unfitted
from oga_core.detectors.gradients import Gradients
from oga_core.errors import InputError
from oga_core.progress import Progress, silent


class Cleanlab(Unfitted):
    """1 − ``cleanlab.rank.get_label_quality_scores`` by its default, self-confidence, adjusted for each class's mean confidence
    (Northcutt et al., arXiv 1911.00068); as ``oof:cleanlab`` on the out-of-fold predictions that cleanlab asks for.
    The mean confidences are those of the samples that are scored, not of those it was fitted to.
    """

    name = "cleanlab"
    title = "cleanlab (control)"
    of_classes = True
    meaning = "1 − cleanlab's label quality: self-confidence adjusted by class (Northcutt et al., JAIR 2021)."

    def require(self) -> None:
        """Raise `InputError` if cleanlab is not installed."""
        _quality()

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        probabilities = softmax(np.asarray(gradients.logits, np.float64), axis=1)
        quality = _quality()(gradients.labels, probabilities, method="self_confidence", adjust_pred_probs=True)
        return np.asarray(1 - quality, dtype=np.float64)


def _quality() -> Any:
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError as error:
        raise InputError("cleanlab is not installed: pip install 'oga-core[cleanlab]'") from error
    return get_label_quality_scores
