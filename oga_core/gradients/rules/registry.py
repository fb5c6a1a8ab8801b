"""The register of rules, and what a rule is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from oga_core.gradients.gemm import samples_at_once
from oga_core.gradients.ownership import Layout
from oga_core.gradients.terms import Dense, Term

Terms = Iterator[tuple[Tensor, Term]]


class Unsupported(Exception):
    """A use of an operation that its rule does not cover; its parameters go to the fallback."""


@dataclass(frozen=True)
class Rule:
    """Properties of an operation.

    Attributes
    ----------
    terms
        The rule itself.
    reads
        Whether the terms need the operation's inputs, which must then be what they were.
    run
        A faster way to do the operation itself, where there is one.
    """

    terms: Callable[..., Terms]
    reads: bool = True
    run: Callable[..., Any] | None = None


RULES: dict[Callable[..., Any], Rule] = {}


def rule(
    *operations: Callable[..., Any], reads: bool = True, run: Callable[..., Any] | None = None
) -> Callable[[Callable[..., Terms]], Callable[..., Terms]]:
    """Register a function as the rule of some operations."""

    def register(terms: Callable[..., Terms]) -> Callable[..., Terms]:
        for operation in operations:
            RULES[operation] = Rule(terms, reads, run)
        return terms

    return register


class Use:
    """One call of an operation on parameters.

    Attributes
    ----------
    n
        Samples in the batch.
    grad
        The loss's gradient with respect to the operation's output, once it is there.
    """

    grad: Tensor

    def __init__(
        self, rule: Rule, args: tuple[Any, ...], kwargs: dict[str, Any], variables: set[int], n: int, layout: Layout | None
    ) -> None:
        self.rule, self.args, self.kwargs, self.n, self.layout = rule, args, kwargs, n, layout
        self._variables = variables
        tensors = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)] if rule.reads else []
        self._versions = [(t, t._version) for t in tensors]

    def terms(self, grad: Tensor) -> Terms:
        """Return the terms of each parameter; `Unsupported` for a use that the rule does not cover."""
        if self.layout is None:
            raise Unsupported("its output is not arranged by sample")
        if any(t._version != version for t, version in self._versions):
            raise Unsupported("its input is changed in place afterwards")
        if grad.is_complex():
            raise Unsupported("its output is complex")
        self.grad = grad
        try:
            return self.rule.terms(self, *self.args, **self.kwargs)
        except TypeError as error:
            raise Unsupported("it is called with other arguments than its rule knows") from error

    def wants(self, tensor: Tensor | None) -> bool:
        """Whether an argument is a parameter in the scope."""
        return tensor is not None and id(tensor) in self._variables

    def batch_dim(self) -> None:
        """`Unsupported` unless samples are the first dimension, each with its rows together."""
        if self.layout is None or self.layout.dim or self.layout.inner:
            raise Unsupported("samples are not its first dimension")

    def rows(self, tensor: Tensor, last: int = 1) -> Tensor:
        """A tensor with the output's leading dimensions, by sample: shape ``(n, rows, *the last dimensions)``."""
        assert self.layout is not None
        if self.layout.dim >= tensor.dim() - last:
            raise Unsupported("samples lie along a dimension of the parameter")
        split = self.layout.split(tensor, self.n)
        # Not -1: there may be no rows at all.
        shape = split.shape[split.dim() - last :]
        return split.reshape(self.n, split[0].numel() // max(1, shape.numel()), *shape)

    def reduced(self, tensor: Tensor, shape: torch.Size) -> Dense:
        """A tensor of the output's shape, summed by sample to a shape that was broadcast to it."""
        assert self.layout is not None
        k = self.layout.dim
        full = (1,) * (tensor.dim() - len(shape)) + tuple(shape)
        if full[k] != 1:
            raise Unsupported("samples lie along a dimension of the parameter")
        split = self.layout.split(tensor, self.n)
        dims = [d + 1 for d in range(tensor.dim()) if full[d] == 1]
        return Dense(split.sum(dims).reshape(self.n, *shape))

    def in_pieces(self, by_sample: Tensor) -> Iterator[slice]:
        """Samples whose part of a tensor of shape ``(n, ...)`` fits the cache, so that a product of it does too."""
        return samples_at_once(self.n, by_sample[0].numel(), by_sample)
