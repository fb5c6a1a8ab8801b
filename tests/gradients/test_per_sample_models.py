"""The engine: the ways of writing a model that it follows, and what no rule reaches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from oga_core.errors import InputError
from oga_core.gradients import PerSampleGradients
from tests.gradients.one_sample import assert_alike, norms_alone
from tests.gradients.small_models import CLASSES, D, Function, assert_exact, images, l2_of, net, recurrent, rows, seed

__all__ = ["seed"]


def test_inputs_may_be_a_tensor_a_tuple_or_a_dict_with_parts_that_are_not_of_samples() -> None:
    module = Function(
        lambda m, x, shift, gain=None: m.layer(x + shift) * (1 if gain is None else gain), layer=nn.Linear(4, CLASSES)
    ).double()
    x, y = rows()
    shift, gain = torch.randn(1, 4, dtype=D), torch.rand(6, 1, dtype=D)
    true = norms_alone(Function(lambda m, x, gain: module(x, shift, gain), inner=module), (x, gain), y)
    for inputs in ((x, shift, gain), {"x": x, "gain": gain, "shift": shift}):
        found = PerSampleGradients(module, width=0)(inputs, y)
        np.testing.assert_allclose(l2_of(found), true.norm(2), rtol=1e-9)
        assert found.l1 is not None
        np.testing.assert_allclose(found.l1, true.norm(1), rtol=1e-9)


def test_a_model_may_return_logits_among_other_things() -> None:
    x, y = rows()
    layer = nn.Linear(4, CLASSES).double()
    true = norms_alone(layer, x, y).norm(2)
    for module in (
        Function(lambda m, x: {"logits": m.layer(x)}, layer=layer),
        Function(lambda m, x: (m.layer(x), x), layer=layer),
    ):
        np.testing.assert_allclose(l2_of(PerSampleGradients(module, width=0)(x, y)), true, rtol=1e-9)
    module = Function(lambda m, x: {"first": x, "second": m.layer(x)}, layer=layer)
    engine = PerSampleGradients(module, width=0, output=lambda out: out["second"])
    np.testing.assert_allclose(l2_of(engine(x, y)), true, rtol=1e-9)
    with pytest.raises(InputError, match="returns str, in which no tensor"):
        PerSampleGradients(Function(lambda m, x: "text", layer=layer))(x, y)


def test_it_works_where_gradients_are_switched_off() -> None:
    module, (x, y) = net(), images(5)
    true = norms_alone(module, x, y)
    engine = PerSampleGradients(module, width=0)
    with torch.no_grad():
        assert_alike(engine(x, y), true, engine, 1e-9)
    assert engine.notes == []


def test_layers_that_the_model_runs_without_gradients_have_none() -> None:
    def forward(m: Function, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = m.body(x)
        return m.head(x)

    engine = assert_exact(Function(forward, body=nn.Linear(4, 5), head=nn.Linear(5, CLASSES)), *rows(), notes=2)
    assert engine.notes == ["body.weight has no influence on the loss", "body.bias has no influence on the loss"]


def test_parameters_without_influence_on_the_loss_are_told() -> None:
    def forward(m: Function, x: Tensor) -> Tensor:
        m.aside(x)
        return m.head(x)

    module = Function(forward, aside=nn.Linear(4, 2), head=nn.Linear(4, CLASSES), unused=nn.Parameter(torch.ones(2)))
    engine = assert_exact(module, *rows(), notes=3)
    assert engine.notes == [f"{n} has no influence on the loss" for n in ("unused", "aside.weight", "aside.bias")]


def test_a_loss_that_no_parameter_has_influence_on_has_no_gradient() -> None:
    def forward(m: Function, x: Tensor) -> Tensor:
        with torch.no_grad():
            out: Tensor = m.layer(x)
        return out

    module, (x, y) = Function(forward, layer=nn.Linear(4, CLASSES)).double(), rows()
    engine = PerSampleGradients(module, width=8)
    found = engine(x, y)
    assert found.l1 is not None
    assert found.sketch is not None
    assert found.l1.tolist() == l2_of(found).tolist() == [0.0] * 6
    assert not found.sketch.any()
    np.testing.assert_allclose(found.losses, F.cross_entropy(module(x), y, reduction="none"))
    assert len(engine.notes) == 2


def test_a_parameter_that_no_rule_reaches_is_exact_and_the_user_is_told_which_and_what_it_costs() -> None:
    module = Function(
        lambda m, x: m.head(x) * torch.cumprod(m.gate.sigmoid() + 0 * x[:, :CLASSES], 1),
        head=nn.Linear(4, CLASSES),
        gate=nn.Parameter(torch.rand(CLASSES)),
    )
    assert_exact(module, *rows())
    module = Function(
        lambda m, x: torch.lerp(m.head(x), m.gate, 0.3), head=nn.Linear(4, CLASSES), gate=nn.Parameter(torch.rand(CLASSES))
    )
    engine = assert_exact(module, *rows(), notes=1)
    assert engine.notes[0].startswith("1 of 3 parameters (3 of 18 values) are taken by torch.func.vmap, which costs about ")
    assert engine.notes[0].endswith("times a pass of every sample alone: gate (lerp has no rule)")


def test_a_recurrent_layer_is_exact_one_sample_at_a_time() -> None:
    engine = assert_exact(recurrent(), torch.randn(6, 3, 4, dtype=D), rows()[1], notes=1)
    assert "4 of 6 parameters" in engine.notes[0]
    assert "one sample at a time" in engine.notes[0]
    assert "gru has no rule" in engine.notes[0]


def test_a_parameter_that_is_left_over_for_one_of_its_uses_counts_once() -> None:
    module = Function(
        lambda m, x: torch.lerp(m.layer(x), m.layer.bias, 0.3) + F.linear(x, m.layer.weight), layer=nn.Linear(4, CLASSES)
    )
    assert_exact(module, *rows(), notes=1)


ROADS: dict[str, Callable[[Function, Tensor], Tensor]] = {
    "another layer": lambda m, x: m.a(x) if x.sum() > 0 else m.b(x),
    "more operations": lambda m, x: m.a(x) if x.sum() > 0 else m.b(x) + m.a(x) * m.scale,
    "fewer operations": lambda m, x: m.a(x) + m.b(x) * m.scale if x.sum() > 0 else m.a(x),
    "another arrangement": lambda m, x: m.a(x) if x.sum() > 0 else m.a(x[:, None].expand(-1, 3, -1).transpose(0, 1)).sum(0),
    "no rule": lambda m, x: m.a(x) if x.sum() > 0 else torch.lerp(m.a(x), m.scale, 0.5),
    "one more, of which there is no rule": lambda m, x: m.a(x) * m.scale if x.sum() > 0 else torch.lerp(m.a(x), m.scale, 0.5),
}


@pytest.mark.parametrize("name", list(ROADS))
def test_a_model_that_does_other_operations_than_in_the_probe_is_exact_all_the_same(name: str) -> None:
    module = Function(
        ROADS[name], a=nn.Linear(4, CLASSES), b=nn.Linear(4, CLASSES), scale=nn.Parameter(torch.rand(CLASSES))
    ).double()
    x, y = rows()
    engine = PerSampleGradients(module, head="a", width=8)
    for inputs in (x.abs(), -x.abs(), x.abs() + 1):
        assert_alike(engine(inputs, y), norms_alone(module, inputs, y), engine, 1e-9)


def test_features_are_there_also_where_the_road_changes() -> None:
    module = Function(
        lambda m, x: m.head(m.a(x) if x.sum() > 0 else m.a(x).tanh() * m.scale),
        a=nn.Linear(4, 5),
        head=nn.Linear(5, CLASSES),
        scale=nn.Parameter(torch.rand(5)),
    ).double()
    x, y = rows()
    engine = PerSampleGradients(module, head="head", width=0)
    engine(x.abs(), y)
    found = engine(-x.abs(), y)
    torch.testing.assert_close(found.features, (module.a(-x.abs()).tanh() * module.scale).detach())


def test_sequences_longer_than_in_the_probe_are_exact_whichever_way_they_lie() -> None:
    def time_first(m: Function, x: Tensor) -> Tensor:
        flat = m.a(x.transpose(0, 1).reshape(-1, 4))
        return m.b(flat.view(x.shape[1], len(x), 5).mean(0))

    def sample_first(m: Function, x: Tensor) -> Tensor:
        return m.b(m.a(x.reshape(-1, 4)).view(len(x), x.shape[1], 5).mean(1))

    for forward in (time_first, sample_first):
        module = Function(forward, a=nn.Linear(4, 5), b=nn.Linear(5, CLASSES)).double()
        engine = PerSampleGradients(module, width=0)
        for length in (1, 3, 1, 6):
            x, y = torch.randn(6, length, 4, dtype=D), rows()[1]
            assert_alike(engine(x, y), norms_alone(module, x, y), engine, 1e-9)


def test_a_model_that_flattens_its_pictures_with_view_works() -> None:
    module = Function(
        lambda m, x: m.head(m.conv(x).relu().view(len(x), -1)), conv=nn.Conv2d(3, 4, 3), head=nn.Linear(64, CLASSES)
    )
    assert_exact(module, *images(6))


def picture_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3, groups=2), nn.Flatten(), nn.LayerNorm(32), nn.Linear(32, CLASSES)
    ).double()


def test_weights_that_lie_channels_last_are_exact() -> None:
    assert_exact(picture_net().to(memory_format=torch.channels_last), *images(6))


def test_weights_that_are_views_of_one_buffer_are_exact() -> None:
    module = picture_net()
    buffer = torch.cat([p.detach().flatten() for p in module.parameters()])
    start = 0
    for p in module.parameters():
        p.data = buffer[start : start + p.numel()].view(p.shape)
        start += p.numel()
    assert_exact(module, *images(6))


def test_weights_with_gaps_and_turned_ones_are_exact() -> None:
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, CLASSES)).double()
    first, last = module.get_parameter("0.weight"), module.get_parameter("2.weight")
    first.data = first.data.t().contiguous().t()
    last.data = torch.randn(2 * CLASSES, 9, dtype=D)[::2, :6]
    assert_exact(module, *rows())


WRITTEN: dict[str, Function] = {
    "converted": Function(lambda m, x: F.linear(x, m.l.weight.to(x.dtype).contiguous(), m.l.bias.double()), l=nn.Linear(4, 3)),
    "transposed": Function(lambda m, x: x @ m.l.weight.t() + m.l.bias, l=nn.Linear(4, 3)),
    "in place": Function(lambda m, x: m.k(m.l(x).relu_()), l=nn.Linear(4, 5), k=nn.Linear(5, 3)),
    "added in place": Function(lambda m, x: m.k(m.l(x).add_(x).mul_(2)), l=nn.Linear(4, 4), k=nn.Linear(4, 3)),
    "used twice": Function(lambda m, x: m.k(m.l(m.l(x).tanh())), l=nn.Linear(4, 4), k=nn.Linear(4, 3)),
    "shared": Function(lambda m, x: m.k(F.linear(m.l(x).tanh(), m.l.weight.t())), l=nn.Linear(4, 5), k=nn.Linear(4, 3)),
    "in parts": Function(
        lambda m, x: m.k(torch.cat([F.linear(x, w) for w in m.l.weight.chunk(2)], 1)),
        l=nn.Linear(4, 6, bias=False),
        k=nn.Linear(6, 3),
    ),
    "stacked": Function(
        lambda m, x: F.linear(x, torch.cat([m.l.weight, m.k.weight])) + torch.cat([m.l.bias, m.k.bias]),
        l=nn.Linear(4, 1),
        k=nn.Linear(4, 2),
    ),
    "detached": Function(lambda m, x: F.linear(x, m.l.weight) + F.linear(x, m.l.weight.detach()) + m.l.bias, l=nn.Linear(4, 3)),
    "weight norm": Function(lambda m, x: m.l(x), l=weight_norm(nn.Linear(4, 3))),
    "spectral norm": Function(lambda m, x: m.l(x), l=spectral_norm(nn.Linear(4, 3)).eval()),
    "checkpointed": Function(
        lambda m, x: m.k(torch.utils.checkpoint.checkpoint(m.l, x, use_reentrant=False).tanh()),
        l=nn.Linear(4, 5),
        k=nn.Linear(5, 3),
    ),
}


@pytest.mark.parametrize("name", list(WRITTEN))
def test_every_way_of_writing_an_operation_is_followed(name: str) -> None:
    assert_exact(WRITTEN[name].eval(), *rows())
