"""Starters trained without some of the samples: what such a model says of a sample's label, it has not read off the label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from oga_core.data import Dataset, Subset
from oga_core.detectors import Gradients, of_units
from oga_core.detectors.refit import folds
from oga_core.errors import InputError
from oga_core.models import train
from oga_core.progress import Progress, silent
from oga_core.runs.run import SAVED_STATE
from oga_core.scoring.encoding import encode_samples
from oga_core.scoring.passes import run_pass
from oga_core.scoring.saved_state import SavedState
from oga_core.scoring.tasks import scoring_of

FOLDS = 5
COLUMNS = ("logits", "features", "feature_norms")


@dataclass(frozen=True)
class OutOfFold:
    """Outputs of models for samples that they were not trained on.

    Attributes
    ----------
    index
        Positions in the data, int64, shape ``(n,)``, sorted.
    fold
        Which of the models, int64, shape ``(n,)``.
    logits, features, feature_norms
        As `Gradients` has them.
    """

    index: np.ndarray
    fold: np.ndarray
    logits: np.ndarray
    features: np.ndarray
    feature_norms: np.ndarray

    def gradients(self, index: np.ndarray, targets: np.ndarray) -> Gradients | None:
        """The out-of-fold head gradients of some samples; None if one of them is missing.

        Parameters
        ----------
        index
            Positions in the data, int64, shape ``(m,)``.
        targets
            Given labels as positions in the logits, int64, shape ``(m,)``.
        """
        at = np.searchsorted(self.index, index).clip(max=len(self.index) - 1)
        if not np.array_equal(self.index[at], index):
            return None
        found = of_units(self.logits[at], self.features[at], self.feature_norms[at], targets)
        return replace(found, fold=self.fold[at])


def default_folds(dataset: Dataset) -> int:
    """Models that are trained for a kind of data unless the user says otherwise: none for images, which take minutes."""
    return 0 if dataset.kind == "image" else FOLDS


def cross_fit(
    dataset: Dataset,
    k: int,
    *,
    seed: int = 0,
    epochs: int | None = None,
    progress: Progress = silent,
    saved: SavedState | None = None,
) -> OutOfFold | None:
    """Train k starters, each without one of k folds of the samples, and pass that fold through it.

    Returns None where a fold leaves too little to train on. What is kept in ``saved`` is not done again.

    Raises
    ------
    InputError
        For fewer than two folds.
    """
    if k < 2:
        raise InputError(f"{k} folds: at least two are needed, or 0 for none")
    rows = np.flatnonzero(dataset.labels >= 0)
    fold = folds(dataset.labels[rows], k, seed)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("index", "fold", *COLUMNS)}
    for i in range(k):
        others, own = Subset(dataset, rows[fold != i]), Subset(dataset, rows[fold == i])
        if len(np.unique(others.labels)) < 2 or not len(own):
            return None
        tell = partial(progress, f"out-of-fold model {i + 1} of {k}")
        fit = partial(train, others, seed=seed, epochs=epochs, hold_out=False, progress=_hide_stage(tell))
        try:
            fitted = saved.starter(f"{SAVED_STATE}/fold{i}.safetensors", others, fit)[0] if saved else fit().classifier
        except InputError:  # too few of them can be read
            return None
        if not encode_samples(fitted, own, range(len(own)), 1)[0]:
            continue
        sizes = saved.inventory.sizes[own.rows] if saved else None
        samples, _ = run_pass(scoring_of(fitted.task).make_pass(fitted, own), own, tell, saved, f"fold{i}", sizes=sizes)
        if samples is None:
            continue
        columns["index"].append(own.rows[samples.index])
        columns["fold"].append(np.full(len(samples), i))
        for name in COLUMNS:
            columns[name].append(getattr(samples, name))
    if not columns["index"]:
        return None
    joined = {name: np.concatenate(values) for name, values in columns.items()}
    order = np.argsort(joined["index"], kind="stable")
    return OutOfFold(**{name: values[order] for name, values in joined.items()})


def _hide_stage(tell: Callable[[int, int], None]) -> Progress:
    """Progress that passes on the counts and ignores the name of the stage."""

    def report(stage: str, done: int, total: int) -> None:
        tell(done, total)

    return report
