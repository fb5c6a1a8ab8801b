"""Gradients of a parameter that is used in several ways, or not as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from oga_core.gradients.sketch import Projection
from oga_core.gradients.terms.outer import CANCELLED, Outer
from oga_core.gradients.terms.rows import Rows
from oga_core.gradients.terms.term import Dense, Term

View = Callable[[Tensor], Tensor] | None
"""From a tensor of a parameter's shape to the view of it that a term is the gradient of; None: the whole of it."""


@dataclass(eq=False)
class _Through(Term):
    """The gradient of a parameter through another tensor.

    Attributes
    ----------
    of
        Gradient of that tensor.
    parameter
        A tensor of the parameter's shape, dtype and device.
    """

    of: Term
    parameter: Tensor

    @property
    def n(self) -> int:
        return self.of.n

    @property
    def like(self) -> Tensor:
        return self.parameter


@dataclass(eq=False)
class Derived(_Through):
    """Through a tensor computed from parameters alone.

    Attributes
    ----------
    shape
        Of that tensor.
    back
        From a gradient of that tensor to one of the parameter.
    """

    shape: Sequence[int]
    back: Callable[[Tensor], Tensor]

    def gradient(self, sample: int) -> Tensor:
        grad = self.of.like.new_zeros(self.shape)
        self.of.add_to(sample, grad)
        return self.back(grad).contiguous()

    def add_to(self, sample: int, out: Tensor) -> None:
        out += self.gradient(sample).view(out.shape)


@dataclass(eq=False)
class Turned(_Through):
    """Through the parameter transposed, permuted or reshaped, which changes no norm.

    Attributes
    ----------
    view
        From a tensor of the parameter's shape to one as it is used, on the same memory.
    """

    view: Callable[[Tensor], Tensor]

    def add_to(self, sample: int, out: Tensor) -> None:
        self.of.add_to(sample, self.view(out))

    def norms(self, l1: bool) -> tuple[Tensor | None, Tensor]:
        return self.of.norms(l1)


@dataclass(eq=False)
class Sum(Term):
    """The gradient of a parameter that is used in several ways: added up before any norm is taken.

    Attributes
    ----------
    terms
        The terms, each with its view of the parameter.
    parameter
        A tensor of the parameter's shape, dtype and device.
    """

    terms: list[tuple[Term, View]]
    parameter: Tensor

    @property
    def n(self) -> int:
        return self.terms[0][0].n

    @property
    def like(self) -> Tensor:
        return self.parameter

    def add_to(self, sample: int, out: Tensor) -> None:
        for term, view in self.terms:
            term.add_to(sample, view(out) if view else out)

    def norms(self, l1: bool) -> tuple[Tensor | None, Tensor]:
        terms = [term for term, view in self.terms if view is None]
        if not l1 and len(terms) == len(self.terms) == 2:
            rows = next((t for t in terms if isinstance(t, Rows)), None)
            outer = next((t for t in terms if isinstance(t, Outer)), None)
            if rows is not None and outer is not None:
                apart = rows.norms(False)[1] + outer.norms(False)[1]
                squares = apart + 2 * _inner(rows, outer)
                for i in (squares < CANCELLED.get(self.like.dtype, 1e-3) * apart).nonzero()[:, 0].tolist():
                    squares[i] = self.gradient(i).square().sum(dtype=torch.float64)
                return None, squares
        return super().norms(l1)

    def sketch(self, projection: Projection) -> Tensor:
        if any(view for _, view in self.terms):
            return super().sketch(projection)
        return torch.stack([term.sketch(projection) for term, _ in self.terms]).sum(0)


def _inner(rows: Rows, outer: Outer) -> Tensor:
    """Inner product of the two gradients of a table that is also a matrix (tied weights), float64, shape ``(n,)``."""
    out = torch.zeros(rows.n, dtype=torch.float64, device=rows.values.device)
    order = torch.argsort(rows.samples, stable=True)
    ends = torch.searchsorted(rows.samples[order].contiguous(), torch.arange(rows.n + 1, device=order.device)).tolist()
    for i, (start, end) in enumerate(pairwise(ends)):
        mine = order[start:end]
        table = outer.left[i].index_select(1, rows.rows[mine]).t() @ outer.right[i]
        out[i] = (table * rows.values[mine]).sum(dtype=torch.float64)
    return out


def combine_terms(terms: Sequence[tuple[Term, View]], parameter: Tensor) -> Term:
    """The terms of one parameter, each with its view, as one; those of a kind become one of that kind."""
    whole = [term for term, view in terms if view is None]
    if len(whole) < len(terms):
        return Sum(list(terms), parameter)
    dense = [t for t in whole if isinstance(t, Dense)]
    outer = [t for t in whole if isinstance(t, Outer)]
    rows = [t for t in whole if isinstance(t, Rows)]
    merged: list[Term] = [t for t in whole if not isinstance(t, Dense | Outer | Rows)]
    if dense:
        merged.append(Dense(torch.stack([t.values for t in dense]).sum(0)))
    if outer:
        merged.append(Outer(torch.cat([t.left for t in outer], 1), torch.cat([t.right for t in outer], 1)))
    if rows:
        samples, places, values = (torch.cat([getattr(t, name) for t in rows]) for name in ("samples", "rows", "values"))
        merged.append(Rows(samples, places, values, rows[0].count, rows[0].table))
    return merged[0] if len(merged) == 1 else Sum([(term, None) for term in merged], parameter)
