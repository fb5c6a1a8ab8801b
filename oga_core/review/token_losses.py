"""Which tokens of an answer a language model did not expect."""

from __future__ import annotations

from oga_core.errors import InputError
from oga_core.measured import TokenLosses
from oga_core.review.sample_model import SampleModel, find_sample
from oga_core.runs import Run


def token_losses(run: Run, row: int, model: SampleModel) -> TokenLosses:
    """The loss of each token of a prompt and its answer, in nats; the model is opened and run on this one sample.

    Parameters
    ----------
    row
        Of ``run.table``.
    model
        The run's model with its data.

    Raises
    ------
    InputError
        If the run is none of a language model, the model or the sample is no longer found, or the model was given from Python and
        never was a file.
    """
    if not run.task.token_losses:
        raise InputError(f"run {run.id} is of a {run.task.model}, which has no losses of tokens")
    return model.token_losses(find_sample(run, row, model.dataset))
