"""How likely a given label is wrong: label noise as a floor under calibrated predictions.

Predictions of a model that has not seen the labels it is compared with get more and more certain; where they are certain,
given labels still disagree with them at the rate of the label noise. With q = softmax(a z + b) for the true class and a
transition T from true to given class (Natarajan et al., NeurIPS 2013; Patrini et al., arXiv 1609.03683), given labels have
the probabilities qᵀT. Temperature a, bias b and T are fitted together to the given labels (maximum a posteriori), and Bayes'
rule gives P(wrong | x, given label) = 1 − q_y T_yy / (qᵀT)_y.

It assumes that wrong labels fall on samples of a class at random, and that the model is right where it is certain. Errors that
the model can predict from the sample, such as those of a labelling rule, leave no floor: they are not found, and not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from oga_core.detectors.detector import Detector
from oga_core.detectors.gradients import Gradients
from oga_core.detectors.threads import threads_for
from oga_core.gradients.factors import BLOCK
from oga_core.progress import Progress, silent

PAIRS_UP_TO = 64
"""Classes up to which each pair of classes has its own rate; above, a class's errors fall on all others alike."""
RATE_SPREAD, PAIR_SPREAD, BIAS_SPREAD, SCALE_SPREAD = 0.5, 1.0, 1.0, 0.5
"""Standard deviations of the Gaussian priors on the log odds of noise, between classes and between pairs; on the bias; and on the
logarithm of the scale around what it is without noise. Without the last, a model that knows next to nothing may as well be one
that is always sure under much noise: the likelihood hardly tells the two apart."""
FIRST_ODDS, LEAST_ODDS = -1.0, -4.0
"""Log odds of a wrong label where the search starts, and the least of them where it starts from another model. A search that
comes to no noise at all stays there, for the gradient has vanished too: so it comes from above. A second start from 1 ends
elsewhere only where the predictions say next to nothing, and no nearer to the truth."""
LEARNED_FROM = 50_000
STEPS, TOLERANCE = 100, 1e-5


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
        log_p = torch.log_softmax(torch.from_numpy(np.asarray(logits, np.float64)), 1)
        return np.asarray(torch.softmax(self.scale * log_p + torch.from_numpy(self.bias), 1).numpy())

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


def fit_noise(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, start: NoiseModel | None = None
) -> NoiseModel:
    """Fit calibration and transition to given labels, by L-BFGS.

    Parameters
    ----------
    logits
        Of models that have not seen the labels, float, shape ``(n, classes)``.
    labels
        Given labels as positions in the logits, int64, shape ``(n,)``.
    weights
        How often each sample counts, shape ``(n,)``; once where it is None.
    start
        Where the search begins: a model fitted to nearly the same samples.
    """
    posterior = _Posterior(logits, labels, weights)
    if start is not None:
        return posterior.mode(_Values.of(start), start.plain_scale)
    plain_scale, bias = posterior.plain()
    return posterior.mode(_Values.first(plain_scale, bias, FIRST_ODDS), plain_scale)


class _Values:
    """What is searched, float64 tensors: log of the scale, bias, and log odds of noise in all, by class and by pair."""

    def __init__(self, classes: int) -> None:
        self.log_scale, self.bias = _zeros(1), _zeros(classes)
        self.odds, self.rates, self.pairs = _zeros(1), _zeros(classes), _zeros(classes, classes)

    @classmethod
    @torch.no_grad()
    def first(cls, scale: float, bias: np.ndarray, odds: float) -> Self:
        """A calibration with the same noise for all pairs."""
        values = cls(len(bias))
        values.log_scale += float(np.log(scale))
        values.bias += torch.from_numpy(bias)
        values.odds += odds
        return values

    @classmethod
    @torch.no_grad()
    def of(cls, model: NoiseModel) -> Self:
        values = cls.first(model.scale, model.bias, 0.0)
        transition = torch.from_numpy(model.transition)
        off_diagonal = 1 - torch.eye(len(transition), dtype=torch.float64)
        rates = torch.logit(1 - transition.diagonal(), eps=1e-9).clamp_min(LEAST_ODDS)
        values.odds += rates.mean()
        values.rates += rates - rates.mean()
        pairs = transition.clamp_min(1e-12).log() * off_diagonal
        values.pairs += pairs - pairs.sum(1, keepdim=True) / max(len(transition) - 1, 1) * off_diagonal
        return values

    def log_transition(self) -> Tensor:
        """Log P(given class | true class), shape ``(classes, classes)``."""
        diagonal = torch.eye(len(self.bias), dtype=torch.bool)
        total = self.odds + self.rates
        spread = torch.log_softmax(self.pairs.masked_fill(diagonal, -torch.inf), 1)
        return torch.where(diagonal, F.logsigmoid(-total)[:, None], F.logsigmoid(total)[:, None] + spread)


class _Posterior:
    """Calibration and transition, given the labels of some samples."""

    def __init__(self, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None) -> None:
        self.log_p = torch.log_softmax(torch.from_numpy(np.asarray(logits, np.float64)), 1)
        self.given = torch.from_numpy(np.asarray(labels))
        self.counts = torch.from_numpy(np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64))

    def plain(self) -> tuple[float, np.ndarray]:
        """Scale and bias that calibrate where no label is taken to be wrong."""
        values = _Values(self.log_p.shape[1])

        def loss() -> Tensor:
            right = self._log_q(values)[torch.arange(len(self.given)), self.given]
            return self._mean(right, values.bias / BIAS_SPREAD)

        self._minimise(loss, [values.log_scale, values.bias])
        return float(values.log_scale.detach().exp()), values.bias.detach().numpy()

    def mode(self, values: _Values, plain_scale: float) -> NoiseModel:
        """The maximum of the posterior that is found from some values."""
        usual = float(np.log(plain_scale))

        def loss() -> Tensor:
            likelihood = torch.logsumexp(values.log_transition()[:, self.given].T + self._log_q(values), 1)
            return self._mean(
                likelihood, values.bias / BIAS_SPREAD, (values.log_scale - usual) / SCALE_SPREAD,
                values.rates / RATE_SPREAD, values.pairs / PAIR_SPREAD,
            )  # fmt: skip

        searched = [values.log_scale, values.bias, values.odds, values.rates]
        if len(values.bias) <= PAIRS_UP_TO:
            searched.append(values.pairs)
        self._minimise(loss, searched)
        transition = values.log_transition().detach().exp().numpy()
        return NoiseModel(float(values.log_scale.detach().exp()), values.bias.detach().numpy(), transition, plain_scale)

    def _log_q(self, values: _Values) -> Tensor:
        return torch.log_softmax(values.log_scale.exp() * self.log_p + values.bias, 1)

    def _mean(self, log_likelihood: Tensor, *standardised: Tensor) -> Tensor:
        """Negative log posterior over the number of samples, with Gaussian priors."""
        prior = torch.stack([s.square().sum() for s in standardised]).sum() / 2
        return (prior - (self.counts * log_likelihood).sum()) / self.counts.sum()

    def _minimise(self, loss: Callable[[], Tensor], values: list[Tensor]) -> None:
        search = torch.optim.LBFGS(
            values, max_iter=STEPS, history_size=20, tolerance_grad=TOLERANCE, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            search.zero_grad()
            current = loss()
            current.backward()
            return current

        with threads_for(self.log_p.numel() * self.log_p.shape[1]):
            search.step(closure)


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.float64, requires_grad=True)


class Noise(Detector):
    """P(the given label is wrong) by a noise floor under the predictions; meant for out-of-fold ones, as ``oof:noise``."""

    name = "noise"
    title = "Probability of a wrong label"
    of_classes = True
    meaning = "P(the given label y is wrong) = 1 − q_y T_yy / (qᵀT)_y, q calibrated, T the label noise (arXiv 1609.03683)."

    def fit(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> Self:
        rows = drawn(len(gradients), LEARNED_FROM, np.random.default_rng(seed))
        self.model = fit_noise(gradients.logits[rows], gradients.labels[rows])
        return self

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        return self.model.wrong(gradients.logits, gradients.labels)


def drawn(n: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """All positions, or that many of them drawn uniformly, in order, int64."""
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))
