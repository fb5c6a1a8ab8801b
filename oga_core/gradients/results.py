"""The results of a pass over a batch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class GradientBatch:
    """The results of one pass over n samples.

    Attributes
    ----------
    l1, l2
        Norms of the gradient over the scope, float64, shape ``(n,)``; None if not asked for.
    sketch
        Random projection of the gradient, float32 (float64 for a model in it), shape ``(n, width)``; None likewise.
    losses
        float64, shape ``(n,)``.
    output
        The model's output, on the model's device.
    features
        Input of the layer that gives the logits, shape ``(n, d)``, where that layer was named.
    """

    l1: np.ndarray | None
    l2: np.ndarray | None
    sketch: np.ndarray | None
    losses: np.ndarray
    output: Tensor
    features: Tensor | None


def join_batches(batches: list[GradientBatch]) -> GradientBatch:
    """Several batches as one, in their order."""

    def whole(name: str) -> Any:
        values = [getattr(batch, name) for batch in batches]
        if any(value is None for value in values):
            return None
        return torch.cat(values) if isinstance(values[0], Tensor) else np.concatenate(values)

    return GradientBatch(*(whole(field.name) for field in fields(GradientBatch)))
