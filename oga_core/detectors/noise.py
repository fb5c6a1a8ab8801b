"""How likely a given label is wrong: label noise as a floor under calibrated predictions.

Predictions of a model that was not trained on the labels it is compared with get more and more certain; where they are certain,
given labels still disagree with them at the rate of the label noise. With q = softmax(a z + b) for the true class and a
transition T from true to given class (Natarajan et al., NeurIPS 2013; Patrini et al., arXiv 1609.03683), given labels have
the probabilities qᵀT. Temperature a, bias b and T are fitted together to the given labels (maximum a posteriori), and Bayes'
rule gives P(wrong | x, given label) = 1 − q_y T_yy / (qᵀT)_y.

It assumes that wrong labels fall on samples of a class at random, and that the model is right where it is certain. Errors that
the model can predict from the sample, such as those of a labelling rule, leave no floor: they are not found, and not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import log_softmax, softmax

from oga_core.detectors.detector import Detector
from oga_core.detectors.gradients import Gradients
from oga_core.gradients.factors import BLOCK
from oga_core.progress import Progress, silent

LEARNED_FROM = 50_000


@dataclass(frozen=True)
class NoiseModel:
    """A fitted noise floor.

    Attributes
    ----------
    scale, bias
        The calibration: q = softmax(scale · log p + bias); bias float64, shape ``(classes,)``.
    transition
        P(given class | true class), float64, shape ``(classes, classes)``, a row for each true class.
    plain_scale
        The scale that calibrates the same predictions where no label is taken to be wrong.
    """

    scale: float
    bias: np.ndarray
    transition: np.ndarray
    plain_scale: float

    def clean(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of the true class, float64, shape ``(n, classes)``."""
        log_p = log_softmax(np.asarray(logits, np.float64), axis=1)
        return np.asarray(softmax(self.scale * log_p + self.bias, axis=1))

    def wrong(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """P(the given label is wrong), float64, shape ``(n,)``, to all digits near 0 and 1."""
        out = np.empty(len(labels))
        for start in range(0, len(labels), BLOCK):
            rows = slice(start, min(start + BLOCK, len(labels)))
            clean, given = self.clean(logits[rows]), labels[rows]
            joint = clean * self.transition[:, given].T
            right = joint[np.arange(len(given)), given]
            joint[np.arange(len(given)), given] = 0.0
            wrong = joint.sum(1)
            out[rows] = wrong / np.maximum(wrong + right, 1e-300)
        return out

    def mistaken(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Expected number of samples of each true class (row) with each given label (column), float64, off the diagonal."""
        out = np.zeros_like(self.transition)
        for start in range(0, len(labels), BLOCK):
            given = labels[start : start + BLOCK]
            joint = self.clean(logits[start : start + BLOCK]) * self.transition[:, given].T
            np.add.at(out.T, given, joint / np.maximum(joint.sum(1, keepdims=True), 1e-300))
        np.fill_diagonal(out, 0.0)
        return out


class Noise(Detector):
    """P(the given label is wrong) by a noise floor under the predictions; meant for out-of-fold ones, as ``oof:noise``."""

    name = "noise"
    title = "Probability of a wrong label"
    of_classes = True
    meaning = "P(the given label y is wrong) = 1 − q_y T_yy / (qᵀT)_y, q calibrated, T the label noise (arXiv 1609.03683)."

    def fit(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> Self:
        from oga_core.detectors.noise_search import fit_noise  # torch, for those only who fit

        rows = draw_rows(len(gradients), LEARNED_FROM, np.random.default_rng(seed))
        self.model = fit_noise(gradients.logits[rows], gradients.labels[rows])
        return self

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        return self.model.wrong(gradients.logits, gradients.labels)


def draw_rows(n: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """All positions, or that many of them drawn uniformly, in order, int64."""
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))
