"""A part of the gradient of one parameter, for every sample of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from oga_core.gradients.gemm import samples_at_once
from oga_core.gradients.sketch import Fold, Projection


class Norms:
    """Norms gathered from the absolute values of gradients, piece by piece."""

    def __init__(self, n: int, device: torch.device, l1: bool, l2: bool = True) -> None:
        self.n, self.device, self.wanted = n, device, (l1, l2)
        self._owners: list[int | slice] = []
        self._sums: list[Tensor] = []
        self._squares: list[Tensor] = []

    def add(self, samples: int | slice, magnitudes: Tensor) -> None:
        """Add the absolute values of a sample's gradient or a piece of it, or of several samples, ``(samples, ...)``.

        Slices of samples come in their order.
        """
        self._owners.append(samples)
        flat = remove_gaps(magnitudes) if isinstance(samples, int) else magnitudes.flatten(1)
        if flat.element_size() < 4:  # sums of half precision overflow
            flat = flat.float()
        if self.wanted[0]:
            self._sums.append(flat.sum(-1))
        if self.wanted[1]:
            self._squares.append(torch.dot(flat, flat) if isinstance(samples, int) else torch.linalg.vecdot(flat, flat))

    @property
    def l1(self) -> Tensor | None:
        """float64, shape ``(n,)``; None if they are not wanted."""
        return self._by_sample(self._sums) if self.wanted[0] else None

    @property
    def squares(self) -> Tensor:
        """Squared L2 norms, float64, shape ``(n,)``."""
        return self._by_sample(self._squares)

    def _by_sample(self, found: list[Tensor]) -> Tensor:
        if not found:
            return torch.zeros(self.n, dtype=torch.float64, device=self.device)
        together = torch.hstack(found).double()
        if all(isinstance(owner, slice) for owner in self._owners):  # each sample once, in their order
            return together
        owners = [i for o in self._owners for i in (range(o.start, o.stop) if isinstance(o, slice) else (o,))]
        out = torch.zeros(self.n, dtype=torch.float64, device=self.device)
        return out.index_add_(0, torch.tensor(owners, device=self.device), together)


class Term(ABC):
    """A part of the gradient of one parameter for n samples. It knows at least how to add itself to a tensor."""

    @property
    @abstractmethod
    def n(self) -> int:
        """Samples in the batch."""

    @property
    @abstractmethod
    def like(self) -> Tensor:
        """A tensor of the parameter's shape, dtype and device; its values do not matter."""

    @abstractmethod
    def add_to(self, sample: int, out: Tensor) -> None:
        """Add a sample's gradient to ``out``, which has the parameter's shape."""

    def gradient(self, sample: int) -> Tensor:
        """The gradient of one sample, in the parameter's shape, to be overwritten if one likes."""
        out = self.like.new_zeros(self.like.shape)
        self.add_to(sample, out)
        return out

    def gradients(self, samples: slice) -> Tensor:
        """The gradients of some samples, shape ``(samples, *parameter)``, to be overwritten likewise."""
        return torch.stack([self.gradient(i) for i in range(samples.start, samples.stop)])

    def norms(self, l1: bool) -> tuple[Tensor | None, Tensor]:
        """L1 norms, if asked for, and squared L2 norms, float64, shape ``(n,)``."""
        norms = Norms(self.n, self.like.device, l1)
        for i in range(self.n):
            norms.add(i, self.gradient(i).abs_())
        return norms.l1, norms.squares

    def sketch(self, projection: Projection) -> Tensor:
        """Random projection, shape ``(n, width)``."""
        blocks = samples_at_once(self.n, self.like.numel(), self.like)
        return torch.cat([projection.dense(self.gradients(samples)) for samples in blocks])

    def materialises(self, l1: bool, projection: Projection) -> bool:
        """Whether norms and sketch together are cheapest from the gradient as it is."""
        return isinstance(projection, Fold) and projection.small

    def norms_and_sketch(self, l1: bool, projection: Projection) -> tuple[Tensor | None, Tensor, Tensor]:
        """Return the results of `norms` and `sketch`, from one gradient where both need it."""
        if not self.materialises(l1, projection):
            return *self.norms(l1), self.sketch(projection)
        norms, sketches = Norms(self.n, self.like.device, l1), []
        for samples in samples_at_once(self.n, self.like.numel(), self.like):
            gradients = self.gradients(samples)
            sketches.append(projection.dense(gradients))
            norms.add(samples, gradients.abs_())
        return norms.l1, norms.squares, torch.cat(sketches)


@dataclass(eq=False)
class Dense(Term):
    """Gradients outright, shape ``(n, *parameter)``."""

    values: Tensor

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def like(self) -> Tensor:
        return self.values[0]

    def add_to(self, sample: int, out: Tensor) -> None:
        out += self.values[sample]

    def norms(self, l1: bool) -> tuple[Tensor | None, Tensor]:
        flat = self.values.reshape(self.n, -1).double()
        return flat.abs().sum(1) if l1 else None, (flat * flat).sum(1)

    def sketch(self, projection: Projection) -> Tensor:
        return projection.dense(self.values)

    def materialises(self, l1: bool, projection: Projection) -> bool:
        return False


def make_shape(of: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor of a shape that takes no memory."""
    return of.new_empty(1).expand(*shape)


def remove_gaps(dense: Tensor) -> Tensor:
    """The numbers of a tensor without gaps, in the order of its memory."""
    return dense.view(-1) if dense.is_contiguous() else dense.as_strided((dense.numel(),), (1,))
