"""Scale and shift after a normalisation: the scale's gradient is the output's gradient times the normalised input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from oga_core.gradients.rules.registry import Terms, Unsupported, Use, rule
from oga_core.gradients.terms import Dense


def _over_last(
    use: Use,
    input: Tensor,
    shape: Sequence[int],
    weight: Tensor | None,
    bias: Tensor | None,
    normalised: Callable[[Tensor], Tensor],
) -> Terms:
    grad = use.rows(use.grad, len(shape)).flatten(2)
    if weight is not None and use.wants(weight):
        x = use.rows(input, len(shape)).flatten(2)
        sums = [normalised(x[s]).mul_(grad[s]).sum(1) for s in use.in_pieces(x)]
        yield weight, Dense(torch.cat(sums).view(use.n, *weight.shape))
    if bias is not None and use.wants(bias):
        yield bias, Dense(grad.sum(1).view(use.n, *bias.shape))


@rule(torch.layer_norm)
def layer_norm(
    use: Use,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Terms:
    """Layer norm over the last dimensions."""
    size = (prod(normalized_shape),)
    return _over_last(use, input, normalized_shape, weight, bias, lambda x: F.layer_norm(x, size, eps=eps))


@rule(torch.rms_norm)
def rms_norm(
    use: Use, input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Terms:
    """RMS norm over the last dimensions."""
    size = (prod(normalized_shape),)
    return _over_last(use, input, normalized_shape, weight, None, lambda x: F.rms_norm(x, size, eps=eps))


def _over_channels(
    use: Use,
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    normalised: Callable[[Tensor], Tensor],
    factor: Tensor | None = None,
) -> Terms:
    """For channels in the second dimension.

    ``normalised`` gives a tensor that may be overwritten; ``factor``, one number a channel, is what it lacks.
    """
    use.batch_dim()
    m, channels = len(use.grad) // use.n, use.grad.shape[1]
    spatial = tuple(range(2, use.grad.dim()))

    def by_sample(values: Tensor) -> Tensor:
        over = values.sum(spatial) if spatial else values
        return over.view(-1, m, channels).sum(1)

    scales, shifts = [], []
    for s in use.in_pieces(use.grad.view(use.n, m, *use.grad.shape[1:]) if m > 1 else use.grad):
        images = slice(s.start * m, s.stop * m)
        grad = use.grad[images]
        if use.wants(weight):
            scales.append(by_sample(normalised(input[images]).mul_(grad)))
        if use.wants(bias):
            shifts.append(by_sample(grad))
    if weight is not None and scales:
        found = torch.cat(scales)
        yield weight, Dense(found if factor is None else found * factor)
    if bias is not None and shifts:
        yield bias, Dense(torch.cat(shifts))


def _by_stored(
    use: Use, input: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, eps: float
) -> Terms:
    mean = mean.view(1, -1, *[1] * (input.dim() - 2))
    return _over_channels(use, input, weight, bias, lambda x: x - mean, torch.rsqrt(var + eps))


@rule(torch.batch_norm)
def batch_norm(
    use: Use,
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Terms:
    """Batch norm with stored statistics."""
    if training or running_mean is None or running_var is None:
        raise Unsupported("it uses the statistics of the batch")
    return _by_stored(use, input, weight, bias, running_mean, running_var, eps)


@rule(torch.group_norm)
def group_norm(
    use: Use,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Terms:
    """Group norm."""
    return _over_channels(use, input, weight, bias, lambda x: F.group_norm(x, num_groups, eps=eps))


@rule(torch.instance_norm)
def instance_norm(
    use: Use,
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Terms:
    """Instance norm, with statistics of the image or stored ones."""
    if use_input_stats or running_mean is None or running_var is None:
        return _over_channels(use, input, weight, bias, lambda x: F.instance_norm(x, eps=eps))
    return _by_stored(use, input, weight, bias, running_mean, running_var, eps)
