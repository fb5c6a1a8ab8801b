"""Whole models of torchvision: every parameter is reached by a rule, and norms are those of one-sample autograd."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.densenet import DenseNet
from torchvision.models.efficientnet import EfficientNet, MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2

from oga_core.gradients import PerSampleGradients
from tests.gradients.one_sample import TOLERANCE, assert_alike, assert_unchanged, norms_alone, state

CLASSES = 5
LABELS = torch.tensor([0, 3, 1, 4, 3, 2])


def swin(**options: object) -> nn.Module:
    return SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=CLASSES, **options)


SMALL: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet": (lambda: ResNet(BasicBlock, [1, 1, 1, 1], CLASSES), 24),
    "resnext": (lambda: ResNet(Bottleneck, [1, 1, 1, 1], CLASSES, groups=4, width_per_group=4), 24),
    "mobilenet_v3": (
        lambda: MobileNetV3(
            [
                InvertedResidualConfig(16, 3, 16, 16, True, "RE", 2, 1, 1),
                InvertedResidualConfig(16, 5, 32, 24, True, "HS", 1, 2, 1),
            ],
            32,
            CLASSES,
        ),
        24,
    ),
    "efficientnet": (
        lambda: EfficientNet([MBConvConfig(1, 3, 1, 32, 16, 1), MBConvConfig(4, 5, 2, 16, 24, 2)], 0.2, 0.2, CLASSES),
        24,
    ),
    "convnext": (lambda: models.ConvNeXt([CNBlockConfig(16, 32, 2), CNBlockConfig(32, None, 2)], num_classes=CLASSES), 32),
    "vit": (
        lambda: models.VisionTransformer(
            image_size=16, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=CLASSES
        ),
        16,
    ),
    "swin": (swin, 32),
    "swin_v2": (lambda: swin(block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2), 32),
    "densenet": (lambda: DenseNet(8, (2, 2), 16, num_classes=CLASSES), 32),
}
FULL = {
    "resnet18": 32,
    "mobilenet_v3_small": 32,
    "efficientnet_b0": 32,
    "convnext_tiny": 32,
    "vit_b_16": 32,
    "swin_t": 32,
    "swin_v2_t": 32,
    "densenet121": 32,
}


def with_all_in_use(module: nn.Module) -> nn.Module:
    """In eval mode, and with what torchvision begins at zero or near it (heads, scales, class tokens) as after training."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, p in module.named_parameters():
            if not p.any() or name.endswith("layer_scale"):
                p.normal_(0, 0.1)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    return module.eval()


def images(n: int, size: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 3, size, size, dtype=dtype), LABELS[:n]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", list(SMALL))
def test_every_parameter_of_a_small_model_is_reached_and_norms_are_exact(name: str, dtype: torch.dtype) -> None:
    make, size = SMALL[name]
    torch.manual_seed(0)
    module = with_all_in_use(make()).to(dtype)
    x, y = images(6, size, dtype)
    true, before = norms_alone(module, x, y), state(module)
    for l1 in (True, False):
        engine = PerSampleGradients(module, l1=l1, width=32 if l1 else 0)
        assert_alike(engine(x, y), true, engine, TOLERANCE[dtype])
        assert engine.notes == []
        assert_unchanged(module, before)


@pytest.mark.parametrize("name", list(FULL))
def test_every_parameter_of_a_model_by_name_is_reached_and_norms_are_exact(name: str) -> None:
    size = FULL[name]
    torch.manual_seed(0)
    options = {"image_size": size} if name == "vit_b_16" else {}
    module = with_all_in_use(models.get_model(name, weights=None, num_classes=CLASSES, **options))
    x, y = images(2, size)
    true = norms_alone(module, x, y)
    for l1 in (True, False):
        engine = PerSampleGradients(module, l1=l1, width=0)
        assert_alike(engine(x, y), true, engine, TOLERANCE[torch.float32])
        assert engine.notes == []


@pytest.mark.parametrize("name", ["resnet", "convnext", "vit", "swin_v2"])
def test_a_model_that_was_just_made_is_done_by_rules_though_its_zeros_hide_gradients(name: str) -> None:
    make, size = SMALL[name]
    torch.manual_seed(0)
    module = make().eval().double()
    x, y = images(4, size, torch.float64)
    true, before = norms_alone(module, x, y), state(module)
    engine = PerSampleGradients(module, width=0)
    assert_alike(engine(x, y), true, engine, TOLERANCE[torch.float64])
    assert engine.notes == []
    assert_unchanged(module, before)


@pytest.mark.parametrize("name", ["resnet", "convnext", "vit", "swin"])
def test_every_parameter_is_reached_in_half_precision(name: str) -> None:
    make, size = SMALL[name]
    torch.manual_seed(0)
    module = with_all_in_use(make()).bfloat16()
    x, y = images(6, size, torch.bfloat16)
    engine = PerSampleGradients(module, width=16)
    assert_alike(engine(x, y), norms_alone(module, x, y), engine, 0.05)
    assert engine.notes == []


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_probe_of_few_samples_tells_them_from_other_dimensions_of_that_size(n: int) -> None:
    # 5 tokens, 3 parts of an attention's projection, 2 heads.
    make, size = SMALL["vit"]
    torch.manual_seed(0)
    module = with_all_in_use(make()).double()
    x, y = images(6, size, torch.float64)
    engine = PerSampleGradients(module, width=0)
    engine.prepare(x[:n], y[:n])
    assert_alike(engine(x, y), norms_alone(module, x, y), engine, TOLERANCE[torch.float64])
    assert engine.notes == []
