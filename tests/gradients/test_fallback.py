"""Operations without a rule: their parameters are exact too, and the user is told which, why and what it costs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oga_core.gradients import PerSampleGradients
from tests.gradients.rules.against_autograd import WAYS, Forward, Lambda, N, assert_exact

SOME = WAYS[:2]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}, {"bias": False}])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_between_others(kind: Callable[..., nn.RNNBase], options: dict[str, Any], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = kind(5, 4, batch_first=True, **options)
    both = 8 if options.get("bidirectional") else 4
    module = Lambda(
        lambda m, x: m.head(m.layer(m.first(x))[0][:, -1]), first=nn.Linear(3, 5), layer=layer, head=nn.Linear(both, 3)
    ).to(dtype)
    left = [name for name, _ in module.named_parameters() if name.startswith("layer.")]
    assert_exact(module, torch.randn(N, 6, 3, dtype=dtype), left=left, ways=SOME)


def test_cells_of_recurrent_layers() -> None:
    torch.manual_seed(0)

    def forward(m: Lambda, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 4)
        for step in x.unbind(1):
            h = m.cell(step, h)
        return h

    module = Lambda(forward, cell=nn.GRUCell(3, 4)).double()
    left = [name for name, _ in module.named_parameters()]
    assert_exact(module, torch.randn(N, 5, 3).double(), left=left, ways=SOME)


@pytest.mark.parametrize(
    ("forward", "size"),
    [
        (lambda m, x: torch.einsum("ntd,dk->ntk", x, m.w), (6, 5)),
        (lambda m, x: torch.einsum("nti,ijk,ntj->ntk", x, m.w, x), (6, 6, 3)),
        (lambda m, x: F.bilinear(x, x.sin(), m.w), (4, 6, 6)),
        (lambda m, x: x[:, None] @ m.w, (3, 6, 2)),
        (lambda m, x: torch.tensordot(x, m.w, dims=1), (6, 5)),
        (lambda m, x: torch.cdist(x, m.w), (3, 6)),
        (lambda m, x: F.cosine_similarity(x, m.w, dim=-1), (6,)),
        (lambda m, x: torch.logsumexp(torch.stack(torch.broadcast_tensors(x, m.w)), 0), (6,)),
    ],
)
def test_a_parameter_in_an_operation_without_a_rule_is_exact(forward: Forward, size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: forward(m, m.first(x)), w=torch.randn(size), first=nn.Linear(6, 6)).double()
    assert_exact(module, torch.randn(N, 6, 6).double(), left=["w"])


def test_the_user_is_told_which_why_and_what_it_costs() -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: m.head(m.layer(x)[0]), layer=nn.LSTM(3, 4, batch_first=True), head=nn.Linear(4, 2))
    engine = PerSampleGradients(module, loss="squared_error")
    engine(torch.randn(N, 5, 3), torch.randn(N, 5, 2))
    (note,) = engine.notes
    assert re.fullmatch(
        r"4 of 6 parameters \(144 of 154 values\) are taken by (torch.func.vmap|one sample at a time), which costs about "
        r"\d+\.\d times a pass of every sample alone: layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, "
        r"layer.bias_hh_l0 \(lstm has no rule\)",
        note,
    )


def test_a_parameter_without_influence_is_named() -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: m.used(x), used=nn.Linear(3, 2), spare=nn.Linear(3, 2))
    engine = PerSampleGradients(module, loss="squared_error")
    engine(torch.randn(N, 3), torch.randn(N, 2))
    assert engine.notes == ["spare.weight has no influence on the loss", "spare.bias has no influence on the loss"]


def test_a_model_that_vmap_cannot_do_goes_one_sample_at_a_time() -> None:
    torch.manual_seed(0)

    def forward(m: Lambda, x: Tensor) -> Tensor:
        assert float(x.sum()) == float(x.sum())
        return torch.einsum("nd,dk->nk", x, m.w)

    module = Lambda(forward, w=torch.randn(3, 4)).double()
    assert_exact(module, torch.randn(N, 3).double(), left=["w"])
    engine = PerSampleGradients(module, loss="squared_error")
    engine(torch.randn(N, 3).double(), torch.randn(N, 4).double())
    assert "one sample at a time" in engine.notes[0]


def test_a_large_left_over_parameter_goes_in_several_pieces() -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: torch.einsum("nd,dk->nk", x, m.w), w=torch.randn(40, 40)).double()
    assert_exact(module, torch.randn(N, 40).double(), left=["w"])


class Idle(nn.Module):
    """One parameter without a rule is used, and what another without a rule gives is thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        torch.einsum("ij,j->i", x, self.idle)
        return torch.einsum("ij,jk->ik", x, self.used)


def test_a_parameter_without_influence_beside_others_without_a_rule_counts_for_nothing() -> None:
    torch.manual_seed(0)
    module, x, y = Idle(), torch.randn(6, 4), torch.arange(6) % 3
    engine = PerSampleGradients(module, width=0)
    found = engine(x, y)
    for i in range(6):
        (grad,) = torch.autograd.grad(nn.functional.cross_entropy(module(x[i : i + 1]), y[i : i + 1]), [module.used])
        assert found.l1 is not None
        assert found.l2 is not None
        np.testing.assert_allclose([found.l1[i], found.l2[i]], [grad.abs().sum(), grad.norm()], rtol=1e-4)
    assert "idle has no influence on the loss" in engine.notes
