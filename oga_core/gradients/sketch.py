"""Random projections of gradients: seeded, linear, with unbiased inner products.

A parameter's projection depends on the seed, the parameter's name and its shape, and on nothing else: not on the batch, the
device, the other parameters in the scope, or how the parameter is used. The sketch of a gradient is the sum over its parameters.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from oga_core.gradients.gemm import product

WIDTH = 512
KINDS = ("kronecker", "sign_fold")
WIDE = 8192
"""Numbers in a parameter above which `Kronecker` is used: below, folding the gradient itself is cheap and has less error."""
FACTOR = 64
"""Most rows and columns of a projected matrix."""
THIN = 131072
"""As `WIDE`, of a matrix with at most `FACTOR` rows or columns, as adapters are: to project it would cost as much as itself."""
KERNEL_FACTORS = 32, 16
"""Most rows and columns of a projected convolution, at each position of its kernel: more buy nothing once it is folded."""
ORTHOGONAL = 8192
"""Largest side for which directions are made orthogonal; above, random signs differ from it by little."""


class Fold:
    """Signed numbers added up in buckets of the same size (a count sketch; Charikar, Chen, Farach-Colton 2002).

    The variance of an inner product is at most 2 ‖g‖² ‖g'‖² / width. A gradient with fewer numbers is spread over the whole
    width: in the first buckets, many small ones would lie on top of each other.
    """

    def __init__(self, shape: Sequence[int], width: int, rng: np.random.Generator, like: Tensor) -> None:
        numbers = prod(shape)
        self.small = numbers <= (THIN if _thin(shape) else WIDE)
        self.like = like
        self.width = width
        places = rng.permutation(-(-numbers // width) * width)
        signs = np.zeros(len(places), np.int8)  # 0 where there is no number
        taken = places < numbers
        signs[taken] = rng.integers(0, 2, numbers, np.int8) * 2 - 1
        self.order = torch.from_numpy(np.where(taken, places, 0)).to(like.device)
        self.signs = torch.from_numpy(signs).to(like.device, like.dtype)

    def dense(self, gradients: Tensor) -> Tensor:
        """Of gradients of shape ``(n, *parameter)``: shape ``(n, width)``."""
        flat = gradients.reshape(len(gradients), -1).index_select(1, self.order) * self.signs
        return flat.view(len(flat), -1, self.width).sum(1)


class Kronecker:
    """Projection of the rows and of the columns of a matrix, the result folded: (A G Bᵀ) needs G's factors only.

    A kernel's positions are kept apart. Directions are orthogonal, so that a side no longer than its factor is exact.
    """

    def __init__(self, shape: Sequence[int], width: int, rng: np.random.Generator, like: Tensor) -> None:
        self.like = like
        rows, columns = (FACTOR, FACTOR) if prod(shape[2:]) < 4 else KERNEL_FACTORS
        self.row_directions = _directions(shape[0], rows, rng, like)
        self.column_directions = _directions(shape[1], columns, rng, like)
        small = (min(shape[0], rows), min(shape[1], columns), *shape[2:])
        self.fold = Fold(small, width, rng, like)

    def left(self, vectors: Tensor) -> Tensor:
        """Vectors along the rows, shape ``(..., p)``, projected: ``(..., at most 64)``."""
        return _project(vectors, self.row_directions)

    def right(self, vectors: Tensor) -> Tensor:
        """Vectors along the columns, shape ``(..., d)``, projected."""
        return _project(vectors, self.column_directions)

    def left_rows(self, rows: Tensor) -> Tensor:
        """The unit vectors of some rows, int64 of shape ``(k,)``, projected: ``(k, at most 64)``."""
        if self.row_directions is None:
            return torch.nn.functional.one_hot(rows, self.like.shape[0]).to(self.like.dtype)
        return self.row_directions[rows].to(self.like.dtype)

    def folded(self, projected: Tensor) -> Tensor:
        """A projected matrix of every sample, ``(n, rows, columns, *kernel)`` or flat, to the sketch, ``(n, width)``."""
        return self.fold.dense(projected)

    def dense(self, gradients: Tensor) -> Tensor:
        """Of gradients of shape ``(n, *parameter)``: shape ``(n, width)``."""
        rows = self.left(gradients.movedim(1, -1)).movedim(-1, 1)
        return self.folded(self.right(rows.movedim(2, -1)).movedim(-1, 2))


Projection = Fold | Kronecker


def _thin(shape: Sequence[int]) -> bool:
    return len(shape) == 2 and min(shape) <= FACTOR


def _project(vectors: Tensor, directions: Tensor | None) -> Tensor:
    if directions is None:
        return vectors
    out = product(vectors.reshape(-1, vectors.shape[-1]), directions.to(vectors.dtype).t())
    return out.view(*vectors.shape[:-1], directions.shape[1])


def _directions(size: int, factor: int, rng: np.random.Generator, like: Tensor) -> Tensor | None:
    """A matrix D of shape ``(size, factor)`` with E[D Dᵀ] = 1, or None where the side needs no projection."""
    if size <= factor:
        return None
    if size > ORTHOGONAL:
        signs = rng.integers(0, 2, (size, factor), np.int8) * 2 - 1
        return torch.from_numpy(signs).to(like.device, like.dtype) / factor**0.5
    q, r = torch.linalg.qr(torch.from_numpy(rng.standard_normal((size, factor))))
    return (q * r.diagonal().sign() * (size / factor) ** 0.5).to(like.device, like.dtype)


def projection(name: str, shape: Sequence[int], like: Tensor, *, width: int, seed: int, kind: str = "kronecker") -> Projection:
    """The projection of a parameter.

    Parameters
    ----------
    name, shape
        Of the parameter.
    like
        A tensor of the dtype and device that gradients have.
    width
        Numbers in the sketch.
    seed
        Two sketches can be compared only if they have the same one.
    kind
        ``kronecker``, or ``sign_fold``: every gradient is materialised and folded, the reference that it is measured by.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    wide = kind == "kronecker" and len(shape) > 1 and prod(shape) > (THIN if _thin(shape) else WIDE)
    return Kronecker(shape, width, rng, like) if wide else Fold(shape, width, rng, like)
