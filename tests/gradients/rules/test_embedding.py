"""Tables of vectors: Embedding and EmbeddingBag."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from torch import Tensor, nn

from tests.gradients.rules.against_autograd import DEVICES, Forward, Lambda, N, assert_exact, dtypes, seeds, some


@some(max_examples=15)
@given(
    shape=st.lists(st.integers(1, 6), max_size=3),
    tokens=st.integers(1, 12),
    d=st.integers(1, 9),
    padding=st.none() | st.integers(-1, 0),
    dtype=dtypes,
    seed=seeds,
)
def test_tokens_that_come_often_or_never_and_padding(
    shape: list[int], tokens: int, d: int, padding: int | None, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    module = nn.Embedding(tokens, d, padding_idx=padding, dtype=dtype)
    assert_exact(module, torch.randint(tokens, (N, *shape)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("tokens", "d", "t"), [(10000, 3, 9), (300, 70, 20), (80, 200, 200), (9000, 80, 1)])
def test_a_large_table(tokens: int, d: int, t: int, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: m.head(m.table(x).tanh()), table=nn.Embedding(tokens, d), head=nn.Linear(d, 3)).to(device, dtype)
    assert_exact(module, torch.randint(tokens, (N, t), device=device))


def test_time_before_samples() -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: m.table(x.t()).transpose(0, 1), table=nn.Embedding(6, 4)).double()
    assert_exact(module, torch.randint(6, (N, 5)))


def bags(x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The first entries of every sample one after the other, and where each begins."""
    kept = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    return x[kept], lengths.cumsum(0) - lengths


@some(max_examples=15)
@given(
    mode=st.sampled_from(["sum", "mean"]),
    padding=st.none() | st.integers(0, 3),
    weighted=st.booleans(),
    last=st.booleans(),
    lengths=st.lists(st.integers(0, 5), min_size=N, max_size=N),
    dtype=dtypes,
    seed=seeds,
)
def test_bags_of_any_length_the_empty_one_included(
    mode: str, padding: int | None, weighted: bool, last: bool, lengths: list[int], dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    weighted = weighted and mode == "sum"

    def forward(m: Lambda, x: Tensor, lengths: Tensor, weights: Tensor) -> Tensor:
        indices, offsets = bags(x, lengths)
        if last:
            offsets = torch.cat([offsets, lengths.sum()[None]])
        return (
            F.embedding_bag(
                indices,
                m.table,
                offsets,
                mode=mode,
                padding_idx=padding,
                include_last_offset=last,
                per_sample_weights=bags(weights, lengths)[0] if weighted else None,
            )
            + m.shift
        )

    module = Lambda(forward, table=torch.randn(7, 5), shift=torch.randn(5)).to(dtype)
    if not any(lengths[:5]):
        lengths[0] = 1  # else the probe finds that the table has no influence
    inputs = torch.randint(7, (N, 5)), torch.tensor(lengths), torch.randn(N, 5, dtype=dtype)
    inputs[0][0, 0] = 6
    assert_exact(module, inputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("tokens", "d"), [(7, 5), (300, 70)])
def test_bags_as_rows_of_a_matrix(tokens: int, d: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    assert_exact(nn.EmbeddingBag(tokens, d, dtype=dtype), torch.randint(tokens, (N, 6)))


def test_weights_of_the_places_in_a_bag() -> None:
    torch.manual_seed(0)
    module = Lambda(
        lambda m, x: F.embedding_bag(x, m.table, per_sample_weights=m.weights.expand(len(x), -1), mode="sum"),
        table=torch.randn(7, 5),
        weights=torch.randn(4),
    ).double()
    assert_exact(module, torch.randint(7, (N, 4)))


@pytest.mark.parametrize(
    ("forward", "left"),
    [
        (lambda m, x: F.embedding_bag(x, m.table, mode="max"), ["table"]),
        (lambda m, x: m.table[x], ["table"]),
        (lambda m, x: m.table.index_select(0, x[:, 0]), ["table"]),
    ],
)
def test_other_ways_to_look_up_are_exact_and_the_user_is_told(forward: Forward, left: list[str]) -> None:
    torch.manual_seed(0)
    module = Lambda(forward, table=torch.randn(7, 5)).double()
    assert_exact(module, torch.randint(7, (N, 4)), left=left)


def test_half_precision_is_near() -> None:
    torch.manual_seed(0)
    assert_exact(nn.Sequential(nn.Embedding(9, 40), nn.Linear(40, 8)).bfloat16(), torch.randint(9, (N, 5)), tolerance=5e-2)
