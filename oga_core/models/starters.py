"""Starter models for people who have data and no model: small, quick on two cores, with a Linear named ``head``."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3 × 3 convolutions with batch norm and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != width:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


class SmallResNet(nn.Module):
    """ResNet of three blocks (32, 64, 128 channels) and global average pooling; 0.3 million parameters.

    Images above 40 pixels a side are halved by the first convolution.
    """

    def __init__(self, num_classes: int, size: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2 if size > 40 else 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.blocks = nn.Sequential(Block(32, 32, 1), Block(32, 64, 2), Block(64, 128, 2))
        self.head = nn.Linear(128, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        out = self.blocks(F.relu(self.norm(self.stem(images))))
        logits: Tensor = self.head(out.mean((2, 3)))
        return logits


class TextNgrams(nn.Module):
    """Sum of the embeddings of hashed n-grams over the root of their number, ReLU, Linear."""

    def __init__(self, num_classes: int, buckets: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(buckets, width, mode="sum")
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)
        nn.init.normal_(self.embedding.weight, std=0.01)

    def forward(self, ids: Tensor, offsets: Tensor) -> Tensor:
        ends = torch.cat([offsets[1:], offsets.new_tensor([len(ids)])])
        counts = (ends - offsets).clamp_min(1).to(self.embedding.weight.dtype)
        out = self.embedding(ids, offsets) / counts.sqrt()[:, None]
        logits: Tensor = self.head(self.dropout(F.relu(out)))
        return logits


class FeatureMLP(nn.Module):
    """Standardised features, one hidden layer of 128, Linear."""

    mean: Tensor
    std: Tensor

    def __init__(self, num_classes: int, features: int, width: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.hidden = nn.Linear(features, width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        standard = ((features - self.mean) / self.std).clamp(-20, 20)
        logits: Tensor = self.head(self.dropout(F.relu(self.hidden(standard))))
        return logits


LIMITS = {"size": (4, 512), "buckets": (2, 1 << 24), "width": (1, 4096), "features": (1, 1_000_000)}
"""Smallest and largest argument: a spec may come from an untrusted file."""


def build(name: str, num_classes: int, spec: dict[str, Any]) -> nn.Module:
    """A starter with random weights; ValueError or KeyError for arguments that do not fit."""
    for key, (low, high) in LIMITS.items():
        if key in spec and not (isinstance(spec[key], int) and low <= spec[key] <= high):
            raise ValueError(f"{key} must be a whole number from {low} to {high}")
    if name == "small_resnet":
        return SmallResNet(num_classes, spec["size"])
    if name == "text_ngrams":
        return TextNgrams(num_classes, spec["buckets"], spec["width"], float(spec.get("dropout", 0.0)))
    if name == "feature_mlp":
        return FeatureMLP(num_classes, spec["features"], spec.get("width", 128), float(spec.get("dropout", 0.0)))
    raise KeyError(name)
