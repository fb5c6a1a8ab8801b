"""Parameters that are repeated for every sample."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

from tests.gradients.rules.against_autograd import DEVICES, Forward, Lambda, N, assert_exact, dtypes, seeds, some


@some(max_examples=15)
@given(
    ones=st.integers(0, 2),
    shape=st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=2),
    how=st.integers(0, 4),
    dtype=dtypes,
    seed=seeds,
)
def test_expanding_and_repeating_a_parameter(
    ones: int, shape: list[tuple[int, bool]], how: int, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    size = [1] * ones + [1 if small else s for s, small in shape]
    full = [2] * (ones - 1) + [s for s, _ in shape] if ones else [s for s, _ in shape]

    def forward(m: Lambda, x: torch.Tensor) -> torch.Tensor:
        wanted = (len(x), *full)
        times = [w if s == 1 else 1 for w, s in zip(wanted, [1] * (len(wanted) - len(size)) + size)]
        ways = [
            lambda: m.p.expand(wanted),
            lambda: m.p.expand(*wanted),
            lambda: torch.broadcast_to(m.p, wanted),
            lambda: m.p.repeat(*times),
            lambda: m.p.tile(times),
        ]
        return ways[how]().tanh() * x.reshape(len(x), -1).sum(1).view(-1, *[1] * len(full))

    module = Lambda(forward, p=torch.randn(size)).to(dtype)
    assert_exact(module, torch.randn(N, *full, dtype=dtype))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "token",
    [
        lambda m, x: m.token.expand(len(x), -1, -1),
        lambda m, x: m.token.expand(x.shape[0], -1, x.shape[2]),
        lambda m, x: m.token[0].expand(len(x), -1, -1),
        lambda m, x: m.token[:, 0][None].expand(len(x), 1, -1),
        lambda m, x: m.token.repeat(len(x), 1, 1),
        lambda m, x: m.token.repeat([len(x), 1, 1]),
        lambda m, x: torch.tile(m.token, (len(x), 1, 1)),
        lambda m, x: m.token.expand_as(x[:, :1]),
        lambda m, x: m.token.broadcast_to(x[:, :1].shape),
        lambda m, x: m.token + torch.zeros_like(x[:, :1]),
    ],
)
def test_a_class_token_before_the_others(token: Forward, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(0)
    module = Lambda(
        lambda m, x: m.layer(torch.cat([token(m, x), x], 1) + m.positions).sin()[:, :2],
        token=torch.randn(1, 1, 8),
        positions=torch.randn(1, 5, 8),
        layer=nn.Linear(8, 6),
    ).to(device, dtype)
    assert_exact(module, torch.randn(N, 4, 8, dtype=dtype, device=device))


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: torch.bmm(x, m.w.expand(len(x), -1, -1)),
        lambda m, x: torch.bmm(x, m.w.expand(len(x), -1, -1).contiguous()).tanh(),
        lambda m, x: torch.baddbmm(x, x, m.w[None].repeat(len(x), 1, 1)),
        lambda m, x: torch.einsum("ntd,ndk->ntk", x, m.w.expand(len(x), -1, -1)),
    ],
)
def test_a_matrix_for_every_sample(forward: Forward) -> None:
    torch.manual_seed(0)
    assert_exact(Lambda(forward, w=torch.randn(6, 6)).double(), torch.randn(N, 4, 6).double())


def test_a_batch_of_as_many_samples_as_there_are_repetitions() -> None:
    """Repeated for the samples, and once more along a dimension of the same size."""
    torch.manual_seed(0)
    module = Lambda(lambda m, x: m.p.expand(len(x), 5, 3) * x[:, :1], p=torch.randn(1, 1, 3)).double()
    assert_exact(module, torch.randn(N, 5, 3).double())


def test_repeating_more_than_once_goes_the_slow_way_and_is_exact() -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: m.p.repeat(len(x), 2) * x, p=torch.randn(1, 3)).double()
    assert_exact(module, torch.randn(N, 6).double(), left=["p"])
