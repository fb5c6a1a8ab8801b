"""Canaries: labels flipped on purpose, to see how well each detector finds them on these very data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from oga_core.detectors.controls import EL2N, LowConfidence, Margin
from oga_core.detectors.detector import Detector
from oga_core.detectors.forest import IsolationForest
from oga_core.detectors.gradients import Gradients, of_units
from oga_core.detectors.noise import Noise, NoiseModel, draw_rows
from oga_core.detectors.norms import L1, L2
from oga_core.detectors.out_of_fold import scores_by_fold
from oga_core.detectors.refit import out_of_fold_logits, require_features
from oga_core.progress import Progress, silent

CANDIDATES: dict[str, Callable[[], Detector]] = {
    **{d.name: d for d in (Noise, LowConfidence, Margin, EL2N, L1, L2)},
    IsolationForest.name: partial(IsolationForest, trees=25),  # more find no more (arXiv 2405.03869, 25 to 200 trees)
}
KINDS = ("uniform", "confusions")
SHARE, FEWEST = 0.05, 30
"""Canaries among the samples, and the least number of them where that many make no more than a quarter."""
ROUNDS = 3
"""Times that canaries of each kind are planted."""
TRIED = 3000
"""Samples that canaries are planted among, drawn uniformly where there are more."""
BUDGETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True)
class Found:
    """How well one detector finds canaries of one kind, a value for each round.

    Attributes
    ----------
    detector, kind
        Its name; ``uniform``, flips to any other class, or ``confusions``, flips to a class that the model takes it for.
    average_precision
        float64, shape ``(rounds,)``.
    precision, recall
        At each of `BUDGETS`, float64, shape ``(rounds, budgets)``.
    """

    detector: str
    kind: str
    average_precision: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def trial(gradients: Gradients, seen: Gradients, noise: NoiseModel, seed: int, progress: Progress = silent) -> list[Found]:
    """Plant canaries, score all samples out of fold, and see where the canaries come; a `Found` a detector and kind.

    Without models that were trained without the samples, the head is fitted again on frozen features with the canaries
    inside. A sample that is no canary counts as one minus the probability that its own label is wrong: true errors that come
    first are not held against a detector.

    Parameters
    ----------
    seen
        The out-of-fold gradients of the same samples.
    noise
        Fitted to these.
    """
    rows = draw_rows(len(gradients), TRIED, np.random.default_rng(seed))
    some, base = gradients.take(rows), seen.take(rows)
    right = 1.0 - noise.wrong(base.logits, base.labels)
    budgets = np.array([max(1, round(b * len(some))) for b in BUDGETS])
    measured: dict[tuple[str, str], list[tuple[float, np.ndarray, np.ndarray]]] = {}
    for done in range(ROUNDS * len(KINDS)):
        kind, rng = KINDS[done % len(KINDS)], np.random.default_rng((seed, done))
        planted, canaries = plant(base, noise, kind, rng)
        with_canaries = _relabel(some, base, planted, seed)
        for name, make in CANDIDATES.items():
            score = scores_by_fold(make, with_canaries, seed)
            measured.setdefault((name, kind), []).append(_measures(score, canaries, right, budgets))
        progress("planting canaries", done + 1, ROUNDS * len(KINDS))
    return [Found(name, kind, *(np.array(v) for v in zip(*rounds))) for (name, kind), rounds in measured.items()]


def plant(gradients: Gradients, noise: NoiseModel, kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels with canaries, int64 ``(n,)``, and which samples are canaries, bool ``(n,)``.

    Parameters
    ----------
    noise
        Gives the probabilities by which ``confusions`` are drawn.
    """
    n, classes = len(gradients), gradients.classes
    rows = rng.choice(n, min(max(round(SHARE * n), FEWEST), max(n // 4, 1)), replace=False)
    given = gradients.labels[rows]
    if kind == "uniform":
        known = np.unique(gradients.labels)  # outputs that no sample is labelled with are no labels, unless there is no other
        known = known if len(known) > 1 else np.arange(classes)
        chances = np.isin(np.arange(classes), known).astype(float) * np.ones((len(rows), 1))
    else:
        chances = noise.clean(gradients.logits[rows]) + 1e-9
    chances[np.arange(len(rows)), given] = 0.0
    cumulated = chances.cumsum(1)
    labels = gradients.labels.copy()
    labels[rows] = (cumulated > rng.random((len(rows), 1)) * cumulated[:, -1:]).argmax(1)
    canaries = np.zeros(n, bool)
    canaries[rows] = True
    return labels, canaries


def _relabel(some: Gradients, base: Gradients, labels: np.ndarray, seed: int) -> Gradients:
    features, norms = require_features(base)
    logits = base.logits
    if some.out_of_fold is None:
        logits = out_of_fold_logits(features, norms, labels, some.classes, seed=seed)
    return replace(of_units(logits, features, norms, labels), fold=base.fold)


def _measures(
    score: np.ndarray, canaries: np.ndarray, right: np.ndarray, budgets: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Average precision, and precision and recall at each budget, of a ranking with weighted negatives."""
    order = np.argsort(-score, kind="stable")
    hits = canaries[order].astype(float)
    found = hits.cumsum()
    precision = found / (found + np.where(canaries, 0.0, right)[order].cumsum()).clip(1e-12)
    average = float((precision * hits).sum() / hits.sum())
    return average, precision[budgets - 1], found[budgets - 1] / hits.sum()
