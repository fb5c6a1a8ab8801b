"""Gradients of a convolution's weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product as product_of
from math import prod

import torch
from torch import Tensor

from oga_core.gradients.gemm import samples_at_once
from oga_core.gradients.sketch import KERNEL_FACTORS, Fold, Projection
from oga_core.gradients.terms.outer import Outer, exactly, gram
from oga_core.gradients.terms.term import Term, make_shape

FEW_CHANNELS = 4
"""Channels up to which oneDNN has no quick gradient of a convolution."""
UNFOLDED = 128
"""Output positions up to which a convolution's gradient is one matrix product of the unfolded input."""


@dataclass(eq=False)
class Convolution(Term):
    """Gradient of a convolution's weight, shape ``(channels out, channels in / groups, *kernel)``.

    Attributes
    ----------
    input, grad
        Shapes ``(n · m, channels in, *size)`` and ``(n · m, channels out, *positions)``: m images belong to a sample.
    count
        Samples.
    stride, padding, dilation
        One number a dimension.
    """

    input: Tensor
    grad: Tensor
    count: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1

    @property
    def n(self) -> int:
        return self.count

    @property
    def positions(self) -> int:
        """Output positions of a sample."""
        return len(self.grad) // self.n * prod(self.grad.shape[2:])

    def select(self, samples: slice) -> Convolution:
        """The same for some of the samples."""
        m = len(self.grad) // self.n
        images = slice(samples.start * m, samples.stop * m)
        return replace(self, input=self.input[images], grad=self.grad[images], count=samples.stop - samples.start)

    def gradient(self, sample: int) -> Tensor:
        """The gradient of one sample."""
        m = len(self.grad) // self.n
        images = slice(sample * m, sample * m + m)
        return torch.ops.aten.convolution_backward(
            self.grad[images],
            self.input[images],
            self._weight,
            None,
            self.stride,
            self.padding,
            self.dilation,
            False,
            (0,) * len(self.kernel),
            self.groups,
            (False, True, False),
        )[1]

    @cached_property
    def _weight(self) -> Tensor:
        """Any weight, laid out as the input is: PyTorch would copy it into that layout for every sample."""
        weight = self.grad.new_empty(self.like.shape)
        last = self.input.dim() == 4 and self.input.is_contiguous(memory_format=torch.channels_last)
        return weight.contiguous(memory_format=torch.channels_last) if last else weight

    @property
    def like(self) -> Tensor:
        return make_shape(self.grad, (self.grad.shape[1], self.input.shape[1] // self.groups, *self.kernel))

    def add_to(self, sample: int, out: Tensor) -> None:
        out += self.gradient(sample)

    def norms(self, l1: bool) -> tuple[Tensor | None, Tensor]:
        if self.direct(l1):
            return super().norms(l1)
        if self._grams_pay(l1) and self._gram_of_pixels():
            return None, self._by_grams()
        numbers = self.positions * prod(self.kernel) * self.input.shape[1]
        blocks = [self.select(samples).unfolded().norms(l1) for samples in samples_at_once(self.n, numbers, self.input)]
        return torch.cat([p[0] for p in blocks if p[0] is not None]) if l1 else None, torch.cat([p[1] for p in blocks])

    def direct(self, l1: bool) -> bool:
        """Whether norms are taken of the gradient as PyTorch computes it, not of the unfolded input."""
        if self.groups > 1:
            return True
        few = prod(self.kernel) == 1 or self.input.shape[1] <= FEW_CHANNELS or self.positions <= UNFOLDED
        return not few and not self._grams_pay(l1) and self.grad.device.type == "cpu"

    def _grams_pay(self, l1: bool) -> bool:
        width, out = prod(self.kernel) * self.input.shape[1], self.grad.shape[1]
        return not l1 and self.positions * (width + out) < width * out

    def _gram_of_pixels(self) -> bool:
        """Whether the Gram of the unfolded input comes cheaper from that of the padded input."""
        if prod(self.kernel) == 1 or max(self.stride) > 1 or len(self.grad) != self.n or self.positions == 1:
            return False
        pixels = prod(s + 2 * p for s, p in zip(self.input.shape[2:], self.padding))
        return pixels**2 < self.positions**2 * prod(self.kernel)

    def _by_grams(self) -> Tensor:
        """As for `Outer`; ⟨a_t, a_s⟩ is the sum over the kernel of the inner products of the pixels below t and s."""
        size = self.grad.shape[2:]
        x = _pad(self.input, self.padding)
        pixels, left = x.flatten(2).transpose(1, 2), self.grad.flatten(2).transpose(1, 2)
        squares = torch.empty(self.n, dtype=torch.float64, device=x.device)
        for samples in samples_at_once(self.n, pixels.shape[1] ** 2, x):
            between = gram(pixels[samples]).view(-1, *x.shape[2:], *x.shape[2:])
            unfolded = torch.zeros_like(between[(slice(None), *[slice(s) for s in size] * 2)])
            for offset in product_of(*(range(0, k * d, d) for k, d in zip(self.kernel, self.dilation))):
                unfolded += between[(slice(None), *[slice(o, o + s) for o, s in zip(offset, size)] * 2)]
            block = self.select(samples)
            found = gram(left[samples]) * unfolded.view(-1, self.positions, self.positions)
            squares[samples] = exactly(found, block.some)
        return squares

    def some(self, among: Tensor) -> Outer:
        """The same for the samples that a mask, shape ``(n,)``, marks; one image belongs to each sample."""
        return replace(self, input=self.input[among], grad=self.grad[among], count=int(among.sum())).unfolded()

    def materialises(self, l1: bool, projection: Projection) -> bool:
        cheap = isinstance(projection, Fold) or (
            2 * self.like.numel() < self.positions * prod(self.kernel) * KERNEL_FACTORS[1]  # than to project its factors
        )
        return self.direct(l1) and cheap

    def unfolded(self) -> Outer:
        """As outer products over output positions; one group only."""
        left = self.grad.flatten(2).transpose(1, 2).reshape(self.n, self.positions, -1)
        x, dims = _pad(self.input, self.padding), range(len(self.kernel))
        size = self.grad.shape[2:]
        if prod(self.kernel) == 1:
            for d in dims:
                x = x[(slice(None),) * (2 + d) + (slice(None, None, self.stride[d]),)]
            return Outer(left, x.flatten(2).transpose(1, 2).reshape(self.n, self.positions, -1))
        windows = x.as_strided(
            (len(x), *size, *self.kernel, x.shape[1]),
            (
                x.stride(0),
                *(x.stride(2 + d) * self.stride[d] for d in dims),
                *(x.stride(2 + d) * self.dilation[d] for d in dims),
                x.stride(1),
            ),
        )
        return Outer(left, windows.reshape(self.n, self.positions, -1))

    def sketch(self, projection: Projection) -> Tensor:
        if isinstance(projection, Fold) or self.groups > 1:
            return super().sketch(projection)
        grad = projection.left(self.grad.movedim(1, -1)).movedim(-1, 1)
        x = projection.right(self.input.movedim(1, -1)).movedim(-1, 1)
        small = replace(self, input=x, grad=grad)
        if prod(self.kernel) == 1 or self.positions <= UNFOLDED or self.grad.device.type != "cpu":
            unfolded = small.unfolded()
            projected = torch.bmm(unfolded.left.transpose(1, 2), unfolded.right)
            return projection.folded(projected.view(self.n, grad.shape[1], *self.kernel, -1).movedim(-1, 2))
        return projection.folded(torch.stack([small.gradient(i) for i in range(self.n)]))


def _pad(images: Tensor, padding: Sequence[int]) -> Tensor:
    return torch.nn.functional.pad(images, [p for side in reversed(padding) for p in (side, side)]) if any(padding) else images
