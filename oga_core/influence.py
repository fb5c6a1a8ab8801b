"""Which training samples push a model towards a test sample and which against it, by the angle between their gradients."""

from __future__ import annotations

import numpy as np
import pandas as pd

from oga_core import scoring
from oga_core.data import Dataset
from oga_core.data.dataset import IN_WORDS
from oga_core.errors import InputError
from oga_core.gradients import FORM
from oga_core.measured import SampleGradient
from oga_core.review.sample_model import SampleModel, model_of
from oga_core.review.why import is_beyond_head
from oga_core.runs import Run
from oga_core.runs.run import SKETCHES
from oga_core.runs.stale import stale

COLUMNS = ["sample_id", "index", "source", "label"]


def gradient_of(run: Run, prompt: str, answer: str, model: SampleModel) -> SampleGradient:
    """The gradient of a new sample, as `influence_of` takes it, by a run's model and in its scope.

    Parameters
    ----------
    model
        The run's model with its data.

    Raises
    ------
    InputError
        As `influence_of`.
    """
    check_run(run)
    found = model.gradient(prompt, answer, run.spec.scope, run.spec.seed, run.spec.head)
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
        If the run is on other data, its model or data are missing or have changed, or the test sample cannot be read.

    Examples
    --------
    >>> oga.influence_of(run_of_texts, "good story", "pos").columns.tolist()
    ['sample_id', 'index', 'source', 'label', 'cosine', 'error', 'inner_product']
    """
    check_run(run)
    found = gradient_of(run, prompt, answer, scoring.one_sample.OpenedModel(dataset or run.open_dataset(), *model_of(run)))
    return with_cosines(run, run.factors.cosines_with(found.residual, found.feature), found.norm)


def check_run(run: Run) -> None:
    """InputError where the gradient of a new sample cannot be compared with those of a run."""
    if (kind := run.summary.kind) not in IN_WORDS:
        raise InputError(f"run {run.id} is on {kind} data: a test sample must be one of the run's")
    if run.has_file(f"{SKETCHES[0]}.npy") and run.summary.sketch_form != FORM:
        raise InputError(
            f"the sketches of run {run.id} are of another version of OGA: choose one of its samples, or score the data again"
        )
    if why := stale(run):
        raise InputError(why)


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
        cosine=cosines,
        error=standard_error(run, cosines),
        inner_product=cosines * norm * factors.residual_norms * factors.feature_norms,
    )
    return table.sort_values("cosine", ascending=False, kind="stable")


def standard_error(run: Run, cosines: np.ndarray) -> np.ndarray:
    """Of cosines between a run's gradients, by sketches of k numbers: (1 − c²) / √k; 0 where the gradients are known exactly."""
    return (1 - np.square(cosines)) / np.sqrt(run.factors.width) if is_beyond_head(run) else np.zeros_like(cosines)


def towards(found: pd.DataFrame, count: int) -> pd.DataFrame:
    """Of what `influence_of` found, the samples that push the most towards the test sample, the most first."""
    return found[found["cosine"] > 0].head(count)


def against(found: pd.DataFrame, count: int) -> pd.DataFrame:
    """Of what `influence_of` found, the samples that push the most against the test sample, the most first."""
    return found[found["cosine"] < 0].iloc[::-1].head(count)
