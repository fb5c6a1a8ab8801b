"""Which training samples push a model towards a test sample and which against it, by the angle between their gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oga_core.data import Dataset, SampleError
from oga_core.data.tables import Answered
from oga_core.errors import InputError
from oga_core.gradients import FORM
from oga_core.models import Classifier, LanguageModel, label_indices, load_model
from oga_core.review.layer_shares import model_of
from oga_core.review.why import beyond_head
from oga_core.runs import Run
from oga_core.runs.run import SKETCHES
from oga_core.runs.stale import stale
from oga_core.scoring.answers import AnswerPass
from oga_core.scoring.one_pass import OnePass, Pass

KINDS = ("prompts", "text")
"""Of the data of runs whose model can be given a new sample in words."""
CHARACTERS = 100_000
"""Of a test prompt, and of its answer."""
COLUMNS = ["sample_id", "index", "source", "label"]


@dataclass(frozen=True)
class SampleGradient:
    """The gradient of a sample that is not in a run, as the run keeps gradients: see `Factors`.

    Attributes
    ----------
    residual, feature
        Unit vectors, float16.
    norm
        Length of the whole gradient.
    loss
        Of the sample, in nats.
    """

    residual: np.ndarray
    feature: np.ndarray
    norm: float
    loss: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"residual": self.residual.tolist(), "feature": self.feature.tolist(), "norm": self.norm, "loss": self.loss}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> SampleGradient:
        """What `to_dict` gave; ValueError, TypeError or KeyError where it is something else."""
        residual, feature = (np.array(found[name], np.float16) for name in ("residual", "feature"))
        if residual.ndim != 1 or feature.ndim != 1 or not (np.isfinite(residual).all() and np.isfinite(feature).all()):
            raise ValueError("no unit vectors")
        return cls(residual, feature, float(found["norm"]), float(found["loss"]))


def measured(
    dataset: Dataset, prompt: str, answer: str, scope: str, seed: int, head: str | None, model: str | None, weights: Path | None,
    load: Callable[[str | None, Path | None, Dataset], Classifier] = load_model,
) -> SampleGradient:  # fmt: skip
    """The gradient of a new sample, in the space of the sketches of a run.

    Parameters
    ----------
    dataset
        The run's data, with whose first samples the model is probed.
    prompt, answer, scope, seed, head
        As `influence_of` and `oga_core.score` take them.
    model, weights
        As `load_model` takes them.
    load
        `load_model`, or what keeps the model for the next sample.

    Raises
    ------
    InputError
        If the model cannot be opened, or the sample is none that it can read.
    """
    for words in (prompt, answer):
        if len(words) > CHARACTERS:
            raise InputError(f"the test prompt or its answer has {len(words):,} characters; at most {CHARACTERS:,} are taken")
    classifier = load(model, weights, dataset)
    each: Pass
    sample: str
    if isinstance(classifier, LanguageModel):
        sample, label = Answered(prompt, answer), 0
        each = AnswerPass(classifier, dataset, scope, seed, head)
    else:
        if len(getattr(dataset, "inputs", ())) > 1:
            raise InputError("these data are pairs of texts: a test sample must be one of the run's")
        if answer not in dataset.class_names:
            raise InputError(f"{answer!r} is not a class of these data; there are: {', '.join(dataset.class_names[:20])}")
        sample, label = prompt, dataset.class_names.index(answer)
        each = OnePass(classifier, dataset, label_indices(classifier, dataset), scope, head, seed)
    try:
        if not (answer if isinstance(sample, Answered) else prompt).strip():
            raise SampleError(f"the {'answer' if isinstance(sample, Answered) else 'text'} is empty")
        encoded = classifier.encoded(sample)
    except SampleError as error:
        raise InputError(f"the test sample cannot be read: {error}") from error
    found = each(np.zeros(1, np.int64), np.array([""]), [encoded], np.array([label]))
    if not found["finite"][0]:
        raise InputError("the model's output for the test sample is not finite")
    if "sketches" in found:
        residual, feature = np.ones(1, np.float16), found["sketches"][0]
    else:
        residual, feature = found["residuals"][0], found["features"][0]
    return SampleGradient(residual, feature, float(found["l2"][0]), float(found["loss"][0]))


Measure = Callable[..., SampleGradient]
"""`measured`, or what has it done elsewhere."""


def gradient_of(run: Run, prompt: str, answer: str, dataset: Dataset, measure: Measure = measured) -> SampleGradient:
    """The gradient of a new sample, as `influence_of` takes it, by a run's model and in its scope.

    Parameters
    ----------
    dataset
        The run's data.
    measure
        What opens the model, in this process or another.

    Raises
    ------
    InputError
        As `influence_of`.
    """
    if (kind := run.summary.get("kind")) not in KINDS:
        raise InputError(f"run {run.id} is on {kind} data: a test sample must be one of the run's")
    if run.has_file(f"{SKETCHES[0]}.npy") and run.summary.get("sketch_form") != FORM:
        raise InputError(f"the sketches of run {run.id} are of another version of OGA: choose one of its samples, or score the "
                         "data again")  # fmt: skip
    if why := stale(run):
        raise InputError(why)
    settings = run.settings
    found = measure(dataset, prompt, answer, settings["scope"], settings["seed"], settings.get("head"), *model_of(run))
    widths = run.factors.residuals.shape[1], run.factors.features.shape[1]
    if (len(found.residual), len(found.feature)) != widths:
        raise InputError(
            f"the model is another than run {run.id} was scored with: its gradients have {len(found.residual)} × "
            f"{len(found.feature)} numbers, those of the run {widths[0]} × {widths[1]}; score the data again"
        )
    return found


def influence_of(run: Run, prompt: str, answer: str, *, dataset: Dataset | None = None) -> pd.DataFrame:
    """How each training sample of a run pushes its model as to a test prompt: the cosine of their gradients.

    Parameters
    ----------
    run
        A finished run on prompts with answers, or on texts, whose model can be opened again.
    prompt, answer
        The test prompt and the answer whose loss is meant; of a classifier the text and the name of its class.
    dataset
        The run's data; opened where not given.

    Returns
    -------
    What `with_cosines` gives.

    Raises
    ------
    InputError
        If the run is on other data, its model or data are no longer there or have changed, or the test sample cannot be read.
    """
    found = gradient_of(run, prompt, answer, dataset or run.open_dataset())
    return with_cosines(run, run.factors.cosines_with(found.residual, found.feature), found.norm)


def influence_of_row(run: Run, row: int) -> pd.DataFrame:
    """As `influence_of`, for a sample of the run, which is left out itself.

    Parameters
    ----------
    row
        Of ``run.table``.

    Raises
    ------
    InputError
        If there is no such row.
    """
    if not 0 <= row < len(run.table):
        raise InputError(f"run {run.id} has no row {row}; it has {len(run.table):,}, from 0")
    factors = run.factors
    norm = float(factors.residual_norms[row] * factors.feature_norms[row])
    return with_cosines(run, factors.cosines(row), norm).drop(index=row)


def with_cosines(run: Run, cosines: np.ndarray, norm: float) -> pd.DataFrame:
    """The training samples, those that push the most towards the test sample first; the index is the row of ``run.table``.

    Columns ``sample_id, index, source, label``; ``cosine``, of the gradient with the test sample's: above 0, a small step of
    gradient descent on the training sample lowers the loss of the test sample, below 0 it raises it; ``error``, the cosine's
    standard error, which is not 0 where the gradients are known by sketches; and ``inner_product`` of the gradients, by which the
    loss falls for each unit of the step.
    """
    factors = run.factors
    table = run.table[COLUMNS].assign(
        cosine=cosines, error=standard_error(run, cosines),
        inner_product=cosines * norm * factors.residual_norms * factors.feature_norms,
    )  # fmt: skip
    return table.sort_values("cosine", ascending=False, kind="stable")


def standard_error(run: Run, cosines: np.ndarray) -> np.ndarray:
    """Of cosines between a run's gradients, by sketches of k numbers: (1 − c²) / √k; 0 where the gradients are known exactly."""
    return (1 - np.square(cosines)) / np.sqrt(run.factors.width) if beyond_head(run) else np.zeros_like(cosines)


def towards(found: pd.DataFrame, count: int) -> pd.DataFrame:
    """Of what `influence_of` found, the samples that push the most towards the test sample, the most first."""
    return found[found["cosine"] > 0].head(count)


def against(found: pd.DataFrame, count: int) -> pd.DataFrame:
    """Of what `influence_of` found, the samples that push the most against the test sample, the most first."""
    return found[found["cosine"] < 0].iloc[::-1].head(count)
