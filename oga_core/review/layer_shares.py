"""Share of each layer of the model in a sample's gradient."""

from __future__ import annotations

from oga_core.review.sample_model import SampleModel, find_sample
from oga_core.review.why import is_beyond_head
from oga_core.runs import Run


def layer_shares(run: Run, row: int, model: SampleModel) -> list[tuple[str, float]]:
    """Each layer's share of the squared length of a sample's gradient, in the order of the model; they add up to 1.

    Nothing where the scope is the head, which is one layer. The model is opened and run on this one sample.

    Parameters
    ----------
    row
        Of ``run.table``.
    model
        The run's model with its data.

    Raises
    ------
    InputError
        If the model or the sample is no longer found, or the model was given from Python and never was a file.
    """
    if not is_beyond_head(run):
        return []
    squares = squared_norms(run, row, model)
    layers: dict[str, float] = {}
    for name, square in squares.items():
        layer = name.rpartition(".")[0] or name
        layers[layer] = layers.get(layer, 0.0) + square
    total = sum(layers.values())
    return [(layer, square / total if total else 0.0) for layer, square in layers.items()]


def squared_norms(run: Run, row: int, model: SampleModel) -> dict[str, float]:
    """‖∂ℓ/∂θ‖² of one sample for each parameter in the run's scope, by name; as `layer_shares`."""
    return model.squared_norms(find_sample(run, row, model.dataset), run.spec.scope)
