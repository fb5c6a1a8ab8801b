"""Scales and shifts after a normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

from oga_core.errors import InputError
from oga_core.gradients import PerSampleGradients
from tests.gradients.rules.against_autograd import DEVICES, Lambda, N, assert_exact, dtypes, seeds, some


def unlike_at_first(module: nn.Module) -> nn.Module:
    """Scales, shifts and stored statistics as they may be after training."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, 1, 0.5)
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2) if "var" in name else buffer.normal_()
    return module


@some(max_examples=15)
@given(
    leading=st.lists(st.integers(1, 5), max_size=2),
    size=st.lists(st.integers(2, 5), min_size=1, max_size=2),
    bias=st.booleans(),
    dtype=dtypes,
    seed=seeds,
)
def test_layer_norm_over_any_last_dimensions(
    leading: list[int], size: list[int], bias: bool, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    assert_exact(unlike_at_first(nn.LayerNorm(size, bias=bias, dtype=dtype)), torch.randn(N, *leading, *size, dtype=dtype))


@some(max_examples=10)
@given(
    leading=st.lists(st.integers(1, 5), max_size=2),
    size=st.lists(st.integers(2, 5), min_size=1, max_size=2),
    eps=st.sampled_from([1e-6, 1e-2]),
    dtype=dtypes,
    seed=seeds,
)
def test_rms_norm_over_any_last_dimensions(
    leading: list[int], size: list[int], eps: float, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    assert_exact(unlike_at_first(nn.RMSNorm(size, eps=eps, dtype=dtype)), torch.randn(N, *leading, *size, dtype=dtype))


@some(max_examples=15)
@given(groups=st.integers(1, 3), each=st.integers(2, 4), space=st.lists(st.integers(2, 5), max_size=3), dtype=dtypes, seed=seeds)
def test_group_norm_on_any_number_of_dimensions(groups: int, each: int, space: list[int], dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    channels = groups * each
    assert_exact(
        unlike_at_first(nn.GroupNorm(groups, channels, eps=1e-2, dtype=dtype)), torch.randn(N, channels, *space, dtype=dtype)
    )


@some(max_examples=15)
@given(
    kind=st.sampled_from(["batch", "instance", "instance with stored statistics"]),
    channels=st.integers(1, 6),
    space=st.lists(st.integers(2, 5), min_size=1, max_size=3),
    dtype=dtypes,
    seed=seeds,
)
def test_batch_norm_and_instance_norm_in_evaluation(
    kind: str, channels: int, space: list[int], dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    layers: dict[str, list[Callable[..., nn.Module]]] = {
        "batch": [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d],
        "instance": [nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d],
    }
    options: dict[str, Any] = {} if kind == "batch" else {"affine": True, "track_running_stats": "stored" in kind}
    layer = layers[kind.split()[0]][len(space) - 1](channels, eps=1e-2, dtype=dtype, **options)
    assert_exact(unlike_at_first(layer), torch.randn(N, channels, *space, dtype=dtype))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("layers", "size"),
    [
        ([nn.Linear(6, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 4)], (6,)),
        ([nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3), nn.GroupNorm(2, 8)], (3, 9, 9)),
        ([nn.Conv1d(3, 8, 3), nn.InstanceNorm1d(8, affine=True), nn.ReLU6(), nn.Conv1d(8, 4, 3)], (3, 12)),
        ([nn.Linear(6, 9), nn.LayerNorm(9), nn.GELU(), nn.Linear(9, 300), nn.RMSNorm(300)], (7, 6)),
        ([nn.LayerNorm([5, 6]), nn.Flatten(), nn.Linear(30, 4)], (3, 5, 6)[1:]),
        ([nn.GroupNorm(4, 64), nn.SiLU(), nn.GroupNorm(4, 64)], (64, 20, 20)),
    ],
)
def test_normalisation_between_layers(layers: list[nn.Module], size: tuple[int, ...], dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(0)
    module = unlike_at_first(nn.Sequential(*layers)).to(device, dtype)
    assert_exact(module, torch.randn(N, *size, dtype=dtype, device=device))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)])
def test_several_images_a_sample(norm: nn.Module, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: m.norm(x.flatten(0, 1)).unflatten(0, x.shape[:2]), norm=unlike_at_first(norm)).to(dtype)
    assert_exact(module, torch.randn(N, 3, 4, 5, 5, dtype=dtype))


@pytest.mark.parametrize("norm", [nn.LayerNorm(4), nn.RMSNorm(4)])
def test_time_before_samples(norm: nn.Module) -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: m.norm(x.transpose(0, 1)).transpose(0, 1), norm=unlike_at_first(norm)).double()
    assert_exact(module, torch.randn(N, 5, 4).double())


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.BatchNorm1d(4), "1 is batch norm in training mode"),
        (nn.BatchNorm1d(4, track_running_stats=False), "depends on the other samples"),
    ],
)
def test_batch_norm_that_mixes_samples_is_refused(layer: nn.Module, reason: str) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), layer)
    with pytest.raises(InputError, match=reason):
        PerSampleGradients(module)(torch.randn(N, 3), torch.randint(4, (N,)))


def test_half_precision_is_near() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.LayerNorm(40), nn.Linear(40, 30), nn.RMSNorm(30), nn.Linear(30, 5)).bfloat16()
    assert_exact(module, torch.randn(N, 6, 40).bfloat16(), tolerance=5e-2)
