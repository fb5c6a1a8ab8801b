"""Which tokens of an answer a language model did not expect."""

from __future__ import annotations

from collections.abc import Callable

from oga_core.data import Dataset
from oga_core.errors import InputError
from oga_core.measured import TokenLosses
from oga_core.review.layer_shares import kept_index, model_of
from oga_core.runs import Run

Measure = Callable[..., TokenLosses]


def token_losses(run: Run, row: int, dataset: Dataset, measure: Measure) -> TokenLosses:
    """The loss of each token of a prompt and its answer, in nats; the model is opened and run on this one sample.

    Parameters
    ----------
    row
        Of ``run.table``.
    dataset
        The run's data.
    measure
        What opens the model: `oga_core.scoring.one_sample.token_losses`, or what has it done in another process.

    Raises
    ------
    InputError
        If the run is none of a language model, the model or the sample is no longer there, or the model was given from Python and
        never was a file.
    """
    if not run.task.token_losses:
        raise InputError(f"run {run.id} is of a {run.task.model}, which has no losses of tokens")
    return measure(dataset, kept_index(run, row, dataset), *model_of(run))
