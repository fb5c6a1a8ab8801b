"""Where in the model a sample's gradient is long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from oga_core.data import Dataset
from oga_core.errors import InputError
from oga_core.review.why import beyond_head
from oga_core.runs import InMemory, Run, Starter
from oga_core.runs.run import MODEL

Measure = Callable[..., dict[str, float]]


def layer_shares(run: Run, row: int, dataset: Dataset, measure: Measure) -> list[tuple[str, float]]:
    """Each layer's share of the squared length of a sample's gradient, in the order of the model; they add up to 1.

    Nothing where the scope is the head, which is one layer. The model is opened and run on this one sample.

    Parameters
    ----------
    row
        Of ``run.table``.
    dataset
        The run's data.
    measure
        What opens the model: `oga_core.scoring.one_sample.squared_norms`, or what has it done in another process.

    Raises
    ------
    InputError
        If the model or the sample is no longer there, or the model was given from Python and never was a file.
    """
    if not beyond_head(run):
        return []
    squares = squared_norms(run, row, dataset, measure)
    layers: dict[str, float] = {}
    for name, square in squares.items():
        layer = name.rpartition(".")[0] or name
        layers[layer] = layers.get(layer, 0.0) + square
    total = sum(layers.values())
    return [(layer, square / total if total else 0.0) for layer, square in layers.items()]


def squared_norms(run: Run, row: int, dataset: Dataset, measure: Measure) -> dict[str, float]:
    """‖∂ℓ/∂θ‖² of one sample for each parameter in the run's scope, by name; as `layer_shares`."""
    return measure(dataset, kept_index(run, row, dataset), run.spec.scope, *model_of(run))


def kept_index(run: Run, row: int, dataset: Dataset) -> int:
    """Position in the data of a row of ``run.table``; InputError where they no longer hold the sample."""
    entry = run.table.iloc[row]
    index = int(entry["index"])
    if not dataset.holds(index, str(entry["sample_id"])):
        raise InputError(f"{entry['source']} has changed since run {run.id} scored it; score the data again")
    return index


def model_of(run: Run) -> tuple[str | None, Path | None]:
    """The run's model, as `load_model` takes it; InputError where it was given from Python."""
    model = run.spec.model
    if isinstance(model, InMemory):
        raise InputError("the model was given from Python and is not kept with the run, so that it cannot be opened again")
    return (None, run.file(MODEL)) if isinstance(model, Starter) else model.arguments
