"""Matrix products with a parameter."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from torch import nn

from tests.gradients.rules.against_autograd import DEVICES, Forward, Lambda, N, assert_exact, dtypes, seeds, some


@some(max_examples=20)
@given(
    leading=st.lists(st.integers(1, 7), max_size=3),
    d=st.integers(1, 12),
    p=st.integers(1, 12),
    bias=st.booleans(),
    dtype=dtypes,
    seed=seeds,
)
def test_a_linear_layer_on_any_number_of_leading_dimensions(
    leading: list[int], d: int, p: int, bias: bool, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    assert_exact(nn.Linear(d, p, bias=bias, dtype=dtype), torch.randn(N, *leading, d, dtype=dtype))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("t", "d", "p"), [(1, 130, 90), (3, 130, 90), (40, 130, 90), (150, 100, 97), (2, 9000, 3)])
def test_a_wide_layer_by_grams_and_by_its_gradient(t: int, d: int, p: int, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(d, p), nn.Tanh(), nn.Linear(p, 5)).to(device, dtype)
    assert_exact(module, torch.randn(N, t, d, dtype=dtype, device=device))


@some(max_examples=15)
@given(
    rank=st.integers(1, 8), shape=st.tuples(st.integers(1, 6), st.integers(2, 20), st.integers(2, 20)), dtype=dtypes, seed=seeds
)
def test_a_low_rank_adapter_beside_its_layer(rank: int, shape: tuple[int, int, int], dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    t, d, p = shape
    module = Lambda(
        lambda m, x: m.layer(x) + 0.5 * m.up(m.down(x)),
        layer=nn.Linear(d, p),
        down=nn.Linear(d, rank, bias=False),
        up=nn.Linear(rank, p, bias=False),
    ).to(dtype)
    assert_exact(module, torch.randn(N, t, d, dtype=dtype))


@pytest.mark.parametrize("name", ["layer.weight", "layer.bias"])
def test_a_frozen_half_of_a_layer_takes_no_part(name: str) -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: m.layer(x), layer=nn.Linear(5, 4)).double()
    module.get_parameter(name).requires_grad_(False)
    assert_exact(module, torch.randn(N, 3, 5, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: torch.addmm(m.bias, x.flatten(0, 1), m.weight).unflatten(0, (len(x), -1)),
        lambda m, x: torch.addmm(m.bias, x[:, 0], m.weight, beta=0.5, alpha=-2.0),
        lambda m, x: m.bias.addmm(x[:, 0], m.weight),
        lambda m, x: x @ m.weight + m.bias,
        lambda m, x: x[:, :, None] @ m.weight + m.bias,
        lambda m, x: torch.matmul(x.transpose(0, 1), m.weight).transpose(0, 1) - m.bias,
        lambda m, x: torch.mm(x[:, 0], m.weight) * m.bias,
        lambda m, x: x[:, 0].mm(m.weight) / (2 + m.bias),
        lambda m, x: x.matmul(m.weight) + m.bias,
        lambda m, x: F.linear(x, m.weight.t(), m.bias),
        lambda m, x: F.linear(input=x, weight=m.weight.mT, bias=None) + F.linear(x, m.weight.T) * m.bias,
        lambda m, x: m.weight.t() @ x.transpose(1, 2) + m.bias[:, None],
        lambda m, x: torch.matmul(m.weight.t(), x[:, None].transpose(2, 3)) * m.bias[:, None],
    ],
)
def test_a_matrix_product_however_it_is_written(forward: Forward, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = Lambda(forward, weight=torch.randn(6, 5), bias=torch.randn(5)).to(dtype)
    assert_exact(module, torch.randn(N, 7, 6, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("forward", "left"),
    [
        (lambda m, x: m.first @ x + ((x @ m.last)[:, None] @ x)[:, 0], ()),
        (lambda m, x: m.first @ x[:, None] * m.last, ()),
        (lambda m, x: torch.mv(x.flatten(0, 1), m.last).unflatten(0, (len(x), -1)) + (m.first @ x).sum(1, keepdim=True), ()),
        (lambda m, x: (x @ m.last).tanh() * (x.mT @ m.first).sum(1, keepdim=True), ()),
        (lambda m, x: F.linear(x, m.last) * m.first, ("last",)),
        (lambda m, x: torch.dot(m.last, m.last) * (m.first @ x), ()),
    ],
)
def test_a_product_with_a_vector(forward: Forward, left: tuple[str, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = Lambda(forward, first=torch.randn(7), last=torch.randn(6)).to(dtype)
    assert_exact(module, torch.randn(N, 7, 6, dtype=dtype), left=left)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("closeness", [0.3, 0.1, 0.05, 0.02, 0.01])
@pytest.mark.parametrize(("t", "d", "p"), [(2, 40, 30), (6, 300, 200), (20, 100, 90), (60, 8, 9)])
def test_tokens_that_cancel_keep_their_digits(t: int, d: int, p: int, closeness: float, dtype: torch.dtype) -> None:
    """Every second token is nearly the one before it, and pulls the other way."""
    torch.manual_seed(0)
    tiny = closeness if dtype == torch.float32 else closeness**3
    module = nn.Linear(d, p, bias=False, dtype=dtype)
    x = torch.randn(N, t // 2, 1, d, dtype=dtype)
    pull = torch.randn(N, t // 2, 1, p, dtype=dtype)
    pairs = torch.cat([x, x + tiny * torch.randn_like(x)], 2).flatten(1, 2)
    with torch.no_grad():
        targets = module(pairs) + torch.cat([pull, -pull], 2).flatten(1, 2)
    assert_exact(module, pairs, targets)


@pytest.mark.parametrize("t", [1, 4, 50])
def test_a_well_fitted_sample_keeps_its_digits(t: int) -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: m.head(m.body(x).tanh()).mean(1) * 100, body=nn.Linear(20, 30), head=nn.Linear(30, 4))
    x = torch.randn(N, t, 20)
    with torch.no_grad():
        fitted = module(x).argmax(1)
    assert_exact(module, x, fitted, loss="cross_entropy", tolerance=1e-3)


def test_a_layer_without_rows_has_no_gradient() -> None:
    module = Lambda(lambda m, x, y: m.layer(x).sum(1) + m.scale * y, layer=nn.Linear(3, 4), scale=torch.randn(4)).double()
    assert_exact(module, (torch.randn(N, 0, 3).double(), torch.randn(N, 4).double()))


@pytest.mark.parametrize("t", [1, 5, 60])
def test_half_precision_is_near(t: int) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 5)).bfloat16()
    assert_exact(module, torch.randn(N, t, 64).bfloat16(), tolerance=5e-2)
