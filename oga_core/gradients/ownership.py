"""Which rows of an operation's output belong to which sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The position of the samples in a tensor.

    Attributes
    ----------
    dim
        The dimension that runs over the samples.
    inner
        Where it runs over more than the samples: whether the sample is the fast index (time first, as in
        MultiheadAttention), or the slow one (every sample's rows lie together).
    """

    dim: int
    inner: bool = False

    def split(self, tensor: Tensor, n: int) -> Tensor:
        """The samples as the first dimension; ``dim`` becomes what is left of it, one place to the right.

        Shape ``(..., n · m, ...)`` gives ``(n, ..., m, ...)``.
        """
        m = tensor.shape[self.dim] // n
        if self.inner:
            return tensor.unflatten(self.dim, (m, n)).movedim(self.dim + 1, 0)
        return tensor.unflatten(self.dim, (n, m)).movedim(self.dim, 0)


def possible(shape: torch.Size, n: int) -> list[Layout]:
    """Every layout that a tensor of n samples may have by its shape, the usual ones first."""
    found = []
    for dim, size in enumerate(shape):
        if size and size % n == 0:
            found.append(Layout(dim))
            if size > n:
                found.append(Layout(dim, inner=True))
    return found


def find_owned(grads: list[Tensor], n: int, layouts: list[Layout]) -> list[Layout]:
    """The layouts in which the gradient of the loss of sample i is zero outside the rows of sample i.

    Parameters
    ----------
    grads
        Gradient of the output for the loss of sample 0 alone, of sample 1 alone, and so on.
    """
    return [
        layout
        for layout in layouts
        if all(not layout.split(g, n)[torch.arange(n, device=g.device) != i].any() for i, g in enumerate(grads))
    ]


def follows(before: Tensor, after: Tensor, n: int, layouts: list[Layout]) -> list[Layout]:
    """The layouts in which swapping samples 0 and 1 of the input swaps their rows, and changes no others."""
    order = torch.tensor([1, 0, *range(2, n)], device=before.device)
    digits = torch.finfo(before.dtype).eps if before.is_floating_point() else 0.0
    largest = float(before.abs().max()) if before.numel() else 0.0
    found = []
    for layout in layouts:
        a, b = layout.split(before, n), layout.split(after, n)
        if torch.allclose(a[order], b, rtol=max(1e-4, 4 * digits), atol=max(1e-6, digits) * largest + 1e-12, equal_nan=True):
            found.append(layout)
    return found
