"""Gradients of a table some of whose rows a sample looked up."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from oga_core.gradients.gemm import samples_at_once
from oga_core.gradients.sketch import Fold, Projection
from oga_core.gradients.terms.term import Term, make_shape


@dataclass(eq=False)
class Rows(Term):
    """Rows of a table: entry k adds ``values[k]`` to row ``rows[k]`` of the gradient of sample ``samples[k]``.

    Attributes
    ----------
    samples, rows
        int64, shape ``(k,)``.
    values
        Shape ``(k, d)``.
    count, table
        Numbers of samples and of rows.
    """

    samples: Tensor
    rows: Tensor
    values: Tensor
    count: int
    table: int

    @property
    def n(self) -> int:
        return self.count

    @property
    def like(self) -> Tensor:
        return make_shape(self.values, (self.table, self.values.shape[1]))

    def add_to(self, sample: int, out: Tensor) -> None:
        mine = self.samples == sample
        out.index_add_(0, self.rows[mine], self.values[mine].to(out.dtype))

    def norms(self, l1: bool) -> tuple[Tensor | None, Tensor]:
        # A token that comes twice has one row: its parts are added up before the norm.
        keys, entry = torch.unique(self.samples * self.table + self.rows, return_inverse=True)
        values = self.values if self.values.element_size() >= 4 else self.values.float()  # a sum of halves loses digits
        merged = values.new_zeros(len(keys), values.shape[1]).index_add_(0, entry, values).double()
        zeros = torch.zeros(self.n, dtype=torch.float64, device=merged.device)
        owner = keys // self.table
        squares = zeros.index_add(0, owner, (merged * merged).sum(1))
        return zeros.index_add(0, owner, merged.abs().sum(1)) if l1 else None, squares

    def sketch(self, projection: Projection) -> Tensor:
        if isinstance(projection, Fold):
            return super().sketch(projection)
        left, right = projection.left_rows(self.rows), projection.right(self.values)
        t = len(self.rows) // self.n
        if torch.equal(self.samples, torch.arange(self.n, device=self.rows.device).repeat_interleave(t)):
            return projection.folded(torch.bmm(left.view(self.n, t, -1).transpose(1, 2), right.view(self.n, t, -1)))
        out = right.new_zeros(self.n, left.shape[1] * right.shape[1])
        for block in samples_at_once(len(self.rows), out.shape[1], right):
            out.index_add_(0, self.samples[block], (left[block, :, None] * right[block, None, :]).flatten(1))
        return projection.folded(out)
