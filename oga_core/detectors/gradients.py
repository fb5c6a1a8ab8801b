"""Gradients of samples, the input of a detector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from oga_core.gradients.factors import BLOCK, Factors, unit_rows

if TYPE_CHECKING:
    from oga_core.gradients import HeadGradients


@dataclass(frozen=True)
class Gradients:
    """The gradients and outputs of n scored samples.

    Attributes
    ----------
    factors
        The gradients of the head; beyond it their sketches, as the second factor beside a first that is 1.
    l1, l2
        Their exact norms, float64, shape ``(n,)``.
    logits
        The model's outputs, float, shape ``(n, outputs)``; may be memory-mapped. ``(n, 0)`` for a model without classes.
    labels
        Given labels as positions in the logits, int64, shape ``(n,)``; of a model without classes, the samples' groups.
    features
        Input of the head as unit vectors, float16, shape ``(n, d)``; None where the model has no head that is one layer.
    feature_norms
        Their lengths, float32, shape ``(n,)``.
    out_of_fold
        The same samples' head gradients by models that were trained without them, where there are such models.
    fold
        Which of several models each sample's gradient is of, int64, shape ``(n,)``; None where it is one model.
    own_losses
        Losses of a model without classes, float64, shape ``(n,)``.
    """

    factors: Factors
    l1: np.ndarray
    l2: np.ndarray
    logits: np.ndarray
    labels: np.ndarray
    features: np.ndarray | None = None
    feature_norms: np.ndarray | None = None
    out_of_fold: Gradients | None = None
    fold: np.ndarray | None = None
    own_losses: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """Number of outputs."""
        return int(self.logits.shape[1])

    def take(self, rows: np.ndarray) -> Gradients:
        """Some of the samples, in this order."""
        return Gradients(
            self.factors.take(rows),
            self.l1[rows],
            self.l2[rows],
            self.logits[rows],
            self.labels[rows],
            None if self.features is None else self.features[rows],
            None if self.feature_norms is None else self.feature_norms[rows],
            None if self.out_of_fold is None else self.out_of_fold.take(rows),
            None if self.fold is None else self.fold[rows],
            None if self.own_losses is None else self.own_losses[rows],
        )

    def blocks(self) -> Iterator[tuple[slice, HeadGradients]]:
        """Residuals p − e_y and losses in double precision, a block of samples at a time; their features are left at 1."""
        for start in range(0, len(self), BLOCK):
            rows = slice(start, min(start + BLOCK, len(self)))
            yield rows, _head_gradients(self.logits[rows], np.ones((rows.stop - start, 1)), self.labels[rows])

    @cached_property
    def losses(self) -> np.ndarray:
        """Cross-entropy on the given label in nats, or the model's own loss, float64, shape ``(n,)``."""
        if self.own_losses is not None:
            return self.own_losses
        return np.concatenate([found.losses for _, found in self.blocks()]) if len(self) else np.zeros(0)


def of_head(logits: np.ndarray, features: np.ndarray, labels: np.ndarray) -> Gradients:
    """The gradients of a head's weight, from its outputs and inputs.

    Parameters
    ----------
    logits, features
        Float, shapes ``(n, classes)`` and ``(n, d)``.
    labels
        Given labels as positions in the logits, int64, shape ``(n,)``.
    """
    return of_units(logits, *unit_rows(np.asarray(features, np.float64)), labels)


def of_units(logits: np.ndarray, features: np.ndarray, feature_norms: np.ndarray, labels: np.ndarray) -> Gradients:
    """As `of_head`, from features that are kept as unit vectors, float16 ``(n, d)``, and their lengths, float32 ``(n,)``."""
    n = len(labels)
    l1, l2 = np.empty(n), np.empty(n)
    residuals, residual_norms = np.empty((n, logits.shape[1]), np.float16), np.empty(n, np.float32)
    for start in range(0, n, BLOCK):
        rows = slice(start, min(start + BLOCK, n))
        inputs = features[rows].astype(np.float64) * feature_norms[rows, None]
        found = _head_gradients(logits[rows], inputs, labels[rows])
        l1[rows], l2[rows] = found.l1, found.l2
        residuals[rows], residual_norms[rows] = unit_rows(found.residuals)
    factors = Factors(residuals, features, residual_norms, feature_norms)
    return Gradients(factors, l1, l2, logits, labels, features, feature_norms)


def _head_gradients(logits: np.ndarray, features: np.ndarray, labels: np.ndarray) -> HeadGradients:
    import torch  # for those only who score

    from oga_core.gradients import head_gradients

    return head_gradients(*(torch.from_numpy(np.array(v)) for v in (logits, features, labels)))
