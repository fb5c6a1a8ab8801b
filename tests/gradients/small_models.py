"""Small models and batches for tests of the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from oga_core.gradients import GradientBatch, PerSampleGradients
from tests.gradients.one_sample import assert_alike, assert_unchanged, norms_alone, state

D = torch.float64
CLASSES = 3


class Net(nn.Module):
    """Convolution, norms, a bare parameter and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.LayerNorm(8)
        self.scale = nn.Parameter(torch.rand(8))
        self.hidden, self.dropout, self.head = nn.Linear(8, 10), nn.Dropout(0.5), nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.bn(self.conv(x)).relu().mean((2, 3))) * self.scale
        out: Tensor = self.head(self.dropout(self.hidden(h).tanh()))
        return out


class Function(nn.Module):
    """A model written as a function of its layers and its input."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.function = forward

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Any:
        return self.function(self, *args, **kwargs)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


@pytest.fixture(autouse=True)
def seed() -> None:
    """Imported by a module of tests, it holds for all of them."""
    torch.manual_seed(0)


def net(dtype: torch.dtype = D) -> Net:
    return Net().eval().to(dtype)


def images(n: int, dtype: torch.dtype = D) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 3, 6, 6, dtype=dtype), torch.arange(n) % CLASSES


def l2_of(found: GradientBatch) -> np.ndarray:
    assert found.l2 is not None
    return found.l2


def rows(n: int = 6) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 4, dtype=D), torch.arange(n) % CLASSES


def assert_exact(module: nn.Module, x: object, y: Tensor, notes: int = 0) -> PerSampleGradients:
    module = module.to(D)
    before = state(module)
    for l1 in (False, True):
        engine = PerSampleGradients(module, l1=l1, width=0)
        assert_alike(engine(x, y), norms_alone(module, x, y), engine, 1e-9)
        assert len(engine.notes) == notes, engine.notes
    assert_unchanged(module, before)
    return engine


def recurrent() -> nn.Module:
    return Function(lambda m, x: m.head(m.rnn(x)[0][:, -1]), rnn=nn.GRU(4, 5, batch_first=True), head=nn.Linear(5, CLASSES))
