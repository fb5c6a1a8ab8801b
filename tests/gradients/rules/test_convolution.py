"""Convolutions in one, two and three dimensions, and transposed ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from torch import Tensor, nn

from tests.gradients.rules.against_autograd import DEVICES, Lambda, N, assert_exact, dtypes, seeds, some

CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Callable[..., nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


@st.composite
def convolutions(draw: st.DrawFn, transposed: bool = False) -> tuple[nn.Module, Tensor]:
    """A layer, and images that are large enough for it."""
    dims = draw(st.sampled_from([1, 2, 2, 3]))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels, out = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    kernel, stride, dilation, padding = each(1, 3), each(1, 2), each(1, 2), each(0, 2)
    options: dict[str, Any] = {"dilation": dilation, "groups": groups, "bias": draw(st.booleans()), "dtype": draw(dtypes)}
    if transposed:
        options["output_padding"] = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation))
    else:
        options["padding_mode"] = draw(st.sampled_from(["zeros", "zeros", "circular", "replicate"]))
    if not transposed and draw(st.booleans()):
        options["padding"] = draw(st.sampled_from(["same", "valid"]))
        stride = (1,) * dims if options["padding"] == "same" else stride
    else:
        options["padding"] = padding
    size = tuple(max(2, d * (k - 1) + 1) + draw(st.integers(0, 4)) for d, k in zip(dilation, kernel))
    if transposed:
        size = tuple(s + 2 * p for s, p in zip(size, padding))
    torch.manual_seed(draw(seeds))
    layer = (TRANSPOSED if transposed else CONVOLUTIONS)[dims](channels, out, kernel, stride, **options)
    return layer, torch.randn(N, channels, *size, dtype=options["dtype"])


@some(max_examples=25)
@given(case=convolutions())
def test_a_convolution_of_any_size_stride_padding_dilation_and_groups(case: tuple[nn.Module, Tensor]) -> None:
    assert_exact(*case)


@some(max_examples=20)
@given(case=convolutions(transposed=True))
def test_a_transposed_convolution(case: tuple[nn.Module, Tensor]) -> None:
    assert_exact(*case)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("channels", "out", "size", "options"),
    [
        (3, 8, 13, {}),  # more than 128 positions, few channels
        (8, 8, 13, {}),  # the same with more channels
        (8, 16, 13, {"stride": 2}),
        (8, 8, 13, {"kernel_size": 1, "padding": 0}),
        (16, 64, 4, {}),  # Grams of pixels
        (40, 90, 2, {}),
        (64, 160, 12, {}),
        (30, 60, 4, {"kernel_size": 1, "padding": 0}),
        (30, 60, 7, {"kernel_size": 1, "padding": 0, "stride": 2}),
        (40, 40, 5, {"stride": 2}),
        (16, 256, 27, {"kernel_size": 7, "stride": 2, "padding": 0}),
        (40, 40, 3, {"padding": 0}),  # one position
        (16, 32, 14, {"groups": 4}),
        (300, 300, 4, {"groups": 300}),
        (16, 96, 6, {"dilation": 2, "padding": 2}),
        (96, 16, 6, {"padding": "same", "kernel_size": 4}),
    ],
)
def test_a_wide_convolution_by_each_way(
    channels: int, out: int, size: int, options: dict[str, Any], dtype: torch.dtype, device: str
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, out, **({"kernel_size": 3, "padding": 1} | options))
    module = nn.Sequential(layer, nn.Tanh(), nn.AdaptiveAvgPool2d(2)).to(device, dtype)
    assert_exact(module, torch.randn(N, channels, size, size, dtype=dtype, device=device))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Conv1d(20, 60, 5, padding=2), nn.ReLU(), nn.Conv1d(60, 8, 3, dilation=2)),
        nn.Sequential(nn.Conv1d(4, 20, 1), nn.GELU(), nn.Conv1d(20, 100, 9, stride=4)),
        nn.Sequential(nn.Conv3d(2, 12, 3, padding=1), nn.ReLU(inplace=True), nn.Conv3d(12, 30, 2)),
        nn.Sequential(nn.ConvTranspose2d(40, 24, 4, stride=2, padding=1), nn.SiLU(), nn.ConvTranspose2d(24, 3, 2)),
        nn.Sequential(nn.Conv2d(8, 32, 7, stride=7), nn.Flatten(2), nn.LayerNorm(4)),
    ],
)
def test_convolutions_on_each_other(module: nn.Sequential, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    first: Any = module[0]
    dims = first.weight.dim() - 2
    size = {1: (30,), 2: (14, 14), 3: (5, 5, 5)}[dims]
    assert_exact(module.to(dtype), torch.randn(N, first.in_channels, *size, dtype=dtype))


@some(max_examples=12)
@given(
    frames=st.integers(1, 4),
    out=st.integers(1, 12),
    channels=st.integers(1, 12),
    size=st.integers(3, 13),
    groups=st.sampled_from([1, 2]),
    dtype=dtypes,
    seed=seeds,
)
def test_several_images_a_sample(
    frames: int, out: int, channels: int, size: int, groups: int, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    module = Lambda(
        lambda m, x: m.layer(x.flatten(0, 1)).unflatten(0, x.shape[:2]).mean(1),
        layer=nn.Conv2d(groups * channels, groups * out, 3, padding=1, groups=groups),
    ).to(dtype)
    assert_exact(module, torch.randn(N, frames, groups * channels, size, size, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("channels", "out", "size"), [(16, 64, 4), (20, 150, 2), (8, 8, 13)])
def test_several_images_a_sample_and_a_wide_convolution(channels: int, out: int, size: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: m.layer(x.flatten(0, 1)).unflatten(0, x.shape[:2]), layer=nn.Conv2d(channels, out, 3, padding=1))
    assert_exact(module.to(dtype), torch.randn(N, 2, channels, size, size, dtype=dtype))


def test_frames_before_samples_go_the_slow_way_and_are_exact() -> None:
    torch.manual_seed(0)
    module = Lambda(
        lambda m, x: m.layer(x.transpose(0, 1).flatten(0, 1)).unflatten(0, (3, -1)).mean(0), layer=nn.Conv2d(2, 5, 3)
    ).double()
    assert_exact(module, torch.randn(N, 3, 2, 6, 6).double(), left=["layer.weight", "layer.bias"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("channels", "out", "size"), [(16, 64, 4), (64, 160, 12), (8, 8, 13), (6, 9, 5)])
def test_positions_that_cancel_keep_their_digits(channels: int, out: int, size: int, dtype: torch.dtype) -> None:
    """The images hardly change from place to place, and the pulls of the places add up to little."""
    torch.manual_seed(0)
    tiny = 0.02 if dtype == torch.float32 else 1e-5
    module = nn.Conv2d(channels, out, 3, bias=False, dtype=dtype)
    x = torch.randn(N, channels, 1, 1, dtype=dtype) + tiny * torch.randn(N, channels, size + 2, size + 2, dtype=dtype)
    pull = torch.randn(N, out, size, size, dtype=dtype)
    with torch.no_grad():
        targets = module(x) + pull - pull.mean((2, 3), keepdim=True)
    assert_exact(module, x, targets)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_model_with_its_weights_in_channels_last(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(8, 40, 3), nn.ReLU(), nn.Conv2d(40, 40, 3, padding="same"), nn.Conv2d(40, 6, 1))
    module.to(memory_format=torch.channels_last)
    assert_exact(module, torch.randn(N, 8, 9, 9).to(memory_format=layout))


def test_a_model_that_views_its_images_as_they_come() -> None:
    torch.manual_seed(0)
    module = Lambda(lambda m, x: m.layer(x.view(len(x), -1, 6, 6)).view(len(x), -1), layer=nn.Conv2d(4, 6, 3)).double()
    assert_exact(module, torch.randn(N, 2, 2, 6, 6).double())


def test_half_precision_is_near() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 40, 3, stride=2), nn.Conv2d(40, 6, 1)
    ).bfloat16()
    assert_exact(module, torch.randn(N, 3, 12, 12).bfloat16(), tolerance=5e-2)


def test_a_well_fitted_sample_keeps_its_digits() -> None:
    torch.manual_seed(0)
    module = Lambda(
        lambda m, x: m.second(F.silu(m.first(x))).mean((2, 3)) * 100, first=nn.Conv2d(3, 16, 3), second=nn.Conv2d(16, 5, 3)
    )
    x = torch.randn(N, 3, 8, 8)
    with torch.no_grad():
        fitted = module(x).argmax(1)
    assert_exact(module, x, fitted, loss="cross_entropy", tolerance=1e-3)
