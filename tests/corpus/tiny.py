"""Models that score a sample in no time, by ``--model tests.corpus.tiny:NAME``; and some that misbehave."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn


def numbers(values: np.ndarray) -> Tensor:
    """The first four features."""
    return torch.from_numpy(np.resize(values, 4).astype(np.float32))


def colours(image: Image.Image) -> Tensor:
    """The mean of each channel, in 0…1, and a one."""
    return torch.tensor([*np.asarray(image, np.float32).mean((0, 1)) / 255, 1.0])


def letters(text: str) -> Tensor:
    """Four counts of a text."""
    return torch.tensor([len(text), text.count("a"), sum(map(ord, text)) % 7, 1], dtype=torch.float32)


def _linear(num_classes: int, transform: Any) -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, num_classes))
    module.transform = transform
    return module


def features(num_classes: int) -> nn.Module:
    return _linear(num_classes, numbers)


def images(num_classes: int) -> nn.Module:
    return _linear(num_classes, colours)


def texts(num_classes: int) -> nn.Module:
    return _linear(num_classes, letters)


class Wrapped(nn.Module):
    """A linear layer with something about it."""

    transform = staticmethod(numbers)

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Any:
        return self.head(x)


class InTraining(Wrapped):
    """Batch norm and dropout, left in train mode."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.norm, self.dropout = nn.BatchNorm1d(4), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.dropout(self.norm(x)))


class Frozen(Wrapped):
    """Nothing in it can be trained."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.requires_grad_(False)


class InTuple(Wrapped):
    """Logits after something else, in a tuple."""

    def forward(self, x: Tensor) -> Any:
        return x.mean(), self.head(x)


class InDict(Wrapped):
    """Logits in a dict."""

    def forward(self, x: Tensor) -> Any:
        return {"hidden": x, "logits": self.head(x)}


class ThreeD(Wrapped):
    """Outputs for each of several places."""

    def forward(self, x: Tensor) -> Any:
        return self.head(x)[:, None, :]


class NotANumber(Wrapped):
    """NaN where the first feature is 5."""

    def forward(self, x: Tensor) -> Any:
        return self.head(torch.where(x[:, :1] == 5, torch.nan, x))


class ByChance(Wrapped):
    """Dropout that eval mode does not turn off."""

    def forward(self, x: Tensor) -> Any:
        return self.head(nn.functional.dropout(x, 0.5, training=True))


class Fails(Wrapped):
    """A transform that raises where the first feature is 5."""

    @staticmethod
    def transform(values: np.ndarray) -> Tensor:
        if values[0] == 5:
            raise KeyError("no such sample in my index")
        return numbers(values)
