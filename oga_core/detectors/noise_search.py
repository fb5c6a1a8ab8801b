"""The search for the noise model of given labels: its posterior, and the values at which that is largest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from oga_core.detectors.noise import NoiseModel
from oga_core.threads import threads_for

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
STEPS, TOLERANCE = 100, 1e-5


def fit_noise(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, start: NoiseModel | None = None
) -> NoiseModel:
    """Fit calibration and transition to given labels, by L-BFGS.

    Parameters
    ----------
    logits
        Of models trained without the labels, float, shape ``(n, classes)``.
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
    """Parameters of the search, float64 tensors: log of the scale, bias, and log odds of noise in all, by class and by pair."""

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
                likelihood,
                values.bias / BIAS_SPREAD,
                (values.log_scale - usual) / SCALE_SPREAD,
                values.rates / RATE_SPREAD,
                values.pairs / PAIR_SPREAD,
            )

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
