"""Parameters that are added, multiplied and the like, with broadcasting."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from torch import Tensor, nn

from oga_core.gradients import PerSampleGradients
from tests.gradients.rules.against_autograd import DEVICES, Forward, Lambda, N, assert_exact, dtypes, seeds, some

OPERATIONS = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    torch.add,
    torch.sub,
    torch.mul,
    torch.div,
    torch.multiply,
    torch.true_divide,
    Tensor.add,
    Tensor.sub,
    Tensor.mul,
    Tensor.div,
]


@some(max_examples=25)
@given(
    operation=st.sampled_from(OPERATIONS),
    shape=st.lists(st.integers(1, 4), max_size=3),
    kept=st.lists(st.booleans(), max_size=4),
    turned=st.booleans(),
    dtype=dtypes,
    seed=seeds,
)
def test_arithmetic_with_a_parameter_of_any_shape_that_broadcasts(
    operation: Callable[[Tensor, Tensor], Tensor], shape: list[int], kept: list[bool], turned: bool, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    full = (1, *shape)[-len(kept) or len(shape) + 1 :]
    size = [s if k else 1 for s, k in zip(full, kept)]
    value = (torch.rand(size, dtype=dtype) + 0.5) * (torch.randint(0, 2, size) * 2 - 1)
    x = (torch.rand(N, *shape, dtype=dtype) + 0.5) * (torch.randint(0, 2, (N, *shape)) * 2 - 1)
    module = Lambda(lambda m, x: operation(x, m.p) if turned else operation(m.p, x), p=value)
    assert_exact(module, x)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: torch.add(x, m.p, alpha=-3) + torch.add(m.p, x, alpha=2),
        lambda m, x: torch.sub(x, m.p, alpha=0.5) * torch.sub(m.p, x, alpha=2),
        lambda m, x: torch.rsub(m.p, x) * torch.rsub(x, m.p),
        lambda m, x: (x * 2).add_(m.p).mul(m.p),
        lambda m, x: (x * 2).sub_(m.p).tanh(),
        lambda m, x: torch.add(input=x, other=m.p).tanh() - torch.sub(input=m.p, other=x),
        lambda m, x: torch.mul(x, other=m.p) + x.mul(other=m.p),
        lambda m, x: torch.div(input=x, other=m.p),
        lambda m, x: m.p + (x * m.p).sum(-1, keepdim=True),
        lambda m, x: x[..., :1] + m.p,
        lambda m, x: x[:, :, None] * m.p[:, None],
        lambda m, x: (m.p[:5, None, None] * x.transpose(0, 1)[:1]).movedim(1, 0),
        lambda m, x: x.mean(1) * m.p,
        lambda m, x: x * m.p.exp() - m.p.square().sum(),
        lambda m, x: x / m.p.norm() + F.softplus(m.p),
        lambda m, x: (x + (m.p * m.p)) * torch.sigmoid(m.p).mean(),
        lambda m, x: torch.cat([x * m.p[:2].sum(), x - m.p[1:3].mean()], 1),
        lambda m, x: (x.sin() * m.p + x.cos() * m.p.flip(0)) / (1 + m.p**2),
    ],
)
def test_arithmetic_however_it_is_written(forward: Forward, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(0)
    module = Lambda(forward, p=torch.randn(6) + 2).to(device, dtype)
    assert_exact(module, torch.randn(N, 4, 6, dtype=dtype, device=device))


@pytest.mark.parametrize("operation", [operator.iadd, operator.isub, Tensor.add_, Tensor.sub_, lambda x, p: x.add_(p, alpha=2)])
def test_arithmetic_in_place(operation: Callable[[Tensor, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: operation((x * 2).tanh(), m.p).tanh(), p=torch.randn(6)).double()
    assert_exact(module, torch.randn(N, 4, 6).double())


def test_an_input_that_is_changed_in_place_afterwards_is_refused_as_autograd_does() -> None:
    def forward(m: Lambda, x: Tensor) -> Tensor:
        hidden = x * 2
        out = hidden * m.p
        hidden.zero_()
        return out

    engine = PerSampleGradients(Lambda(forward, p=torch.randn(6)), loss="squared_error")
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        engine(torch.randn(N, 6), torch.randn(N, 6))


@some(max_examples=15)
@given(one=st.booleans(), space=st.lists(st.integers(1, 5), max_size=2), dtype=dtypes, seed=seeds)
def test_prelu_with_one_slope_or_one_a_channel(one: bool, space: list[int], dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    module = nn.PReLU(1 if one else 4, dtype=dtype)
    nn.init.normal_(module.weight)
    assert_exact(module, torch.randn(N, 4, *space, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", [(6,), (6, 5), (6, 1), (1, 5), ()])
def test_a_scale_of_as_many_numbers_as_there_are_samples(size: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: x * m.p + m.p, p=torch.randn(size)).to(dtype)
    assert_exact(module, torch.randn(N, 6, 5 if len(size) == 2 else 6, dtype=dtype))


def test_a_large_position_table_and_layer_scale_by_pieces() -> None:
    torch.manual_seed(0)
    module = Lambda(
        lambda m, x: m.layer(x + m.positions) * m.scale,
        positions=torch.randn(1, 50, 200),
        scale=torch.randn(200),
        layer=nn.Linear(200, 200),
    )
    assert_exact(module, torch.randn(N, 50, 200))


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: torch.where(x > 0, x, m.p),
        lambda m, x: torch.lerp(x, x.flip(-1), m.p),
        lambda m, x: torch.addcmul(x, x, m.p),
        lambda m, x: torch.maximum(x, m.p),
        lambda m, x: torch.einsum("ntd,d->nt", x, m.p),
        lambda m, x: torch.div(x, m.p, rounding_mode="floor") + torch.pow(x.abs(), m.p),
    ],
)
def test_other_arithmetic_is_exact_and_the_user_is_told(forward: Forward) -> None:
    torch.manual_seed(0)
    assert_exact(Lambda(forward, p=torch.randn(6)).double(), torch.randn(N, 4, 6).double(), left=["p"])
