"""Products by oneDNN are those of the default way, whatever the strides; pieces are whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from oga_core.gradients import gemm

SIZES = st.integers(1, 40)
STRIDES = ("rows", "columns", "gaps")


def matrix(rows: int, columns: int, strides: str, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(rows * 100 + columns)
    if strides == "columns":
        return torch.randn(columns, rows, generator=generator, dtype=dtype).t()
    if strides == "gaps":
        return torch.randn(rows, 3, columns, generator=generator, dtype=dtype)[:, 1]
    return torch.randn(rows, columns, generator=generator, dtype=dtype)


@settings(deadline=None, max_examples=60)
@given(m=SIZES, n=SIZES, k=SIZES, left=st.sampled_from(STRIDES), right=st.sampled_from(STRIDES))
def test_products_and_magnitudes_are_those_of_double_precision(m: int, n: int, k: int, left: str, right: str) -> None:
    x, y = matrix(m, k, left), matrix(n, k, right)
    true = x.double() @ y.double().t()
    torch.testing.assert_close(gemm.product(x, y).double(), true, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gemm.magnitudes(x, y).double(), true.abs(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_take_the_default_way(dtype: torch.dtype) -> None:
    x, y = matrix(5, 7, "rows", dtype), matrix(6, 7, "columns", dtype)
    assert torch.equal(gemm.product(x, y), x @ y.t())
    assert torch.equal(gemm.magnitudes(x, y), (x @ y.t()).abs())


@settings(deadline=None, max_examples=20)
@given(n=st.integers(1, 5), t=st.integers(1, 9), p=st.integers(1, 60), d=st.integers(1, 60), limit=st.integers(1, 3000))
def test_pieces_make_up_every_samples_magnitudes(n: int, t: int, p: int, d: int, limit: int) -> None:
    torch.manual_seed(0)
    left, right = torch.randn(n, t, p), torch.randn(n, t, d)
    kept, gemm.PIECE = gemm.PIECE, limit
    try:
        sums = torch.zeros(n)
        for samples, piece in gemm.outer_sums(left, right):
            assert piece.numel() <= limit + d
            sums[samples] += piece.sum() if isinstance(samples, int) else piece.sum((1, 2))
    finally:
        gemm.PIECE = kept
    torch.testing.assert_close(sums, torch.bmm(left.transpose(1, 2), right).abs().sum((1, 2)), rtol=1e-4, atol=1e-4)


def test_the_linear_layer_by_onednn_gives_the_inputs_gradient() -> None:
    torch.manual_seed(0)
    x, w, b = torch.randn(3, 4, 7, requires_grad=True), torch.randn(5, 7), torch.randn(5)
    grad = torch.randn(3, 4, 5)
    out = gemm.Linear.apply(x, w, b)
    torch.testing.assert_close(out, torch.nn.functional.linear(x, w, b))
    (found,) = torch.autograd.grad(out, x, grad)
    torch.testing.assert_close(found, grad @ w)
