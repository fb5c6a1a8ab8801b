"""Tables of vectors: Embedding and EmbeddingBag."""

from __future__ import annotations

import torch
from torch import Tensor

from oga_core.gradients.rules.registry import Terms, Unsupported, Use, rule
from oga_core.gradients.terms import Rows

SUM, MEAN = 0, 1


def _make_rows(samples: Tensor, rows: Tensor, values: Tensor, n: int, table: Tensor, padding: int) -> Rows:
    if padding >= 0:
        # Zeroed, not taken out: every sample keeps as many entries as the others.
        values = values * (rows != padding)[:, None].to(values.dtype)
    return Rows(samples, rows, values, n, table.shape[0])


@rule(torch.embedding)
def embedding(
    use: Use, weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Terms:
    """y_t = W[index_t]."""
    if scale_grad_by_freq:
        raise Unsupported("scale_grad_by_freq depends on the batch")
    grad, rows = use.rows(use.grad), use.rows(indices, 0)
    samples = torch.arange(use.n, device=rows.device).repeat_interleave(rows.shape[1])
    yield weight, _make_rows(samples, rows.flatten(), grad.flatten(0, 1), use.n, weight, padding_idx)


@rule(torch.embedding_bag)
def embedding_bag(
    use: Use,
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = SUM,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Terms:
    """y_bag = sum or mean of W[index] over the bag."""
    if scale_grad_by_freq:
        raise Unsupported("scale_grad_by_freq depends on the batch")
    if mode not in (SUM, MEAN):
        raise Unsupported("its mode is max")
    if not use.wants(weight) or (per_sample_weights is not None and use.wants(per_sample_weights)):
        raise Unsupported("its weights of the entries are a parameter")
    bags = len(use.grad)
    bags_of_sample = use.rows(torch.arange(bags, device=use.grad.device), 0)
    starts = offsets[:bags]
    bag = torch.searchsorted(starts.contiguous(), torch.arange(len(indices), device=indices.device), right=True) - 1
    padding = -1 if padding_idx is None else padding_idx
    values = use.grad[bag]
    if per_sample_weights is not None:
        values = values * per_sample_weights[:, None]
    if mode == MEAN:
        counted = (indices != padding).to(values.dtype)
        counts = torch.zeros(bags, dtype=values.dtype, device=bag.device).index_add_(0, bag, counted)
        values = values / counts.clamp_min(1)[bag, None]
    sample_of_bag = torch.empty(bags, dtype=torch.int64, device=bag.device)
    sample_of_bag[bags_of_sample] = torch.arange(use.n, device=bag.device)[:, None].expand_as(bags_of_sample)
    yield weight, _make_rows(sample_of_bag[bag], indices, values, use.n, weight, padding)
