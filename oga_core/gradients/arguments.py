"""Some samples of a batch, and the tensor that a loss is taken of in what a model returns."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from oga_core.errors import InputError
from oga_core.gradients.tensor_tree import map_tensors


def return_inputs(inputs: Any) -> Any:
    """The inputs themselves."""
    return inputs


def select_entries(inputs: list[Any], rows: list[int]) -> list[Any]:
    """Return the entries of a list at some rows."""
    return [inputs[i] for i in rows]


def select_rows(inputs: Any, rows: list[int]) -> Any:
    """Rows of every tensor in a batch's inputs that has as many as the longest of them."""
    sizes: list[int] = []
    map_tensors(inputs, lambda t: sizes.append(len(t)) if t.dim() else None)
    n = max(sizes, default=0)
    return map_tensors(inputs, lambda t: t[rows] if t.dim() and len(t) == n else t)


def tensor_in(output: Any) -> Tensor:
    """The tensor that a loss is taken of: the output itself, its ``logits``, or the first of several."""
    found = output
    if not isinstance(found, Tensor):
        found = (
            getattr(found, "logits", None)
            if hasattr(found, "logits")
            else next(iter(found.values() if hasattr(found, "values") else found), None)
        )
    if not isinstance(found, Tensor):
        raise InputError(f"the model returns {type(output).__name__}, in which no tensor to take a loss of is found")
    return found
