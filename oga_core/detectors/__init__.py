"""Outlier scores of per-sample gradients and the controls beside them. Everywhere: higher = more suspicious."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from oga_core.detectors.forest import isolation_forest
from oga_core.errors import InputError
from oga_core.gradients import Factors
from oga_core.progress import Progress, silent


@dataclass(frozen=True)
class Gradients:
    """What a detector may look at, for n scored samples.

    Attributes
    ----------
    factors
        The gradients of the head; beyond it their sketches, as the second factor beside a first that is 1.
    l1, l2
        Their exact norms, float64, shape ``(n,)``.
    losses
        Cross-entropy on the given label in nats, float64, shape ``(n,)``.
    """

    factors: Factors
    l1: np.ndarray
    l2: np.ndarray
    losses: np.ndarray


@dataclass(frozen=True)
class Detector:
    """A named score: ``score(gradients, seed, progress)`` gives float64, shape ``(n,)``, higher = more suspicious."""

    name: str
    title: str
    meaning: str
    score: Callable[[Gradients, int, Progress], np.ndarray]


DETECTORS = {
    d.name: d
    for d in (
        Detector("l1", "L1 norm",
                 "L1 norm of the sample's loss gradient; of the head alone: 2 (1 − p of the given label) × feature norm.",
                 lambda g, seed, progress: g.l1),
        Detector("l2", "L2 norm", "L2 norm of the sample's loss gradient.", lambda g, seed, progress: g.l2),
        Detector("iforest", "Isolation forest", "How easily random cuts isolate the sample's loss gradient (100 trees).",
                 lambda g, seed, progress: isolation_forest(g.factors, seed=seed, progress=progress)),
    )
}  # fmt: skip
"""Detectors of Outlier Gradient Analysis (arXiv 2405.03869, section 3)."""

CONTROLS = {
    d.name: d
    for d in (
        Detector("random", "Random (control)", "A random number: what any detector has to beat.",
                 lambda g, seed, progress: np.random.default_rng(seed).random(len(g.losses))),
        Detector("loss", "Loss (control)", "Cross-entropy on the given label.", lambda g, seed, progress: g.losses),
        Detector("low_confidence", "Given-label confidence (control)",
                 "1 − the model's probability of the given label; the same order as the loss.",
                 lambda g, seed, progress: -np.expm1(-g.losses)),
    )
}  # fmt: skip
"""Simple scores that a detector is shown beside."""

ALL = DETECTORS | CONTROLS


def listed(names: str | list[str]) -> list[str]:
    """Names as a list, from one or from ``"l1,iforest"``."""
    return [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)


def chosen(names: str | list[str]) -> list[Detector]:
    """The detectors asked for, as ``"l1,iforest"`` or a list, followed by every control.

    Raises
    ------
    InputError
        For a name that is not a detector, or none at all.
    """
    wanted = listed(names)
    unknown = [n for n in wanted if n not in ALL]
    if unknown or not wanted:
        what = f"unknown detector {', '.join(map(repr, unknown))}" if unknown else "no detector is named"
        raise InputError(f"{what}; there are: {', '.join(DETECTORS)}")
    return [DETECTORS[n] for n in dict.fromkeys(wanted) if n in DETECTORS] + list(CONTROLS.values())


def scores(detectors: list[Detector], gradients: Gradients, *, seed: int, progress: Progress = silent) -> dict[str, np.ndarray]:
    """Each detector's score by name, float64, shape ``(n,)``."""
    return {d.name: d.score(gradients, seed, progress) for d in detectors}


def flagged(score: np.ndarray, budget: float) -> np.ndarray:
    """Positions of the most suspicious samples, most suspicious first, int64.

    Parameters
    ----------
    score
        Outlier scores, shape ``(n,)``. Equal scores keep the order of the data.
    budget
        A share of the samples in [0, 1), or a whole number of samples (≥ 1).

    Raises
    ------
    InputError
        If the budget is neither.
    """
    if not np.isfinite(budget) or budget < 0 or (budget > 1 and budget != int(budget)):
        raise InputError(f"budget {budget} is not a share between 0 and 1 or a whole number of samples")
    count = round(budget * len(score)) if budget < 1 else int(budget)
    return np.argsort(-score, kind="stable")[: min(count, len(score))]
