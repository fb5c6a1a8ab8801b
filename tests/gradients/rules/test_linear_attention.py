"""Attention of PyTorch's own: projections packed and apart, time first and samples first."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from torch import Tensor, nn

from tests.gradients.rules.against_autograd import DEVICES, Lambda, N, assert_exact, dtypes, seeds, some


def attention(batch_first: bool = True, width: int = 8, heads: int = 2, **options: Any) -> Lambda:
    """Attention of the first input to the last; samples come first to the model whatever the module wants."""

    def forward(m: Lambda, x: Tensor, y: Tensor | None = None) -> Tensor:
        y = x if y is None else y
        if batch_first:
            return m.attention(x, y, y, need_weights=False)[0]
        x, y = x.transpose(0, 1), y.transpose(0, 1)
        return m.attention(x, y, y)[0].transpose(0, 1)

    module = Lambda(forward, attention=nn.MultiheadAttention(width, heads, batch_first=batch_first, **options))
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


@some(max_examples=15)
@given(
    batch_first=st.booleans(),
    heads=st.integers(1, 3),
    each=st.integers(1, 4),
    t=st.integers(1, 7),
    s=st.integers(1, 7),
    kdim=st.none() | st.integers(1, 6),
    bias=st.booleans(),
    more=st.booleans(),
    zero=st.booleans(),
    dtype=dtypes,
    seed=seeds,
)
def test_cross_attention_with_other_widths_extra_tokens_and_zeros(
    batch_first: bool,
    heads: int,
    each: int,
    t: int,
    s: int,
    kdim: int | None,
    bias: bool,
    more: bool,
    zero: bool,
    dtype: torch.dtype,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    width = heads * each
    module = attention(
        batch_first, width, heads, kdim=kdim, vdim=kdim, bias=bias, add_bias_kv=more, add_zero_attn=zero, dtype=dtype
    )
    assert_exact(module, (torch.randn(N, t, width, dtype=dtype), torch.randn(N, s + 1, kdim or width, dtype=dtype)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"add_bias_kv": True}, {"add_zero_attn": True}, {"kdim": 8, "vdim": 8}])
def test_self_attention(options: dict[str, Any], batch_first: bool, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(0)
    assert_exact(attention(batch_first, **options).to(device, dtype), torch.randn(N, 5, 8, dtype=dtype, device=device))


def test_as_many_tokens_as_samples() -> None:
    torch.manual_seed(0)
    for t in (5, 6):
        for batch_first in (True, False):
            assert_exact(attention(batch_first).double(), torch.randn(N, t, 8).double())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_keys_and_values_of_other_widths_and_masks(dtype: torch.dtype) -> None:
    torch.manual_seed(0)

    def forward(m: Lambda, x: Tensor, keys: Tensor, values: Tensor, padding: Tensor) -> Tensor:
        causal = torch.ones(x.shape[1], keys.shape[1], dtype=torch.bool, device=x.device).triu(1)
        out, weights = m.attention(x, keys, values, key_padding_mask=padding, attn_mask=causal, average_attn_weights=False)
        return out + weights.mean((1, 3))[..., None]

    module = Lambda(forward, attention=nn.MultiheadAttention(8, 2, kdim=3, vdim=5, batch_first=True)).to(dtype)
    padding = torch.zeros(N, 6, dtype=torch.bool)
    padding[1, 4:] = padding[3, 2:] = True
    assert_exact(
        module, (torch.randn(N, 6, 8).to(dtype), torch.randn(N, 6, 3).to(dtype), torch.randn(N, 6, 5).to(dtype), padding)
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("batch_first", "norm_first"), [(True, False), (False, True)])
@pytest.mark.parametrize(("t", "width"), [(1, 8), (20, 40)])
def test_an_encoder(t: int, width: int, norm_first: bool, batch_first: bool, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        width,
        2,
        3 * width,
        dropout=0.1,
        activation="gelu" if norm_first else "relu",
        batch_first=batch_first,
        norm_first=norm_first,
    )
    encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(width), enable_nested_tensor=False)
    module = Lambda(
        lambda m, x: m.encoder(x if batch_first else x.transpose(0, 1)).mean(1 if batch_first else 0), encoder=encoder
    ).to(device, dtype)
    assert_exact(module, torch.randn(N, t, width, dtype=dtype, device=device))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("batch_first", [True, False])
def test_an_encoder_and_a_decoder(batch_first: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)

    def forward(m: Lambda, source: Tensor, target: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1], dtype=target.dtype)
        if batch_first:
            return m.transformer(source, target, tgt_mask=mask)
        return m.transformer(source.transpose(0, 1), target.transpose(0, 1), tgt_mask=mask).transpose(0, 1)

    module = Lambda(forward, transformer=nn.Transformer(8, 2, 1, 2, 12, batch_first=batch_first)).to(dtype)
    assert_exact(module, (torch.randn(N, 5, 8, dtype=dtype), torch.randn(N, 3, 8, dtype=dtype)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_padded_tokens_of_an_encoder(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    module = Lambda(
        lambda m, x, padding: m.layer(x, src_key_padding_mask=padding).masked_fill(padding[..., None], 0), layer=layer
    ).to(dtype)
    padding = torch.arange(6) >= torch.tensor([6, 3, 1, 5, 2, 6])[:, None]
    assert_exact(module, (torch.randn(N, 6, 8, dtype=dtype), padding))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_scaled_dot_product_attention(causal: bool, fused: bool, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(0)

    def forward(m: Lambda, x: Tensor) -> Tensor:
        if fused:
            q, k, v = m.qkv(x).view(*x.shape[:2], 3, 2, -1).permute(2, 0, 3, 1, 4)
        else:
            weights, biases = m.qkv.weight.chunk(3), m.qkv.bias.split(x.shape[2])
            parts = (F.linear(x, w, b) for w, b in zip(weights, biases))
            q, k, v = (part.unflatten(2, (2, -1)).transpose(1, 2) for part in parts)
        out = F.scaled_dot_product_attention(q * m.scale, k, v, is_causal=causal)
        return m.out(out.transpose(1, 2).flatten(2))

    module = Lambda(forward, qkv=nn.Linear(8, 24), out=nn.Linear(8, 8), scale=torch.rand(2, 1, 1)).to(device, dtype)
    assert_exact(module, torch.randn(N, 7, 8, dtype=dtype, device=device))


def test_half_precision_is_near() -> None:
    torch.manual_seed(0)
    assert_exact(
        nn.TransformerEncoderLayer(32, 2, 64, batch_first=True).bfloat16(), torch.randn(N, 6, 32).bfloat16(), tolerance=5e-2
    )
