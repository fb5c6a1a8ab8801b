"""Losses, one number a sample: ``loss(output, targets)`` gives shape ``(n,)``. A user's own function has the same form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from oga_core.errors import InputError
from oga_core.models.language_model import IGNORED

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy in nats, summed over a sample's positions.

    Attributes
    ----------
    weight
        Weight of each class, shape ``(classes,)``.
    label_smoothing
        As in ``torch.nn.CrossEntropyLoss``.
    ignore_index
        Positions with this target count for nothing.
    mean
        Divide by the (weighted) number of a sample's positions, as a batch of that sample alone would. The weighted loss of
        a plain classifier is not divided: one alone would lose its weight.
    """

    weight: Tensor | None = None
    label_smoothing: float = 0.0
    ignore_index: int = IGNORED
    mean: bool = False

    def __call__(self, output: Tensor, targets: Tensor) -> Tensor:
        """For logits ``(n, classes, ...)`` and targets ``(n, ...)`` int64, or ``(n, classes, ...)`` probabilities."""
        weight = None if self.weight is None else self.weight.to(output.device, output.dtype)
        if output.dim() < 2 or targets.shape != (
            output.shape if targets.is_floating_point() else (len(output), *output.shape[2:])
        ):
            raise _make_error(output, targets)
        if targets.is_floating_point():
            targets = targets.to(output.dtype)
        each = partial(
            F.cross_entropy, weight=weight, reduction="none", label_smoothing=self.label_smoothing, ignore_index=self.ignore_index
        )
        if output.dim() == 2:
            return each(output, targets)
        # The classes last, as language models give them: a softmax over another dimension is slow.
        flat = output.movedim(1, -1).flatten(0, -2)
        given = targets.movedim(1, -1).flatten(0, -2) if targets.is_floating_point() else targets.flatten()
        losses = each(flat, given).view(len(output), len(flat) // max(1, len(output)))
        total = losses.sum(1)
        if not self.mean:
            return total
        counted = torch.ones_like(losses)
        if not targets.is_floating_point():
            valid = (targets != self.ignore_index).flatten(1)
            counted = valid.to(output.dtype)
            if weight is not None:
                counted = counted * weight[targets.flatten(1).clamp_min(0)]
        return total / counted.sum(1).clamp_min(torch.finfo(output.dtype).tiny)


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """Cross-entropy of independent yes-or-no outputs in nats, summed over a sample's labels (one or many).

    Attributes
    ----------
    pos_weight
        Weight of the positive case of each label, as in ``torch.nn.BCEWithLogitsLoss``.
    """

    pos_weight: Tensor | None = None

    def __call__(self, output: Tensor, targets: Tensor) -> Tensor:
        """For logits ``(n, ...)`` and targets in [0, 1] of the same shape; ``(n,)`` goes with ``(n, 1)``."""
        weight = None if self.pos_weight is None else self.pos_weight.to(output.device, output.dtype)
        losses = F.binary_cross_entropy_with_logits(output, _like(output, targets), reduction="none", pos_weight=weight)
        return losses.reshape(len(output), -1).sum(1)


@dataclass(frozen=True)
class SquaredError:
    """Squared error, summed over a sample's outputs: no half, and no mean."""

    def __call__(self, output: Tensor, targets: Tensor) -> Tensor:
        """For outputs ``(n, ...)`` and targets of the same shape; ``(n,)`` goes with ``(n, 1)``."""
        error = output - _like(output, targets)
        return (error * error).reshape(len(output), -1).sum(1)


@dataclass(frozen=True)
class NextToken:
    """Cross-entropy of each token given those before it, in nats: the mean over a sequence's targets, as models are trained.

    Attributes
    ----------
    ignore_index
        Targets that count for nothing: padding, and a prompt that is not to be learned.
    mean
        Whether to divide by the number of a sequence's targets.
    """

    ignore_index: int = IGNORED
    mean: bool = True

    def __call__(self, output: Tensor, targets: Tensor) -> Tensor:
        """For logits ``(n, length, tokens)`` and the tokens themselves, int64 ``(n, length)``."""
        if output.dim() != 3 or targets.shape != output.shape[:2]:
            raise _make_error(output, targets)
        # The last position predicts nothing. Its logits stay: without them all would be copied.
        following = F.pad(targets[:, 1:], (0, 1), value=self.ignore_index)
        return CrossEntropy(ignore_index=self.ignore_index, mean=self.mean)(output.transpose(1, 2), following)


def _like(output: Tensor, targets: Tensor) -> Tensor:
    """Targets in the output's shape and type; one number a sample may have either of the two shapes for it."""
    if targets.shape != output.shape and not len(targets) == len(output) == targets.numel() == output.numel():
        raise _make_error(output, targets)
    return targets.to(output.dtype).reshape(output.shape)


def _make_error(output: Tensor, targets: Tensor) -> InputError:
    return InputError(f"targets of shape {tuple(targets.shape)} do not go with an output of shape {tuple(output.shape)}")


LOSSES: dict[str, Loss] = {
    "cross_entropy": CrossEntropy(),
    "binary_cross_entropy": BinaryCrossEntropy(),
    "squared_error": SquaredError(),
    "next_token": NextToken(),
}
"""Losses by name, with their usual settings."""
