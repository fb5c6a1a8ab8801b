"""Parameters that are used several times, in parts, or not as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tests.gradients.rules.against_autograd import DEVICES, Forward, Lambda, N, assert_exact, dtypes, seeds, some


@some(max_examples=12)
@given(times=st.integers(2, 4), t=st.integers(1, 6), d=st.integers(1, 20), bias=st.booleans(), dtype=dtypes, seed=seeds)
def test_a_layer_that_is_used_several_times(times: int, t: int, d: int, bias: bool, dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)

    def forward(m: Lambda, x: Tensor) -> Tensor:
        for _ in range(times):
            x = torch.tanh(m.layer(x)) + x[:, :1]
        return x

    assert_exact(Lambda(forward, layer=nn.Linear(d, d, bias=bias)).to(dtype), torch.randn(N, t, d, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.Conv2d(6, 6, 3, padding=1), (6, 5, 5)),
        (nn.Conv1d(6, 6, 3, padding=1, groups=2), (6, 20)),
        (nn.LayerNorm(6), (4, 6)),
        (nn.BatchNorm1d(6), (6,)),
        (nn.PReLU(6), (6, 3)),
        (nn.Linear(130, 130), (5, 130)),
        (nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), (4, 6)),
    ],
)
def test_any_layer_twice(layer: nn.Module, size: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: m.layer(torch.sin(m.layer(x)) + x), layer=layer).to(dtype)
    assert_exact(module, torch.randn(N, *size, dtype=dtype))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "head",
    [
        lambda m, h: F.linear(h, m.table.weight),
        lambda m, h: h @ m.table.weight.t(),
        lambda m, h: h @ m.table.weight.mT + m.bias,
        lambda m, h: F.linear(m.body(h), m.table.weight, m.bias),
        lambda m, h: F.linear(h, 0.5 * m.table.weight),
    ],
)
@pytest.mark.parametrize(("tokens", "d", "t"), [(9, 5, 4), (300, 40, 7)])
def test_a_table_that_is_also_the_output_layer(
    head: Forward, tokens: int, d: int, t: int, dtype: torch.dtype, device: str
) -> None:
    torch.manual_seed(0)
    module = Lambda(
        lambda m, x: head(m, torch.tanh(m.body(m.table(x)) + m.bias.mean())),
        table=nn.Embedding(tokens, d),
        body=nn.Linear(d, d),
        bias=torch.randn(tokens),
    ).to(device, dtype)
    assert_exact(module, torch.randint(tokens, (N, t), device=device))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("share", [0.5, 0.01, 3e-3])
def test_a_table_whose_two_uses_cancel_keeps_its_digits(share: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    tiny = share if dtype == torch.float32 else share**2
    module = Lambda(
        lambda m, x, y: F.linear(y, m.table).gather(1, x[:, None])[:, 0] - (F.embedding(x, m.table) * (1 - tiny) * y).sum(1),
        table=torch.randn(300, 40),
    ).to(dtype)
    assert_exact(module, (torch.randint(300, (N,)), torch.randn(N, 40, dtype=dtype)))


def test_one_weight_of_two_layers_has_one_name_and_one_gradient() -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: m.second(m.first(x).tanh()), first=nn.Linear(4, 4), second=nn.Linear(4, 4)).double()
    module.second.weight = module.first.weight
    assert_exact(module, torch.randn(N, 3, 4).double())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: F.linear(x, m.w.t()),
        lambda m, x: F.linear(x, m.w.t()) @ m.w.t(),
        lambda m, x: F.linear(x, m.w.transpose(0, 1)) * (x @ m.w).sum((1, 2), keepdim=True),
        lambda m, x: F.linear(x, m.w.view(12, 8)[:, :6]),
        lambda m, x: F.linear(x, m.w.reshape(16, 6)),
        lambda m, x: F.linear(x, m.w.t().reshape(16, 6)),
        lambda m, x: x @ m.w[:, :5] + x @ m.w[:, 4:9],
        lambda m, x: x @ m.w[:, ::3] * x[..., :1],
        lambda m, x: x[..., :3] @ m.w[1:4] + x[..., 3:] @ m.w[2:5],
        lambda m, x: torch.cat([x @ part for part in m.w.chunk(4, 1)], 1),
        lambda m, x: sum((i + 1) * (x @ part) for i, part in enumerate(m.w.split(4, 1))),
        lambda m, x: torch.cat([x[..., :2] @ part for part in m.w.unbind(0)[0].view(8, 2, 1)], -1),
        lambda m, x: x * m.w[:, 0] + m.w[:, 1],
        lambda m, x: x * m.w.flatten()[:6] + m.w.diagonal(),
        lambda m, x: x * m.w[0, 0] + m.w.narrow(1, 2, 1)[:, 0] + m.w.select(1, 3),
        lambda m, x: x + m.w[None, :4, :6],
        lambda m, x: F.conv1d(x.mT, m.w.view(4, 6, 4)).mT,
        lambda m, x: F.conv1d(x.mT, m.w.view(4, 6, 4).flip(2)).mT + F.conv1d(x.mT, m.w.view(4, 6, 4), dilation=1).mT,
        lambda m, x: F.conv1d(x.mT, m.w.view(6, 4, 4).transpose(0, 1)[:, :, :2]).mT,
        lambda m, x: F.layer_norm(x, (6,), m.w[:, 0], m.w[:, 1]) + F.linear(x, m.w[:, :6], m.w[0, :6]),
        lambda m, x: F.layer_norm(x, (6,), m.w.t()[2], m.w[0].unfold(0, 6, 5)[1]),
        lambda m, x: F.embedding((x[..., 0] > 0).long(), m.w) + F.embedding((x[..., 0] > 0).long() * 3, m.w.t())[..., :1],
        lambda m, x: F.embedding((x > 0).long(), m.w[2:5]).sum(2) + F.linear(x, m.w.t()),
        lambda m, x: x @ m.w.detach() + (x @ m.w)[:, :1],
        lambda m, x: F.linear(x, m.w.expand(2, -1, -1)[1].t()),
        lambda m, x: F.linear(x, m.w.t().contiguous()),
        lambda m, x: x @ m.w.data + x @ m.w,
    ],
)
def test_views_and_parts_of_a_parameter(forward: Forward, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: forward(m, x) * 1.0, w=torch.randn(6, 16)).to(dtype)
    assert_exact(module, torch.randn(N, 4, 6, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: x * (m.a * m.b),
        lambda m, x: x * m.a * m.b + m.a / (m.b**2 + 1),
        lambda m, x: F.linear(x, torch.outer(m.a, m.b), m.a),
        lambda m, x: F.linear(x, m.w @ m.w.t(), m.b) * m.a,
        lambda m, x: F.linear(x, F.normalize(m.w)[:, :6], m.a.exp()),
        lambda m, x: F.linear(x, torch.softmax(m.w, 1)[:, :6]) + F.linear(x, m.w[:, 1:]),
        lambda m, x: F.linear(x, torch.cat([m.w, m.w.flip(0)])[:, :6]),
        lambda m, x: F.linear(x, torch.stack([m.a, m.b, m.a + m.b])),
        lambda m, x: x @ torch.diag(m.a) + x @ torch.tril(m.w[:, :6]),
        lambda m, x: F.conv1d(x.mT, (m.w - m.w.mean(1, keepdim=True))[:, None, :3], groups=6).mT,
        lambda m, x: F.layer_norm(x, (6,), 1 + m.a, m.b.sin()),
        lambda m, x: x + F.layer_norm(m.w[:4, :6], (6,), m.a, m.b),
        lambda m, x: x + F.linear(m.w[:4, :6], m.w[:, :6], m.a),
        lambda m, x: x * torch.where(m.a > 0, m.a, 0.1 * m.b).clamp(max=2),
        lambda m, x: (x.unsqueeze(-1) * m.w).sum(-1) * m.a.sum().exp(),
    ],
)
def test_what_is_computed_from_parameters_alone(forward: Forward, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = Lambda(forward, a=torch.randn(6), b=torch.randn(6), w=torch.randn(6, 7))
    for name in {"a", "b", "w"} - set(forward.__code__.co_names):
        delattr(module, name)
    assert_exact(module.to(dtype), torch.randn(N, 4, 6, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("layer", "size"),
    [(nn.Linear(6, 5), (3, 6)), (nn.Conv2d(3, 5, 3), (3, 6, 6)), (nn.Linear(120, 90), (4, 120)), (nn.Embedding(9, 4), None)],
)
@pytest.mark.parametrize("parametrization", [parametrizations.weight_norm, parametrizations.orthogonal])
def test_parametrized_weights(
    parametrization: Callable[[nn.Module], nn.Module], layer: nn.Module, size: tuple[int, ...] | None, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    module = parametrization(type(layer)(*_arguments(layer)).to(dtype))
    assert_exact(module, torch.randint(9, (N, 4)) if size is None else torch.randn(N, *size, dtype=dtype))


def _arguments(layer: nn.Module) -> tuple[int, ...]:
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    if isinstance(layer, nn.Embedding):
        return layer.num_embeddings, layer.embedding_dim
    assert isinstance(layer, nn.Conv2d)
    return layer.in_channels, layer.out_channels, layer.kernel_size[0]


class Windows(nn.Module):
    """Attention in windows with relative position biases, as Swin has it."""

    def __init__(self, d: int, side: int, heads: int) -> None:
        super().__init__()
        self.index: Tensor
        self.heads, self.side = heads, side
        self.table = nn.Parameter(torch.randn((2 * side - 1) ** 2, heads))
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        places = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
        apart = places[:, :, None] - places[:, None] + side - 1
        self.register_buffer("index", (apart[0] * (2 * side - 1) + apart[1]).flatten())

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, d = x.shape
        s = self.side
        x = torch.roll(x, (1, 1), (1, 2))
        x = x.view(n, height // s, s, width // s, s, d).permute(0, 1, 3, 2, 4, 5).reshape(-1, s * s, d)
        q, k, v = self.qkv(x).reshape(len(x), s * s, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index].view(s * s, s * s, -1).permute(2, 0, 1).contiguous()[None]
        scores = q @ k.transpose(-2, -1) + bias
        out = self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(len(x), s * s, d))
        return out.view(n, height // s, width // s, s, s, d).permute(0, 1, 3, 2, 4, 5).reshape(n, height, width, d)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("windows", [1, 2])
def test_relative_position_biases_in_windows(windows: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    assert_exact(Windows(6, 3, 2).to(dtype), torch.randn(N, 3 * windows, 6, 6, dtype=dtype))


@pytest.mark.parametrize(
    "positions",
    [
        lambda m, x: m.positions(torch.arange(x.shape[1], device=x.device)),
        lambda m, x: m.positions(torch.arange(x.shape[1], device=x.device)[None]),
        lambda m, x: m.positions(torch.arange(x.shape[1], device=x.device).expand(x.shape)),
        lambda m, x: m.positions((x != 0).cumsum(1)),
        lambda m, x: m.positions(torch.arange(x.shape[1], device=x.device)[None].repeat(len(x), 1)),
        lambda m, x: m.positions.weight[: x.shape[1]],
        lambda m, x: m.positions.weight[None, 1 : x.shape[1] + 1],
        lambda m, x: m.positions.weight.index_select(0, torch.arange(x.shape[1], device=x.device)),
    ],
)
@pytest.mark.parametrize("length", [3, 5, 6])
def test_position_embeddings(positions: Forward, length: int) -> None:
    torch.manual_seed(0)
    module = Lambda(
        lambda m, x: m.layer(F.dropout(m.norm(m.tokens(x) + positions(m, x)), 0.1, m.training)),
        tokens=nn.Embedding(9, 6),
        positions=nn.Embedding(8, 6),
        norm=nn.LayerNorm(6),
        layer=nn.Linear(6, 5),
    ).double()
    assert_exact(module, torch.randint(9, (N, length)))
