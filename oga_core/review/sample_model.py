"""The model of a run, opened again for questions about single samples."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from oga_core.data import Dataset
from oga_core.errors import InputError
from oga_core.measured import SampleGradient, TokenLosses
from oga_core.runs import InMemory, Run, Starter
from oga_core.runs.run import MODEL


class SampleModel(Protocol):
    """A model with its data, in this process (`oga_core.scoring.one_sample.OpenedModel`) or in the sandbox (`SandboxedModel`)."""

    @property
    def dataset(self) -> Dataset: ...

    def squared_norms(self, index: int, scope: str) -> dict[str, float]: ...

    def token_losses(self, index: int) -> TokenLosses: ...

    def gradient(self, given: str, target: str, scope: str, seed: int, head: str | None) -> SampleGradient: ...


def find_sample(run: Run, row: int, dataset: Dataset) -> int:
    """Return the position in the data of a row of ``run.table``; InputError where they no longer hold the sample."""
    entry = run.table.iloc[row]
    index = int(entry["index"])
    if not dataset.holds(index, str(entry["sample_id"])):
        raise InputError(f"{entry['source']} has changed since run {run.id} scored it; score the data again")
    return index


def model_of(run: Run) -> tuple[str | None, Path | None]:
    """Return model and weights of a run, as `load_model` takes them; InputError where it was given from Python."""
    model = run.spec.model
    if isinstance(model, InMemory):
        raise InputError("the model was given from Python and is not kept with the run, so that it cannot be opened again")
    return (None, run.file(MODEL)) if isinstance(model, Starter) else model.arguments
