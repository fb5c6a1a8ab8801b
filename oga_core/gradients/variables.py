"""Parameters as operations on samples use them: as they are, through a view, or after operations on parameters alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from oga_core.gradients.terms import Derived, Outer, Term, Turned, View, combine_terms

FROM_PARAMETERS = "_oga_from_parameters"
"""Attribute of a tensor computed from parameters alone: their sources."""
Placement = tuple[tuple[int, ...], tuple[int, ...], int]
"""Shape, strides and offset of a view."""


@dataclass(eq=False)
class Source:
    """A parameter in the scope.

    Attributes
    ----------
    plain
        Its values, which operations on samples are given.
    proxy
        The same with a gradient, from which tensors are derived.
    """

    name: str
    plain: Tensor
    proxy: Tensor
    variables: dict[Any, Variable] = field(default_factory=dict)
    pending: int = 0


@dataclass(eq=False)
class Variable:
    """A parameter, a view of one, or a tensor computed from parameters alone, as operations on samples use it."""

    sources: list[Source]
    tensor: Tensor
    view: Placement | None
    terms: list[Term] = field(default_factory=list)
    pending: int = 0


class _Computed(Variable):
    """A tensor computed from parameters: operations on samples get its values, the graph is kept for the way back."""

    def __init__(self, sources: list[Source], tensor: Tensor) -> None:
        super().__init__(sources, tensor.detach(), None)
        self.graph = tensor


def find_variable(source: Source | None, tensor: Tensor) -> Variable:
    """Return the variable of a parameter in the scope (its source), or of a tensor computed from parameters (no source)."""
    if source is not None:
        placement = _place(source.proxy)
        return source.variables.setdefault(placement, Variable([source], source.plain, placement))
    sources: list[Source] = getattr(tensor, FROM_PARAMETERS)
    view = None
    if len(sources) == 1 and tensor._is_view() and 0 not in tensor.stride() and tensor._base is not None:
        view = _place(tensor) if tensor._base is sources[0].proxy else None
    if view is not None:
        return sources[0].variables.setdefault(view, Variable(sources, tensor.detach(), view))
    found = sources[0].variables.get(id(tensor))
    if found is None:
        found = _Computed(sources, tensor)
        for each in sources:
            each.variables[id(tensor)] = found
    return found


def sum_gradient(source: Source, variables: list[Variable]) -> Term | None:
    """Return the whole gradient of a parameter from the terms of its variables; None where there is no term."""
    terms: list[tuple[Term, View]] = []
    for variable in variables:
        if variable.view is None:
            assert isinstance(variable, _Computed)
            back = partial(_differentiate, variable.graph, source.proxy)
            of = combine_terms([(t, None) for t in variable.terms], variable.tensor)
            terms.append((Derived(of, source.plain, variable.tensor.shape, back), None))
            continue
        terms += [_extend(term, variable.view, source.proxy) for term in variable.terms]
    if len(variables) == 1 and terms[0][1] is not None and variables[0].tensor.numel() == source.plain.numel():
        of = combine_terms([(term, None) for term, _ in terms], variables[0].tensor)
        return Turned(of, source.plain, terms[0][1])
    return combine_terms(terms, source.plain) if terms else None


def _place(tensor: Tensor) -> Placement:
    return tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset())


def _extend(term: Term, view: Placement, whole: Tensor) -> tuple[Term, View]:
    """Return a term of a view of a parameter as one of the whole parameter, else with its view."""
    if view == _place(whole):
        return term, None
    if isinstance(term, Outer) and whole.dim() == 2 and view == _place(whole.t()):
        return Outer(term.right, term.left), None
    return term, partial(_as_strided, view)


def _as_strided(view: Placement, whole: Tensor) -> Tensor:
    """The same view of another tensor with the memory of the parameter."""
    shape, stride, offset = view
    return whole.as_strided(shape, stride, whole.storage_offset() + offset)


def _differentiate(graph: Tensor, proxy: Tensor, grad: Tensor) -> Tensor:
    with torch.enable_grad():
        found = torch.autograd.grad(graph, proxy, grad, retain_graph=True, allow_unused=True)[0]
    return torch.zeros_like(proxy) if found is None else found
