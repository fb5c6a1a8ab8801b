"""Influence baselines of the head: what a training sample does to the loss on validation data.

Sign: every score is the effect on the mean validation loss of up-weighting the training sample,

    I(j) = −∇L_valᵀ H⁻¹ ∇ℓ_j        (Koh & Liang, arXiv 1703.04730, equation 2),

so positive = harmful = more suspicious, and leaving the sample out changes the validation loss by −I(j) / n to first order.
(The OGA paper calls I < 0 detrimental.) The methods differ in H⁻¹ alone, so all of them fit one direction s = H⁻¹ ∇L_val, of
the size of the weight, and score −⟨s, ∇ℓ_j⟩ = −rᵀ s h from the two factors of a gradient.

H = mean (diag p − ppᵀ) ⊗ hhᵀ over the fitted samples is the Hessian of their mean cross-entropy in the head's weight; of a
softmax it is always singular, so `damping` · I is added. Where the head was trained to convergence with ½ decay ‖W‖² in its
loss, ``damping=decay`` gives the Hessian of what was minimised. Without a word, damping is `DAMPING` times the mean
eigenvalue, as in Grosse et al., arXiv 2308.03296: enough to solve with, and of no unit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Self

import numpy as np
import torch

from oga_core.detectors.detector import Detector
from oga_core.detectors.gradients import Gradients
from oga_core.errors import InputError
from oga_core.gradients.factors import BLOCK
from oga_core.progress import Progress, silent

DAMPING = 0.1
"""Share of the curvature's mean eigenvalue that is added to all of them."""
WIDEST = 8192
"""Weights (classes × d) of the widest head whose Hessian is written out: 0.5 GiB, and as much again for its factor."""
ENOUGH = 5
"""Steps of LiSSA times damping / scale: e⁻⁵ is left of the start where there is no curvature but the damping."""
HELD = 2**22
"""Numbers held where gradients have to be written out: ``HELD // width`` samples at a time."""


class Influence(Detector):
    """−⟨s, ∇ℓ_j⟩ for a direction s that is fitted to the training samples.

    Parameters
    ----------
    validation
        Gradients by the same model of clean samples that it was not trained on.

    Raises
    ------
    InputError
        If there are no validation samples.
    """

    def __init__(self, validation: Gradients) -> None:
        if not len(validation):
            raise InputError("influence needs validation samples, and there are none")
        self.validation = validation

    def fit(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> Self:
        """Learn s from n training samples.

        Raises
        ------
        InputError
            If the gradients of training and validation data are not of one head.
        """
        sizes = [(g.factors.residuals.shape[1], g.factors.features.shape[1]) for g in (gradients, self.validation)]
        if sizes[0] != sizes[1]:
            raise InputError(f"training gradients have {sizes[0]} classes and features, those of validation data {sizes[1]}")
        mean = np.zeros(sizes[0])
        for _, residuals, features in _blocks(self.validation):
            mean += residuals.T @ features / len(self.validation)
        self.direction = self._direction(gradients, mean, seed, progress)
        return self

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        out = np.empty(len(gradients))
        for rows, residuals, features in _blocks(gradients):
            out[rows] = -((residuals @ self.direction) * features).sum(1)
            progress(self.title, rows.stop, len(gradients))
        return out

    @abstractmethod
    def _direction(self, gradients: Gradients, mean: np.ndarray, seed: int, progress: Progress) -> np.ndarray:
        """s, float64, shape ``(classes, d)`` like the mean validation gradient."""


class ExactHessian(Influence):
    """H is written out and solved with in double precision.

    Parameters
    ----------
    damping
        Positive; None for `DAMPING` times the mean eigenvalue.
    """

    name = "influence:hessian"
    title = "Influence, exact Hessian"
    meaning = "How much more weight on the sample raises the validation loss, by the exact Hessian of the head."

    def __init__(self, validation: Gradients, *, damping: float | None = None) -> None:
        super().__init__(validation)
        self.damping = _positive(damping)

    def _direction(self, gradients: Gradients, mean: np.ndarray, seed: int, progress: Progress) -> np.ndarray:
        factor = _damped_factor(gradients, self.damping, self.title, progress)
        return np.asarray(torch.cholesky_solve(torch.from_numpy(mean).reshape(-1, 1), factor).reshape(mean.shape).numpy())


class LiSSA(Influence):
    """Stochastic recursion s ← ∇L_val + (I − (H_batch + damping I) / scale) s (Agarwal et al., arXiv 1602.03943; of influence:
    Koh & Liang, section 3), divided by scale and averaged over repeats.

    Scale bounds the Hessian from above, so the recursion converges, in about scale / damping steps. Where that is more than
    ``steps``, directions of a curvature below scale / steps are still on their way to H⁻¹ and count for less.

    Parameters
    ----------
    damping
        As of `ExactHessian`.
    batch, steps, repeats
        Samples drawn for a step, the most steps of one recursion, and recursions.
    """

    name = "influence:lissa"
    title = "Influence, LiSSA"
    meaning = "How much more weight on the sample raises the validation loss, by a stochastic estimate of the Hessian (LiSSA)."

    def __init__(
        self, validation: Gradients, *, damping: float | None = None, batch: int = 64, steps: int = 20_000, repeats: int = 4
    ) -> None:
        super().__init__(validation)
        self.damping, self.batch, self.steps, self.repeats = _positive(damping), batch, steps, repeats

    def _direction(self, gradients: Gradients, mean: np.ndarray, seed: int, progress: Progress) -> np.ndarray:
        _needs_head(gradients)
        batch = min(self.batch, len(gradients))
        damping = self.damping or _default_damping(gradients)
        scale = damping + _batch_bound(gradients, batch)
        steps = min(self.steps, int(np.ceil(ENOUGH * scale / damping)))
        rng = np.random.default_rng(seed)
        total = np.zeros_like(mean)
        for repeat in range(self.repeats):
            s = mean.copy()
            for step in range(steps):
                rows = np.sort(rng.choice(len(gradients), batch, replace=False))
                features = gradients.factors.block(rows)[1].astype(np.float64)
                p, _ = _outputs(gradients, rows)
                products = features @ s.T
                curved = p * (products - (p * products).sum(1, keepdims=True))  # (diag p − ppᵀ) s h
                s += mean - (curved.T @ features / batch + damping * s) / scale
                if step % 100 == 0:
                    progress(self.title, repeat * steps + step, self.repeats * steps)
            total += s
        progress(self.title, self.repeats * steps, self.repeats * steps)
        return total / scale / self.repeats


class DataInf(Influence):
    """H⁻¹ replaced by the mean over training samples of (g gᵀ + λ I)⁻¹, in closed form (Kwon et al., arXiv 2310.00902),
    with the head as its one layer.

    Parameters
    ----------
    damping
        λ, positive; None for 0.1 × mean ‖g‖² / width, as in the authors' code.
    """

    name = "influence:datainf"
    title = "Influence, DataInf"
    meaning = "How much more weight on the sample raises the validation loss, by DataInf's closed form."

    def __init__(self, validation: Gradients, *, damping: float | None = None) -> None:
        super().__init__(validation)
        self.damping = _positive(damping)

    def _direction(self, gradients: Gradients, mean: np.ndarray, seed: int, progress: Progress) -> np.ndarray:
        n = len(gradients)
        squares = np.concatenate([(r**2).sum(1) * (h**2).sum(1) for _, r, h in _blocks(gradients)])
        damping = self.damping or float(DAMPING * squares.mean() / gradients.factors.width) or 1.0
        taken = np.zeros_like(mean)
        for rows, residuals, features in _blocks(gradients):
            shares = ((residuals @ mean) * features).sum(1) / (damping + squares[rows])
            taken += (residuals * shares[:, None]).T @ features / n
            progress(self.title, rows.stop, n)
        return (mean - taken) / damping


class GradientTracing(Influence):
    """TracIn at the last checkpoint, −⟨∇L_val, ∇ℓ_j⟩ (Pruthi et al., arXiv 2002.08484, section 3.3, which has the other sign):
    H is left out.
    """

    name = "influence:tracing"
    title = "Gradient tracing"
    meaning = "How much a training step on the sample raises the validation loss, at the final model (TracIn)."

    def _direction(self, gradients: Gradients, mean: np.ndarray, seed: int, progress: Progress) -> np.ndarray:
        return mean


class SelfInfluence(Detector):
    """g_jᵀ (H + damping I)⁻¹ g_j by the exact Hessian: how much the model's fit to a sample rests on that sample (Koh & Liang,
    section 5.4). It asks for no validation data.

    Parameters
    ----------
    damping
        As of `ExactHessian`.
    """

    name = "influence:self"
    title = "Self-influence"
    meaning = "How much less weight on the sample raises its own loss, by the exact Hessian of the head."

    def __init__(self, *, damping: float | None = None) -> None:
        self.damping = _positive(damping)

    def fit(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> Self:
        self.factor = _damped_factor(gradients, self.damping, self.title, progress)
        return self

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        out = np.empty(len(gradients))
        for rows, residuals, features in _blocks(gradients, max(1, HELD // gradients.factors.width)):
            written_out = torch.from_numpy(residuals[:, :, None] * features[:, None, :]).flatten(1)
            out[rows] = torch.linalg.solve_triangular(self.factor, written_out.T, upper=False).square().sum(0).numpy()
            progress(self.title, rows.stop, len(gradients))
        return out


INFLUENCE: dict[str, Callable[[Gradients], Detector]] = {
    "hessian": ExactHessian,
    "lissa": LiSSA,
    "datainf": DataInf,
    "tracing": GradientTracing,
    "self": lambda validation: SelfInfluence(),
}
"""Each makes a fresh detector from validation gradients; it is then fitted to the training gradients."""


def _damped_factor(gradients: Gradients, damping: float | None, title: str, progress: Progress) -> torch.Tensor:
    """Lower Cholesky factor of H + damping I, float64, shape ``(classes · d, classes · d)``."""
    _needs_head(gradients)
    factors, classes = gradients.factors, gradients.classes
    if factors.width > WIDEST:
        raise InputError(
            f"the exact Hessian of {classes} classes × {factors.features.shape[1]} features has {factors.width} rows, more than "
            f"{WIDEST}; influence:lissa, influence:datainf and influence:tracing do without it"
        )
    hessian = torch.zeros(factors.width, factors.width, dtype=torch.float64)
    own = torch.zeros(classes, factors.features.shape[1], factors.features.shape[1], dtype=torch.float64)
    for rows, _, features in _blocks(gradients, max(1, HELD // factors.width)):
        p, degrees = _outputs(gradients, rows)
        written_out = torch.from_numpy(p[:, :, None] * features[:, None, :]).flatten(1)
        hessian.addmm_(written_out.T, written_out, alpha=-1 / len(gradients))
        # A class with itself apart, from p (1 − p): p − p² has lost its digits where p rounds to one.
        for c in range(classes):
            own[c].addmm_(torch.from_numpy(features.T * degrees[:, c]), torch.from_numpy(features), alpha=1 / len(gradients))
        progress(title, rows.stop, len(gradients))
    for c, block in enumerate(own):
        at = slice(c * len(block), (c + 1) * len(block))
        hessian[at, at] = block
    hessian.diagonal().add_(damping or _default_damping(gradients))
    factor: torch.Tensor = torch.linalg.cholesky(hessian)
    return factor


def _outputs(gradients: Gradients, rows: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities p of some samples, and p (1 − p) with all its digits; float64, shape ``(b, classes)``."""
    p = torch.softmax(torch.from_numpy(np.array(gradients.logits[rows], np.float64)), 1).numpy()
    largest = np.arange(len(p)), p.argmax(1)
    others = p.copy()
    others[largest] = 0.0
    rest = 1 - p
    rest[largest] = others.sum(1)
    return p, p * rest


def _batch_bound(gradients: Gradients, batch: int) -> float:
    """‖H‖ + max ‖H_i‖ / batch, each from above: a recursion that divides by it converges in the mean square.

    E[H_batch²] ≤ H² + E[H_i²] / batch ≤ (‖H‖ + max ‖H_i‖ / batch) H. And diag p − ppᵀ ≤ 2 max p (1 − p) I by Gershgorin's
    circles, so H is bounded by a matrix of the size of the features alone.
    """
    largest, d = 0.0, gradients.factors.features.shape[1]
    bound = np.zeros((d, d))
    for rows, _, features in _blocks(gradients):
        curvatures = 2 * _outputs(gradients, rows)[1].max(1)
        largest = max(largest, float((curvatures * (features**2).sum(1)).max()))
        bound += (features.T * curvatures) @ features / len(gradients)
    return float(np.linalg.eigvalsh(bound)[-1]) + largest / batch


def _default_damping(gradients: Gradients) -> float:
    trace = sum(_outputs(gradients, rows)[1].sum(1) @ (features**2).sum(1) for rows, _, features in _blocks(gradients))
    # Where all probabilities are 0 or 1 the Hessian is zero, and the identity in its place leaves gradient tracing.
    return float(DAMPING * trace / len(gradients) / gradients.factors.width) or 1.0


def _blocks(gradients: Gradients, size: int = BLOCK) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Residuals ``(b, classes)`` and features ``(b, d)`` in double precision, a block of samples at a time."""
    for start in range(0, len(gradients), size):
        rows = slice(start, min(start + size, len(gradients)))
        residuals, features = gradients.factors.block(rows)
        yield rows, residuals.astype(np.float64), features.astype(np.float64)


def _needs_head(gradients: Gradients) -> None:
    if gradients.factors.residuals.shape[1] != gradients.classes:
        raise InputError("the Hessian is known for the head only, and these are gradients of another scope")


def _positive(damping: float | None) -> float | None:
    if damping is not None and not (np.isfinite(damping) and damping > 0):
        raise InputError(f"damping {damping} is not a positive number; the Hessian of a softmax is singular without it")
    return damping
