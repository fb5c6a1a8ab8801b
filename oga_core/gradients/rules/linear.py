"""Matrix products with a parameter: Linear, attention's projections, Hugging Face's Conv1D, plain ``x @ w``."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from oga_core.gradients import gemm
from oga_core.gradients.rules.registry import Terms, Unsupported, Use, rule
from oga_core.gradients.terms import Dense, Outer


def _run(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if weight.dim() == 2 and not weight.requires_grad and gemm.is_fast(input, weight, *([] if bias is None else [bias])):
        return gemm.Linear.apply(input, weight, bias)
    return F.linear(input, weight, bias)


@rule(F.linear, run=_run)
def linear(use: Use, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Terms:
    """y = x Wᵀ + b."""
    if weight.dim() != 2:
        raise Unsupported("its weight is a vector")
    grad = use.rows(use.grad)
    if use.wants(weight):
        yield weight, Outer(grad, use.rows(input))
    if bias is not None and use.wants(bias):
        yield bias, Dense(grad.sum(1))


@rule(torch.addmm, torch.Tensor.addmm)
def addmm(use: Use, input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Terms:
    """y = β b + α x W."""
    if use.wants(mat1):
        raise Unsupported("its left matrix is a parameter")
    if use.wants(mat2):
        yield mat2, Outer(use.rows(mat1) * alpha, use.rows(use.grad))
    if use.wants(input):
        yield input, use.reduced(use.grad * beta, input.shape)


@rule(
    torch.matmul,
    torch.mm,
    torch.Tensor.matmul,
    torch.Tensor.mm,
    torch.Tensor.__matmul__,
    torch.Tensor.__rmatmul__,
    torch.mv,
    torch.Tensor.mv,
)
def matmul(use: Use, input: Tensor, other: Tensor) -> Terms:
    """y = x W, W x, or x w or w x for a vector w."""
    if use.wants(input) == use.wants(other):
        raise Unsupported("both factors are parameters")
    if use.wants(other):
        if other.dim() > 2 or input.dim() < 2:
            raise Unsupported("its right factor is not a matrix")
        if other.dim() == 1:
            yield other, Dense((use.rows(use.grad[..., None]) * use.rows(input)).sum(1))
            return
        yield other, Outer(use.rows(input), use.rows(use.grad))
        return
    if input.dim() == 1:
        yield input, Dense((use.rows(use.grad[..., None, :], 2) * use.rows(other, 2)).sum((1, 3)))
        return
    if input.dim() != 2 or other.dim() < 3:
        raise Unsupported("its left factor is a parameter")
    grad, x = use.rows(use.grad, 2), use.rows(other, 2)
    yield input, Outer(grad.transpose(2, 3).flatten(1, 2), x.transpose(2, 3).flatten(1, 2))
