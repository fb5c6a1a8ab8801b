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
    if weight.dim() == 2 and not weight.requires_grad and gemm.fast(input, weight, *([] if bias is None else [bias])):
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
    torch.matmul, torch.mm, torch.Tensor.matmul, torch.Tensor.mm, torch.Tensor.__matmul__, torch.Tensor.__rmatmul__, torch.mv,
    torch.Tensor.mv,
)  # fmt: skip
def matmul(use: Use, left: Tensor, right: Tensor) -> Terms:
    """y = x W, W x, or x w for a vector w."""
    if use.wants(left) == use.wants(right):
        raise Unsupported("both factors are parameters")
    if use.wants(right):
        if right.dim() > 2 or left.dim() < 2:
            raise Unsupported("its right factor is not a matrix")
        if right.dim() == 1:
            yield right, Dense((use.rows(use.grad[..., None]) * use.rows(left)).sum(1))
            return
        yield right, Outer(use.rows(left), use.rows(use.grad))
        return
    if left.dim() != 2 or right.dim() < 3:
        raise Unsupported("its left factor is a parameter")
    grad, x = use.rows(use.grad, 2), use.rows(right, 2)
    yield left, Outer(grad.transpose(2, 3).flatten(1, 2), x.transpose(2, 3).flatten(1, 2))
