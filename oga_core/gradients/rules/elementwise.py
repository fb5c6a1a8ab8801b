"""Parameters that are added, multiplied and the like, with broadcasting: bare scales, position tables, PReLU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oga_core.gradients.rules.registry import Terms, Unsupported, Use, rule
from oga_core.gradients.terms import Dense

T = torch.Tensor


@rule(torch.add, T.add, T.add_, T.__add__, T.__radd__, T.__iadd__, reads=False)
def add(use: Use, input: Any, other: Any, *, alpha: Any = 1) -> Terms:
    """y = a + α b."""
    if use.wants(input):
        yield input, use.reduced(use.grad, input.shape)
    if use.wants(other):
        yield other, use.reduced(use.grad if alpha == 1 else use.grad * alpha, other.shape)


@rule(torch.sub, T.sub, T.sub_, T.__sub__, T.__isub__, reads=False)
def sub(use: Use, input: Any, other: Any, *, alpha: Any = 1) -> Terms:
    """y = a − α b."""
    if use.wants(input):
        yield input, use.reduced(use.grad, input.shape)
    if use.wants(other):
        yield other, use.reduced(use.grad * -alpha, other.shape)


@rule(T.__rsub__, torch.rsub, reads=False)
def rsub(use: Use, input: Any, other: Any, *, alpha: Any = 1) -> Terms:
    """y = b − α a, the operands the other way round."""
    return sub(use, other, input, alpha=alpha)


def _scale(use: Use, parameter: Tensor, factor: Any) -> Dense:
    """The gradient of a parameter that was multiplied by a factor."""
    if not isinstance(factor, Tensor):
        return use.reduced(use.grad * factor, parameter.shape)
    full = factor.expand(use.grad.shape)
    assert use.layout is not None
    if (1,) * (full.dim() - parameter.dim()) + tuple(parameter.shape) == (*[1] * (full.dim() - 1), full.shape[-1]) and (
        use.layout.dim < full.dim() - 1
    ):  # a vector along the last dimension: piece by piece
        grad, x = use.rows(use.grad), use.rows(full)
        sums = torch.cat([(grad[s] * x[s]).sum(1) for s in use.in_pieces(grad)])
        return Dense(sums.view(use.n, *parameter.shape))
    return use.reduced(use.grad * full, parameter.shape)


@rule(torch.mul, T.mul, T.__mul__, T.__rmul__, torch.multiply, T.multiply)
def mul(use: Use, input: Any, other: Any) -> Terms:
    """y = a · b."""
    if use.wants(input) and use.wants(other):
        raise Unsupported("both factors are parameters")
    if use.wants(input):
        yield input, _scale(use, input, other)
    if use.wants(other):
        yield other, _scale(use, other, input)


@rule(torch.div, T.div, T.__truediv__, torch.true_divide, T.true_divide)
def div(use: Use, input: Any, other: Any, *, rounding_mode: str | None = None) -> Terms:
    """y = a / b."""
    if rounding_mode is not None or (use.wants(input) and use.wants(other)):
        raise Unsupported("it rounds, or both operands are parameters")
    if use.wants(input):
        yield input, _scale(use, input, 1 / other)
    if use.wants(other):
        yield other, use.reduced(use.grad * -input / (other * other), other.shape)


@rule(T.__rtruediv__, T.__rdiv__)
def rdiv(use: Use, input: Any, other: Any) -> Terms:
    """y = b / a, the operands the other way round."""
    return div(use, other, input)


@rule(torch.prelu)
def prelu(use: Use, input: Tensor, weight: Tensor) -> Terms:
    """y = max(x, 0) + w min(x, 0), w one number or one a channel."""
    shape = (weight.numel(), *[1] * (input.dim() - 2)) if weight.numel() > 1 else ()
    below = use.reduced(use.grad * input.clamp_max(0), torch.Size(shape))
    yield weight, Dense(below.values.reshape(use.n, *weight.shape))
