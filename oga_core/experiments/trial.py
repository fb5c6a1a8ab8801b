"""Score, trim, train again, test: what is done to one setting under one seed, the same for every arm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from oga_core.detectors import Gradients, flag_rows
from oga_core.experiments import arms
from oga_core.experiments.measures import detection
from oga_core.experiments.results import Results, Row
from oga_core.progress import Progress


class Trained(Protocol):
    """A model trained on some of the training samples."""

    @property
    def accuracy(self) -> float:
        """At the last epoch, on test data."""

    @property
    def validation_accuracy(self) -> float:
        """At the last epoch, on validation data."""

    @property
    def by_epoch(self) -> tuple[float, ...]:
        """Accuracy on test data after each epoch, where it was asked for."""

    def gradients(self, split: str) -> Gradients:
        """Gradients of the head on the samples of a split: ``train`` (all of them, given labels), ``validation``, ``test``."""


Scorer = Callable[[Trained, int], np.ndarray]
"""Outlier scores of the training samples by the untrimmed model and a seed."""


@dataclass(frozen=True)
class Trial:
    """One setting under one seed.

    Attributes
    ----------
    labels
        Given labels of the training samples, int64, shape ``(n,)``.
    wrong
        Which of them are truly wrong, bool, shape ``(n,)``; None where that is not known.
    budgets
        Shares to trim, by what they are called.
    fit
        Trains on the samples at some positions.
    """

    setting: str
    seed: int
    labels: np.ndarray
    wrong: np.ndarray | None
    budgets: dict[str, float]
    fit: Callable[[np.ndarray], Trained]


@dataclass(frozen=True)
class Plan:
    """The steps common to all trials.

    Attributes
    ----------
    scored
        Arms whose detection is measured.
    trained
        Those of them without whose samples a model is trained again.
    twins
        Those of them that are compared with a random trim of their own class shares; the others only with the random arm,
        which has the shares of `arms.RANDOM_IS_LIKE`.
    more
        Scores beyond those of `arms.score`, by arm.
    """

    scored: Sequence[str] = arms.SCORED
    trained: Sequence[str] = arms.SCORED
    twins: Sequence[str] = arms.SCORED
    more: dict[str, Scorer] = field(default_factory=dict)


def run_trial(trial: Trial, plan: Plan, results: Results, progress: Progress) -> None:
    """Do what is missing of a trial. A trim that another arm has made already is not trained again: it would be the same."""
    n, setting, seed = len(trial.labels), trial.setting, trial.seed
    names = [*plan.scored, *plan.more]
    planned = [(setting, seed, b, arm) for b in trial.budgets for arm in (arms.RANDOM, *names)]
    planned += [(setting, seed, "", arm) for arm in (arms.UNTRIMMED, *([] if trial.wrong is None else [arms.ORACLE]))]
    if all(key in results for key in planned):
        return
    done: dict[bytes, dict[str, Any]] = {}

    def without(dropped: np.ndarray) -> dict[str, Any]:
        remaining = np.setdiff1d(np.arange(n), dropped)
        if remaining.tobytes() not in done:
            done[remaining.tobytes()] = _accuracies(trial.fit(remaining))
        return done[remaining.tobytes()]

    def told(arm: str) -> None:
        progress(f"{setting}, seed {seed}: {arm}", sum(key in results for key in planned), len(planned))

    told(arms.UNTRIMMED)
    base = trial.fit(np.arange(n))
    results.add(Row(setting, seed, "", arms.UNTRIMMED, 0, **_accuracies(base)))
    if trial.wrong is not None and (setting, seed, "", arms.ORACLE) not in results:
        told(arms.ORACLE)
        dropped = np.flatnonzero(trial.wrong)
        results.add(Row(setting, seed, "", arms.ORACLE, len(dropped), **without(dropped)))
    train, validation = base.gradients("train"), base.gradients("validation")
    scores = {name: arms.score(name, train, validation, seed) for name in (*plan.scored, arms.RANDOM)}
    scores |= {name: scorer(base, seed) for name, scorer in plan.more.items()}
    for budget, share in trial.budgets.items():
        for arm in (*names, arms.RANDOM):
            if (setting, seed, budget, arm) in results:
                continue
            told(arm)
            dropped = flag_rows(scores[arms.RANDOM_IS_LIKE if arm == arms.RANDOM else arm], share)
            if arm == arms.RANDOM:
                dropped = arms.random_like(dropped, trial.labels, seed)
            found: dict[str, Any] = dict(detection(scores[arm], trial.wrong, dropped))
            if arm == arms.RANDOM or arm in plan.trained or arm in plan.more:
                found |= without(dropped)
                if arm in plan.twins or arm in plan.more:
                    found["random_accuracy"] = without(arms.random_like(dropped, trial.labels, seed))["accuracy"]
            results.add(Row(setting, seed, budget, arm, len(dropped), **found))


def _accuracies(trained: Trained) -> dict[str, Any]:
    """As `Row` takes them."""
    return {name: getattr(trained, name) for name in ("accuracy", "validation_accuracy", "by_epoch")}
