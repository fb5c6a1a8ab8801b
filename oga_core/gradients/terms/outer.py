"""Gradients that are sums of outer products: those of matrices that vectors were multiplied by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from oga_core.gradients.gemm import is_fast, multiply_batches, outer, outer_sums, product, samples_at_once
from oga_core.gradients.sketch import Fold, Projection
from oga_core.gradients.terms.term import Norms, Term, make_shape

CANCELLED = {torch.float32: 1e-3, torch.float64: 1e-7}
"""A Gram form that is left with a smaller share of its terms has lost digits; it is computed again from the gradient."""
GRAMS = 8
"""How much cheaper than the gradient Grams must be to be worth it where the gradient is materialised all the same."""
LARGE_GRAM = 1 << 22
"""Multiplications from which on oneDNN, sample by sample, is quicker than the batched product."""


@dataclass(eq=False)
class Outer(Term):
    """Σ_t left_t ⊗ right_t, from shapes ``(n, t, p)`` and ``(n, t, d)``; the parameter has shape ``(p, d)``."""

    left: Tensor
    right: Tensor

    @property
    def n(self) -> int:
        return len(self.left)

    @property
    def like(self) -> Tensor:
        return make_shape(self.left, (self.left.shape[2], self.right.shape[2]))

    def add_to(self, sample: int, out: Tensor) -> None:
        out += self.gradient(sample).view(out.shape)

    def gradient(self, sample: int) -> Tensor:
        return self.left[sample].t() @ self.right[sample]

    def gradients(self, samples: slice) -> Tensor:
        return outer(self.left[samples], self.right[samples])

    def norms(self, l1: bool) -> tuple[Tensor | None, Tensor]:
        (_, t, p), d = self.left.shape, self.right.shape[2]
        if t == 1:
            left, right = self.left[:, 0].double(), self.right[:, 0].double()
            squares = (left * left).sum(1) * (right * right).sum(1)
            return left.abs().sum(1) * right.abs().sum(1) if l1 else None, squares
        grams = t * (p + d) * (GRAMS if l1 else 1) < p * d
        if not l1 and grams:
            return None, self.by_grams()
        norms = self.by_gradient(l1, not grams)
        return norms.l1, self.by_grams() if grams else norms.squares

    def by_gradient(self, l1: bool, l2: bool) -> Norms:
        """Norms of the gradient, piece by piece."""
        norms = Norms(self.n, self.left.device, l1, l2)
        for samples, pieces in outer_sums(self.left, self.right):
            norms.add(samples, pieces)
        return norms

    def by_grams(self) -> Tensor:
        """‖Σ_t b_t a_tᵀ‖² = Σ_{t,s} ⟨a_t, a_s⟩ ⟨b_t, b_s⟩, float64 ``(n,)`` (Goodfellow, arXiv 1510.01799, for sequences)."""
        t = self.left.shape[1]
        squares = torch.empty(self.n, dtype=torch.float64, device=self.left.device)
        for samples in samples_at_once(self.n, t * t, self.left):
            block = Outer(self.left[samples], self.right[samples])
            squares[samples] = exactly(gram(block.left) * gram(block.right), block.some)
        return squares

    def some(self, among: Tensor) -> Outer:
        """The same for the samples that a mask, shape ``(n,)``, marks."""
        return Outer(self.left[among], self.right[among])

    def sketch(self, projection: Projection) -> Tensor:
        if isinstance(projection, Fold):
            return super().sketch(projection)
        return projection.folded(torch.bmm(projection.left(self.left).transpose(1, 2), projection.right(self.right)))


def gram(vectors: Tensor) -> Tensor:
    """Inner products of a sample's vectors, from shape ``(n, t, d)``: ``(n, t, t)``."""
    if vectors.device.type == "cpu" and vectors.element_size() < 4:
        vectors = vectors.float()  # in half precision too few digits would be left of the sum
    if is_fast(vectors) and vectors[0].numel() * vectors.shape[1] > LARGE_GRAM:
        return torch.stack([product(v, v) for v in vectors])
    return multiply_batches(vectors, vectors.transpose(1, 2))


def exactly(products: Tensor, some: Callable[[Tensor], Outer]) -> Tensor:
    """Sums of products of Grams, shape ``(n, t, t)`` (overwritten), float64 ``(n,)``.

    Those whose terms cancelled are computed again from the gradients of ``some`` of the samples, by a mask.
    """
    total = products.sum((1, 2), dtype=torch.float64)
    lost = total < CANCELLED.get(products.dtype, 1e-3) * products.abs_().sum((1, 2), dtype=torch.float64)
    if lost.any():
        total[lost] = some(lost).by_gradient(False, True).squares
    return total
