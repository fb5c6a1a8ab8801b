"""Matrix products and the small, re-used pieces in which per-sample gradients are materialised.

float32 products on the CPU are oneDNN's, which are up to 2.4 times as fast as the default ones on AMD processors and
take strided operands as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

PIECE = 1_200_000
"""Numbers in a piece of a gradient on the CPU: it stays in the cache while norms are taken of it."""
PIECE_CUDA = 1 << 26
SMALL = 1 << 17
"""Multiplications below which calling oneDNN sample by sample costs more than it saves."""

_LINEAR: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


def is_fast(*tensors: Tensor) -> bool:
    """Whether oneDNN's product takes these tensors."""
    return _LINEAR is not None and all(t.dtype == torch.float32 and t.device.type == "cpu" and t.numel() for t in tensors)


def product(x: Tensor, y: Tensor) -> Tensor:
    """x yᵀ for x of shape ``(m, k)`` and y of shape ``(n, k)``."""
    if not is_fast(x, y):
        return x @ y.t()
    out: Tensor = _LINEAR(x, _dense(y), None, "none", [], "")
    return out


def magnitudes(x: Tensor, y: Tensor) -> Tensor:
    """|x yᵀ|, number by number; oneDNN does it within the product, as a leaky ReLU of slope -1."""
    if not is_fast(x, y):
        return (x @ y.t()).abs_()
    out: Tensor = _LINEAR(x, _dense(y), None, "leaky_relu", [-1.0], "")
    return out


def _dense(y: Tensor) -> Tensor:
    """A matrix without gaps: for others oneDNN has only its reference code, a thousand times as slow."""
    return y if y.is_contiguous() or y.t().is_contiguous() else y.contiguous()


class Linear(torch.autograd.Function):
    """``F.linear`` for a frozen weight by oneDNN: the gradient of the input only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        out: Tensor = _LINEAR(x, _dense(weight), bias, "none", [], "")
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return product(grad.reshape(-1, weight.shape[0]), weight.t()).view(*grad.shape[:-1], weight.shape[1]), None, None


def piece(like: Tensor) -> int:
    """Numbers that a materialised piece may have on the tensor's device."""
    return PIECE if like.device.type == "cpu" else PIECE_CUDA


def samples_at_once(n: int, numbers: int, like: Tensor) -> Iterator[slice]:
    """Slices of n samples of so many numbers each, as many together as make a piece."""
    step = max(1, piece(like) // max(1, numbers))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def multiply_batches(x: Tensor, y: Tensor) -> Tensor:
    """x y of every sample, from shapes ``(n, p, t)`` and ``(n, t, d)``; single precision of half precision on a GPU."""
    if x.element_size() < 4 and x.device.type == "cuda":
        return torch.bmm(x, y, out_dtype=torch.float32)
    return torch.bmm(x, y)


def outer(left: Tensor, right: Tensor) -> Tensor:
    """Σ_t left_t ⊗ right_t of every sample, from shapes ``(n, t, p)`` and ``(n, t, d)``: ``(n, p, d)``."""
    if is_fast(left, right) and left[0].numel() * right.shape[2] >= SMALL:
        return torch.stack([product(a.t(), b.t()) for a, b in zip(left, right)])
    return multiply_batches(left.transpose(1, 2), right)


def outer_sums(left: Tensor, right: Tensor) -> Iterator[tuple[int | slice, Tensor]]:
    """The absolute values of Σ_t left_t ⊗ right_t of every sample, piece by piece.

    Parameters
    ----------
    left, right
        Shapes ``(n, t, p)`` and ``(n, t, d)``.

    Yields
    ------
    A sample and some rows of its matrix, shape ``(r, d)``; or several samples and their matrices, ``(samples, p, d)``.
    """
    n, t, p = left.shape
    d = right.shape[2]
    pieces = -(-p * d // piece(left))
    if pieces > 1 or (is_fast(left, right) and t * p * d >= SMALL):
        rows = -(-p // pieces)
        for i in range(n):
            other = right[i].t()
            for columns in left[i].split(rows, dim=1):
                yield i, magnitudes(columns.t(), other)
        return
    for samples in samples_at_once(n, p * d, left):
        yield samples, multiply_batches(left[samples].transpose(1, 2), right[samples]).abs_()
