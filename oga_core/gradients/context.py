"""Context managers that change a model for a pass and restore it afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def set_requires_grad(parameters: Iterable[nn.Parameter], gradient: bool) -> Iterator[None]:
    """Set ``requires_grad`` of parameters while open."""
    changed = [p for p in parameters if p.requires_grad != gradient]
    for p in changed:
        p.requires_grad_(gradient)
    try:
        yield
    finally:
        for p in changed:
            p.requires_grad_(not gradient)


@contextmanager
def disable_checkpointing(module: nn.Module) -> Iterator[None]:
    """Switch off gradient checkpointing of a transformer while open: the gradients are the same."""
    changed = [m for m in module.modules() if vars(m).get("gradient_checkpointing")]
    for m in changed:
        vars(m)["gradient_checkpointing"] = False
    try:
        yield
    finally:
        for m in changed:
            vars(m)["gradient_checkpointing"] = True


@contextmanager
def fill_zero_parameters(module: nn.Module) -> Iterator[None]:
    """Fill parameters that are all zeros (a fresh head) with small values while open: zeros hide what depends on what."""
    zeros = [p for p in module.parameters() if p.is_floating_point() and p.numel() and not p.is_inference() and not p.any()]
    generator = torch.Generator("cpu").manual_seed(0)  # the same values on every device
    with torch.no_grad():
        for p in zeros:
            p.copy_(torch.rand(p.shape, generator=generator, device="cpu") * 0.2 - 0.1)
    try:
        yield
    finally:
        with torch.no_grad():
            for p in zeros:
                p.zero_()


@contextmanager
def restore_buffers(module: nn.Module) -> Iterator[None]:
    """Restore a module's buffers on leaving: in training mode, batch norm changes its own."""
    before = [(b, b.clone()) for b in module.buffers()]
    try:
        yield
    finally:
        for b, values in before:
            if not torch.equal(b, values):
                b.copy_(values)
