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
comes to no noise at all stays there, for the gradient has vanished too: so it comes from above."""
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
    classes = logits.shape[1]
    log_p = torch.log_softmax(torch.from_numpy(np.asarray(logits, np.float64)), 1)
    given = torch.from_numpy(np.asarray(labels))
    counts = (
        torch.ones(len(labels), dtype=torch.float64) if weights is None else torch.from_numpy(np.asarray(weights, np.float64))
    )
    diagonal = torch.eye(classes, dtype=torch.bool)
    log_scale, bias = _value(1), _value(classes)
    odds, rates, pairs = _value(1), _value(classes), _value(classes, classes)

    def minimise(values: list[Tensor], log_likelihood: Callable[[Tensor], Tensor], prior: Callable[[], Tensor]) -> None:
        def closure() -> Tensor:
            search.zero_grad()
            log_q = torch.log_softmax(log_scale.exp() * log_p + bias, 1)
            loss = ((prior() + (bias / BIAS_SPREAD).square().sum()) / 2 - (counts * log_likelihood(log_q)).sum()) / counts.sum()
            loss.backward()
            return loss

        search = torch.optim.LBFGS(
            values, max_iter=STEPS, history_size=20, tolerance_grad=TOLERANCE, line_search_fn="strong_wolfe"
        )
        with threads_for(log_p.numel() * classes):
            search.step(closure)

    def noise() -> tuple[Tensor, Tensor]:
        """Log of P(right) a class, and log P(given | true) off the diagonal."""
        total = odds + rates
        spread = torch.log_softmax(pairs.masked_fill(diagonal, -torch.inf), 1)
        return F.logsigmoid(-total), F.logsigmoid(total)[:, None] + spread

    def with_noise(log_q: Tensor) -> Tensor:
        right, wrong = noise()
        return torch.logsumexp(torch.where(diagonal, right[:, None], wrong)[:, given].T + log_q, 1)

    if start is None:
        minimise([log_scale, bias], lambda log_q: log_q[torch.arange(len(given)), given], lambda: log_p.new_zeros(()))
        plain_scale = float(log_scale.detach().exp())
        with torch.no_grad():
            odds += FIRST_ODDS
    else:
        plain_scale = start.plain_scale
        with torch.no_grad():
            log_scale += float(np.log(start.scale))
            bias += torch.from_numpy(start.bias)
            found = torch.from_numpy(start.transition)
            rates += torch.logit(1 - found.diagonal(), eps=1e-9).clamp_min(LEAST_ODDS)
            pairs += torch.where(diagonal, 0.0, found.clamp_min(1e-12).log())
            pairs -= pairs.sum(1, keepdim=True) / max(classes - 1, 1) * ~diagonal
            odds += rates.mean()
            rates -= rates.mean().clone()
    usual = float(np.log(plain_scale))
    by_pair = classes <= PAIRS_UP_TO
    minimise(
        [log_scale, bias, odds, rates] + ([pairs] if by_pair else []),
        with_noise,
        lambda: (
            ((log_scale - usual) / SCALE_SPREAD).square().sum()
            + (rates / RATE_SPREAD).square().sum()
            + (pairs / PAIR_SPREAD).square().sum()
        ),
    )
    with torch.no_grad():
        right, wrong = noise()
        transition = torch.where(diagonal, right[:, None], wrong).exp().numpy()
    return NoiseModel(float(log_scale.detach().exp()), bias.detach().numpy(), transition, plain_scale)


def _value(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.float64, requires_grad=True)


class Noise(Detector):
    """P(the given label is wrong) by a noise floor under the predictions; meant for out-of-fold ones, as ``oof:noise``."""

    name = "noise"
    title = "Probability of a wrong label"
    meaning = "How likely the given label is wrong, by calibrated predictions and the label noise estimated with them."

    def fit(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> Self:
        rows = drawn(len(gradients), LEARNED_FROM, np.random.default_rng(seed))
        self.model = fit_noise(gradients.logits[rows], gradients.labels[rows])
        return self

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        return self.model.wrong(gradients.logits, gradients.labels)


def drawn(n: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """All positions, or that many of them drawn uniformly, in order, int64."""
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))
