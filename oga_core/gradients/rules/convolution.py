"""Convolutions in one, two and three dimensions, and transposed ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from oga_core.gradients.rules.registry import Terms, Unsupported, Use, rule
from oga_core.gradients.terms import Convolution, Dense

Size = int | Sequence[int]


def _each(value: Size, dims: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * dims
    return tuple(value) * dims if len(value) == 1 else tuple(value)


def _bias(use: Use, bias: Tensor | None) -> Terms:
    if bias is not None and use.wants(bias):
        grad = use.grad
        by_image = grad.flatten(2).sum(2)
        yield bias, Dense(by_image.view(use.n, -1, grad.shape[1]).sum(1))


@rule(F.conv1d, F.conv2d, F.conv3d)
def convolution(
    use: Use,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Terms:
    """Convolution with zero padding."""
    dims = weight.dim() - 2
    if input.dim() != weight.dim():
        raise Unsupported("its input has no batch dimension")
    use.batch_dim()
    kernel = tuple(weight.shape[2:])
    dilation = _each(dilation, dims)
    if padding == "valid":
        padding = 0
    if isinstance(padding, str):
        total = [d * (k - 1) for d, k in zip(dilation, kernel)]
        # As PyTorch does it: what is odd goes to the end.
        sides = [side for t in reversed(total) for side in (t // 2, t - t // 2)]
        input, padding = F.pad(input, sides), 0
    if use.wants(weight):
        yield weight, Convolution(input, use.grad, use.n, kernel, _each(stride, dims), _each(padding, dims), dilation, groups)
    yield from _bias(use, bias)


@rule(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
def transposed(
    use: Use,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Terms:
    """Transposed convolution: that of the output's gradient with the input."""
    dims = weight.dim() - 2
    if input.dim() != weight.dim():
        raise Unsupported("its input has no batch dimension")
    use.batch_dim()
    if use.wants(weight):
        kernel, stride, padding = tuple(weight.shape[2:]), _each(stride, dims), _each(padding, dims)
        dilation = _each(dilation, dims)
        sizes = zip(use.grad.shape[2:], kernel, stride, padding, dilation)
        positions = [(size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in sizes]
        beyond = [more - size for more, size in zip(positions, input.shape[2:])]
        if any(beyond):  # output padding of a stride or more
            input = F.pad(input, [side for more in reversed(beyond) for side in (0, more)])
        yield weight, Convolution(use.grad, input, use.n, kernel, stride, padding, dilation, groups)
    yield from _bias(use, bias)
