"""Simple scores that a detector is shown beside: what the model's output says, and chance."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.special import log_softmax

from oga_core.detectors.detector import Detector, Unfitted
from oga_core.detectors.gradients import Gradients
from oga_core.progress import Progress, silent

if TYPE_CHECKING:
    from oga_core.gradients import HeadGradients


class Random(Detector):
    """Uniform numbers, drawn for the positions of the samples."""

    name = "random"
    title = "Random (control)"
    meaning = "A random number: what any detector has to beat."

    def fit(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> Self:
        self.seed = seed
        return self

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        return np.random.default_rng(self.seed).random(len(gradients))


class Loss(Unfitted):
    """Cross-entropy on the given label; of a language model the mean over the tokens of the answer."""

    name = "loss"
    title = "Loss (control)"
    meaning = "Cross-entropy on the given label y, −log p_y; of a language model on the answer, mean over its tokens."

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        return gradients.losses


class LowConfidence(Unfitted):
    """Given-label (self-) confidence, turned round."""

    name = "low_confidence"
    title = "Given-label confidence (control)"
    of_classes = True
    meaning = "1 − p_y, the model's probability of the given label; the same order as the loss (Northcutt et al., JAIR 2021)."

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        return -np.expm1(-gradients.losses)


class OfBlocks(Unfitted):
    """A score of the model's output, taken a block of samples at a time."""

    of_classes = True

    @abstractmethod
    def of_block(self, gradients: Gradients, rows: slice, found: HeadGradients) -> np.ndarray:
        """Scores of the samples at ``rows``, whose residuals and losses are ``found``."""

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        out = np.empty(len(gradients))
        for rows, found in gradients.blocks():
            out[rows] = self.of_block(gradients, rows, found)
        return out


class Margin(OfBlocks):
    """Normalized margin p_y − max p_c over the other classes (Northcutt et al., arXiv 1911.00068), turned round.

    1 is added, so that well-fitted samples keep their digits.
    """

    name = "margin"
    title = "Normalized margin (control)"
    meaning = "1 − p_y + the largest p of another class than the given y (normalized margin; Northcutt et al., JAIR 2021)."

    def of_block(self, gradients: Gradients, rows: slice, found: HeadGradients) -> np.ndarray:
        given = np.arange(len(found.losses)), gradients.labels[rows]
        return np.asarray(found.residuals.max(1) - found.residuals[given])  # p_y − 1 is never the largest


class ConfidenceEntropy(OfBlocks):
    """Confidence-weighted entropy: entropy over log(classes), divided by p_y (Kuan, Mueller: Model-agnostic label quality
    scoring, ICML 2022 workshop DataPerf); of that log(1 + x), which keeps the order and stays finite."""

    name = "confidence_entropy"
    title = "Confidence entropy (control)"
    meaning = "log(1 + H(p) / (p_y log C)), H the entropy of the probabilities of C classes (Kuan and Mueller, 2022)."

    def of_block(self, gradients: Gradients, rows: slice, found: HeadGradients) -> np.ndarray:
        # In logarithms throughout: x is beyond any double at a loss of 710.
        log_p = np.maximum(log_softmax(gradients.logits[rows].astype(np.float64), axis=1), -1e300)
        largest = np.arange(len(log_p)), log_p.argmax(1)
        others = log_p.copy()
        others[largest] = -np.inf
        rest = np.logaddexp.reduce(others, 1)  # log (1 − p) of the largest p, which may round to one
        surprise = np.log(np.maximum(-log_p, 1e-300))
        surprise[largest] = np.where(rest < -40, rest, np.log(-np.log1p(-np.exp(np.maximum(rest, -40)))))
        entropy = np.logaddexp.reduce(log_p + surprise, 1) + found.losses
        return np.asarray(np.logaddexp(0, entropy - np.log(np.log(gradients.classes))))


class EL2N(OfBlocks):
    """‖p − e_y‖₂ (Paul et al., arXiv 2107.07075, definition 2.2), of the final model."""

    name = "el2n"
    title = "EL2N (control)"
    meaning = "‖p − e_y‖₂, the size of the model's error on the given label y (EL2N; Paul et al., NeurIPS 2021)."

    def of_block(self, gradients: Gradients, rows: slice, found: HeadGradients) -> np.ndarray:
        largest = np.maximum(np.abs(found.residuals).max(1, keepdims=True), 1e-300)  # squares below 1e-308 would be lost
        return np.asarray(largest[:, 0] * np.linalg.norm(found.residuals / largest, axis=1))
