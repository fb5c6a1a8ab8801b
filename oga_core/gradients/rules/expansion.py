"""Parameters that are repeated for every sample, such as a class token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oga_core.gradients.rules.registry import Terms, Unsupported, Use, rule


@rule(torch.Tensor.expand, torch.Tensor.expand_as, torch.broadcast_to, torch.Tensor.broadcast_to, reads=False)
def expand(use: Use, tensor: Tensor, *sizes: Any, **_: Any) -> Terms:
    """Broadcasting to a given shape."""
    yield tensor, use.reduced(use.grad, tensor.shape)


@rule(torch.Tensor.repeat, torch.tile, torch.Tensor.tile, reads=False)
def repeat(use: Use, tensor: Tensor, *sizes: Any, **_: Any) -> Terms:
    """Repetition along dimensions of size one."""
    full = (1,) * (use.grad.dim() - tensor.dim()) + tuple(tensor.shape)
    if any(mine not in (1, out) for mine, out in zip(full, use.grad.shape)):
        raise Unsupported("it repeats a dimension of the parameter")
    yield tensor, use.reduced(use.grad, tensor.shape)
