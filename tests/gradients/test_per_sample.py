"""The engine: what it gives besides norms, in any batch, and the models it refuses."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oga_core.errors import InputError
from oga_core.gradients import PerSampleGradients, join_batches
from tests.gradients.one_sample import alone, assert_unchanged, norms_alone, state
from tests.gradients.small_models import CLASSES, D, Function, assert_exact, images, l2_of, net, recurrent, rows, seed

__all__ = ["seed"]


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_all_that_is_asked_for_comes_out_of_one_call() -> None:
    module, (x, y) = net(), images(7)
    true = alone(module, x, y)
    found = PerSampleGradients(module, width=64, head="head")(x, y)
    assert found.l1 is not None
    assert found.l2 is not None
    assert found.sketch is not None
    assert found.features is not None
    np.testing.assert_allclose(found.l1, true.norm(1), rtol=1e-9)
    np.testing.assert_allclose(found.l2, true.norm(2), rtol=1e-9)
    np.testing.assert_allclose(found.losses, true.losses, rtol=1e-9)
    assert (found.l1.dtype, found.l2.dtype, found.losses.dtype) == (np.float64,) * 3
    assert (found.sketch.dtype, found.sketch.shape) == (np.float64, (7, 64))
    torch.testing.assert_close(found.output, module(x).detach(), rtol=1e-9, atol=1e-12)
    seen: list[Tensor] = []
    with module.head.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach())):
        module(x)
    torch.testing.assert_close(found.features, seen[0], rtol=1e-9, atol=1e-12)
    assert not found.output.requires_grad
    assert not found.features.requires_grad


@pytest.mark.parametrize("l1", [True, False])
@pytest.mark.parametrize("l2", [True, False])
@pytest.mark.parametrize("width", [0, 16])
def test_what_is_not_asked_for_is_none_and_the_rest_is_the_same(l1: bool, l2: bool, width: int) -> None:
    module, (x, y) = net(), images(4)
    whole = PerSampleGradients(module, width=16)(x, y)
    found = PerSampleGradients(module, l1=l1, l2=l2, width=width)(x, y)
    assert found.features is None
    np.testing.assert_allclose(found.losses, whole.losses, rtol=1e-12)
    for name, wanted in (("l1", l1), ("l2", l2), ("sketch", width > 0)):
        if wanted:
            np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-9, atol=1e-12)
        else:
            assert getattr(found, name) is None


def test_the_scope_head_gives_the_norms_of_the_heads_weight() -> None:
    module, (x, y) = net(), images(5)
    true = alone(module, x, y)
    found = PerSampleGradients(module, "head", head="head")(x, y)
    np.testing.assert_allclose(l2_of(found), true.norm(2, ["head.weight"]), rtol=1e-9)


@pytest.mark.parametrize("sizes", [[12], [5, 7], [2, 1, 4, 5], [3, 3, 3, 3]])
def test_results_do_not_depend_on_the_batch_size(sizes: list[int]) -> None:
    module, (x, y) = net(), images(12)
    whole = PerSampleGradients(module, width=16, head="head")(x, y)
    engine = PerSampleGradients(module, width=16, head="head")
    found = join_batches([engine(a, b) for a, b in zip(x.split(sizes), y.split(sizes))])
    for name in ("l1", "l2", "sketch", "losses", "output", "features"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-9, atol=1e-12)


def test_results_do_not_depend_on_the_order_of_the_samples() -> None:
    module, (x, y) = net(), images(12)
    order = torch.randperm(12)
    whole = PerSampleGradients(module, width=16)(x, y)
    found = PerSampleGradients(module, width=16)(x[order], y[order])
    for name in ("l1", "l2", "sketch", "losses"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name)[order], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [D, torch.float32])
def test_results_do_not_depend_on_the_number_of_threads(threads: Callable[[int], None], dtype: torch.dtype) -> None:
    module, (x, y) = net(dtype), images(13, dtype)
    engine = PerSampleGradients(module, width=16, head="head")
    threads(1)
    one = engine(x, y)
    threads(2)
    two = engine(x, y)
    assert torch.get_num_threads() == 2
    tolerance = 1e-9 if dtype == D else 1e-4
    for name in ("l1", "l2", "sketch", "losses", "output", "features"):
        np.testing.assert_allclose(getattr(two, name), getattr(one, name), rtol=tolerance, atol=tolerance / 100)


def test_several_threads_do_not_disturb_each_other_where_no_rule_reaches(threads: Callable[[int], None]) -> None:
    threads(2)
    assert_exact(recurrent(), torch.randn(40, 6, 4, dtype=D), rows(40)[1], notes=1)
    module = Function(
        lambda m, x: torch.lerp(m.layer(x), m.goal, m.share),
        layer=nn.Linear(4, CLASSES),
        goal=nn.Parameter(torch.randn(CLASSES)),
        share=nn.Parameter(torch.rand(CLASSES)),
    )
    assert_exact(module, *rows(12), notes=1)


def test_a_batch_norm_in_training_mode_is_refused_by_name_and_its_statistics_stay_as_they_were() -> None:
    module = net().train()
    module.dropout.eval()
    before = state(module)
    with pytest.raises(InputError, match=r"depends on the other samples.*: bn is batch norm in training mode; call model.eval"):
        PerSampleGradients(module)(*images(6))
    assert_unchanged(module, before)


def test_a_batch_norm_over_vectors_in_training_mode_is_refused_by_name() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, CLASSES)).double()
    with pytest.raises(InputError, match="1 is batch norm in training mode"):
        PerSampleGradients(module)(*rows())


def test_a_contrastive_head_is_refused() -> None:
    def compare(m: Function, x: Tensor) -> Tensor:
        z = F.normalize(m.layer(x))
        return torch.stack([z @ z.mean(0), z.sum(1)], 1)

    module = Function(compare, layer=nn.Linear(4, 8)).double()
    x, _ = rows()
    with pytest.raises(InputError, match="a sample's loss depends on the other samples of the batch, so it has no gradient"):
        PerSampleGradients(module)(x, torch.tensor([0, 1, 0, 1, 0, 1]))


def test_a_random_model_is_refused() -> None:
    module = net().train()
    module.bn.eval()
    with pytest.raises(InputError, match=r"another loss for the same samples each time \(dropout in training mode\?\)"):
        PerSampleGradients(module)(*images(6))


def test_a_first_batch_of_one_sample_is_refused_and_later_ones_are_not() -> None:
    module, (x, y) = net(), images(3)
    engine = PerSampleGradients(module, width=0)
    with pytest.raises(InputError, match="two samples or more"):
        engine(x[:1], y[:1])
    assert not engine.ready
    engine.prepare(x, y)
    assert engine.ready
    np.testing.assert_allclose(l2_of(engine(x[:1], y[:1])), norms_alone(module, x[:1], y[:1]).norm(2), rtol=1e-9)


def test_frozen_layers_pass_gradients_on_and_have_none() -> None:
    module, (x, y) = net(), images(6)
    for layer in (module.hidden, module.bn):
        layer.requires_grad_(False)
    engine = assert_exact(module, x, y)
    assert not any(name.startswith(("hidden", "bn")) for name in engine.parameters)


def test_the_model_is_as_before_also_after_an_error() -> None:
    module, (x, y) = net(), images(6)
    module.hidden.bias.requires_grad_(False)
    module.head.weight.data.zero_()
    before = state(module)
    engine = PerSampleGradients(module)
    engine(x, y)
    assert_unchanged(module, before)
    with pytest.raises(RuntimeError):
        engine(x[:, :2], y)
    with pytest.raises(IndexError):
        PerSampleGradients(module)(x, y + CLASSES)
    assert_unchanged(module, before)


def test_nothing_of_a_batch_stays_in_memory_after_a_call() -> None:
    seen: list[weakref.ref[Tensor]] = []

    def watched(h: Tensor) -> Tensor:
        seen.append(weakref.ref(h))
        return h

    def forward(m: Function, x: Tensor) -> Tensor:
        h = watched(m.norm(watched(m.a(watched(x * 2)).relu())))
        if x.sum() < 0:
            h = watched(torch.lerp(h, m.scale, 0.5))
        return watched(m.b(h))

    module = Function(
        forward, a=nn.Linear(4, 6), norm=nn.LayerNorm(6), b=nn.Linear(6, CLASSES), scale=nn.Parameter(torch.rand(6))
    ).double()
    engine = PerSampleGradients(module, width=8, head="b")
    x, y = rows()
    gc.collect()
    gc.disable()
    try:
        for inputs in (x.abs(), x.abs(), -x.abs()):
            seen.clear()
            found = engine(inputs, y)
            assert len(seen) >= 4
            assert [ref() for ref in seen if ref() is not None] == []
        with pytest.raises(IndexError):
            engine(x.abs(), y + CLASSES)
        assert [ref() for ref in seen if ref() is not None] == []
        assert found.features is not None
        assert found.features._base is None or found.features._base.numel() == found.features.numel()
    finally:
        gc.enable()
