"""Which tokens of an answer a language model did not expect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from oga_core.data import Dataset, SampleError
from oga_core.errors import InputError
from oga_core.models import Classifier, LanguageModel, load_model
from oga_core.models.language_model import TokenLosses
from oga_core.models.language_model import token_losses as losses_by
from oga_core.review.layer_shares import kept_index, model_of
from oga_core.runs import Run

Load = Callable[[str | None, Path | None, Dataset], Classifier]


def measured(
    dataset: Dataset, index: int, model: str | None, weights: Path | None, load: Load = load_model
) -> TokenLosses:  # fmt: skip
    """The losses of the tokens of one sample.

    Parameters
    ----------
    index
        Position in the data.
    model, weights
        As `load_model` takes them.
    load
        `load_model`, or what keeps the model for the next sample.

    Raises
    ------
    InputError
        If the model cannot be opened or is no language model, or the sample cannot be read.
    """
    found = load(model, weights, dataset)
    if not isinstance(found, LanguageModel):
        raise InputError(f"model {found.name} is a classifier, which has no losses of tokens")
    try:
        return losses_by(found, dataset.load(index))
    except SampleError as error:
        raise InputError(f"{dataset.sources[index]} cannot be read: {error}") from error


Measure = Callable[..., TokenLosses]
"""`measured`, or what has it done elsewhere."""


def token_losses(run: Run, row: int, dataset: Dataset, measure: Measure = measured) -> TokenLosses:
    """The loss of each token of a prompt and its answer, in nats; the model is opened and run on this one sample.

    Parameters
    ----------
    row
        Of ``run.table``.
    dataset
        The run's data.
    measure
        What opens the model, in this process or another.

    Raises
    ------
    InputError
        If the run is none of a language model, the model or the sample is no longer there, or the model was given from Python and
        never was a file.
    """
    if run.predicts:
        raise InputError(f"run {run.id} is of a classifier, which has no losses of tokens")
    return measure(dataset, kept_index(run, row, dataset), *model_of(run))
