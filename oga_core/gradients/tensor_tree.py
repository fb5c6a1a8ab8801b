"""The tensors in nested tuples, lists and dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor


def find_tensors(arguments: Iterable[Any]) -> list[Tensor]:
    """Return the tensors among some arguments, however deep."""
    found: list[Tensor] = []
    for value in arguments:  # a loop: it is run for every operation of a model
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += find_tensors(value)
        elif isinstance(value, dict):
            found += find_tensors(value.values())
    return found


def replace_tensors(tree: Any, values: dict[int, Tensor]) -> Any:
    """Return the same tree with other tensors, by the ``id`` of those that they replace."""
    if isinstance(tree, Tensor):
        return values.get(id(tree), tree)
    if isinstance(tree, tuple) and type(tree) is not tuple:  # torch.Size and named tuples hold no parameter
        return tree
    if isinstance(tree, (tuple, list)):
        return type(tree)(replace_tensors(value, values) for value in tree)
    if isinstance(tree, dict):
        return {key: replace_tensors(value, values) for key, value in tree.items()}
    return tree


def map_tensors(inputs: Any, change: Callable[[Tensor], Any]) -> Any:
    """Return the same tuples, lists and dicts with every tensor changed."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, (tuple, list)):
        return tuple(map_tensors(value, change) for value in inputs)
    if isinstance(inputs, Mapping):
        return {key: map_tensors(value, change) for key, value in inputs.items()}
    return inputs
