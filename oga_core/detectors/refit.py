"""The head fitted again on frozen features: multinomial logistic regression, alone or in folds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oga_core.detectors.gradients import Gradients
from oga_core.errors import InputError
from oga_core.gradients.factors import BLOCK
from oga_core.threads import threads_for

FOLDS = 5
DECAY = 1e-2
"""Half of it times the squared weights is added to the mean loss of standardised features."""
LEARNED_FROM = 20_000
"""Samples a head is fitted to at most, drawn uniformly: a head has few values."""
STEPS = 60


@dataclass(frozen=True)
class Head:
    """A linear layer on standardised features: logits = ((h − mean) / spread) Wᵀ + b.

    Attributes
    ----------
    weight, bias
        float64, shapes ``(classes, d)`` and ``(classes,)``.
    mean, spread
        Of the features it was fitted to, float64, shape ``(d,)``.
    """

    weight: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    spread: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """float64, shape ``(n, classes)``, of features ``(n, d)``."""
        return np.asarray(((features - self.mean) / self.spread) @ self.weight.T + self.bias)


def fit_head(features: np.ndarray, labels: np.ndarray, classes: int, decay: float = DECAY) -> Head:
    """Minimise mean cross-entropy + ½ decay ‖W‖² by L-BFGS from zero: convex, so the same each time.

    Parameters
    ----------
    features
        Float, shape ``(n, d)``.
    labels
        Positions of the classes, int64, shape ``(n,)``.
    """
    import torch  # for those only who fit
    from torch.nn import functional

    mean, spread = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    spread = np.where(spread > 1e-9 * max(1.0, float(spread.max(initial=0))), spread, 1.0)
    inputs = torch.from_numpy((features - mean) / spread)
    targets = torch.from_numpy(np.asarray(labels))
    values = torch.zeros(classes, inputs.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([values], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        search.zero_grad()
        loss = functional.cross_entropy(functional.linear(inputs, values[:, :-1], values[:, -1]), targets)
        loss = loss + decay / 2 * values[:, :-1].square().sum()
        loss.backward()
        return loss

    with threads_for(inputs.numel() * classes):
        search.step(closure)
    fitted = values.detach().numpy()
    return Head(fitted[:, :-1], fitted[:, -1], mean, spread)


def folds(labels: np.ndarray, k: int, seed: int) -> np.ndarray:
    """A fold for each sample, int64 in 0 … k − 1, each class spread evenly over them."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    out = np.empty(len(labels), np.int64)
    out[by_class] = np.arange(len(labels)) % k
    return out


def out_of_fold_logits(
    features: np.ndarray, feature_norms: np.ndarray, labels: np.ndarray, classes: int, *, seed: int, k: int = FOLDS
) -> np.ndarray:
    """Each sample's logits by a head fitted to the other folds, float64, shape ``(n, classes)``.

    Parameters
    ----------
    features, feature_norms
        Unit vectors ``(n, d)`` and their lengths ``(n,)``, as `Gradients` has them.

    Raises
    ------
    InputError
        If there is one sample or none.
    """
    if len(labels) < 2:
        raise InputError("out-of-fold heads need two samples at least")
    fold = folds(labels, k, seed)
    rng = np.random.default_rng(seed)
    out = np.empty((len(labels), classes))
    for i in range(k):
        others, own = np.flatnonzero(fold != i), np.flatnonzero(fold == i)
        if len(others) > LEARNED_FROM:
            others = np.sort(rng.choice(others, LEARNED_FROM, replace=False))
        head = fit_head(scale_features(features, feature_norms, others), labels[others], classes)
        for start in range(0, len(own), BLOCK):
            rows = own[start : start + BLOCK]
            out[rows] = head.logits(scale_features(features, feature_norms, rows))
    return out


def scale_features(features: np.ndarray, feature_norms: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Some samples' features with their lengths, float64, shape ``(m, d)``."""
    return np.asarray(features[rows].astype(np.float64) * feature_norms[rows, None])


def require_features(gradients: Gradients) -> tuple[np.ndarray, np.ndarray]:
    """The features and their lengths.

    Raises
    ------
    InputError
        If there are none.
    """
    if gradients.features is None or gradients.feature_norms is None:
        raise InputError("the model's logits are not the output of one linear layer, so there is no head to fit again")
    return gradients.features, gradients.feature_norms
