"""The samples that a pass could score, as arrays: what the detectors look at and the run keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from oga_core import detectors
from oga_core.gradients.factors import Factors


@dataclass(frozen=True)
class ScoredSamples:
    """n scored samples, a row each.

    Attributes
    ----------
    index
        Positions in the data, int64, shape ``(n,)``.
    sample_id
        Hashes of content and given label, str, shape ``(n,)``.
    targets
        Given labels as positions in the logits, int64, shape ``(n,)``; of a task without classes, the samples' groups.
    loss
        Loss on the given label or answer in nats, float64, shape ``(n,)``.
    l1, l2
        Exact norms of the gradients, float64, shape ``(n,)``.
    logits
        Outputs of the model, float, shape ``(n, outputs)``; None for a task without classes, as the next two.
    predicted, best_other
        Position in the logits of the largest, and of the largest that is a class of the data other than the given label,
        int64, shape ``(n,)``.
    features, feature_norms
        Input of the head: unit vectors, float16, shape ``(n, d)``, and their lengths, float32, shape ``(n,)``; None where the
        model has no head that is one layer.
    residuals, residual_norms
        p − e_y in the same form, shape ``(n, outputs)``; only for the scope ``head`` of a classifier.
    sketches, sketch_norms
        Random projections of the gradients in the same form; only where the residuals are None. The norms are those of the
        gradients.
    """

    index: np.ndarray
    sample_id: np.ndarray
    targets: np.ndarray
    loss: np.ndarray
    l1: np.ndarray
    l2: np.ndarray
    logits: np.ndarray | None = None
    predicted: np.ndarray | None = None
    best_other: np.ndarray | None = None
    features: np.ndarray | None = None
    feature_norms: np.ndarray | None = None
    residuals: np.ndarray | None = None
    residual_norms: np.ndarray | None = None
    sketches: np.ndarray | None = None
    sketch_norms: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.index)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that there are, by the name of their field; ``ScoredSamples(**arrays)`` is the inverse."""
        return {field.name: values for field in fields(self) if (values := getattr(self, field.name)) is not None}

    def take(self, rows: np.ndarray) -> ScoredSamples:
        """Return some of the samples: positions in the order wanted, or a mask."""
        return ScoredSamples(**{name: values[rows] for name, values in self.arrays().items()})

    @classmethod
    def concat(cls, batches: Sequence[ScoredSamples]) -> ScoredSamples:
        """Join one or more batches of one pass, which have the same arrays."""
        arrays = [one.arrays() for one in batches]
        return cls(**{name: np.concatenate([one[name] for one in arrays]) for name in arrays[0]})

    def factors(self) -> Factors:
        """The gradients; beyond the head their sketches."""
        if self.sketches is not None:
            assert self.sketch_norms is not None
            return Factors.from_vectors(self.sketches, self.sketch_norms)
        assert self.residuals is not None
        assert self.residual_norms is not None
        assert self.features is not None
        assert self.feature_norms is not None
        return Factors(self.residuals, self.features, self.residual_norms, self.feature_norms)

    def gradients(self, out_of_fold: detectors.Gradients | None = None) -> detectors.Gradients:
        """Return what the detectors look at.

        Parameters
        ----------
        out_of_fold
            Head gradients of the same samples by models that were not trained on them.
        """
        factors = self.factors()
        if self.logits is None:
            none = np.empty((len(self), 0), np.float32)
            return detectors.Gradients(factors, self.l1, self.l2, none, self.targets, own_losses=self.loss)
        return detectors.Gradients(
            factors, self.l1, self.l2, self.logits, self.targets, self.features, self.feature_norms, out_of_fold
        )
