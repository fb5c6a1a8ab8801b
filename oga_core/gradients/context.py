"""A model as a pass needs it for a while, and afterwards as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def requiring(parameters: Iterable[nn.Parameter], gradient: bool) -> Iterator[None]:
    """Parameters that want a gradient for a while, or none, whatever they wanted."""
    changed = [p for p in parameters if p.requires_grad != gradient]
    for p in changed:
        p.requires_grad_(gradient)
    try:
        yield
    finally:
        for p in changed:
            p.requires_grad_(not gradient)


@contextmanager
def keeping_activations(module: nn.Module) -> Iterator[None]:
    """A transformer that does not compute activations twice to save memory, for a while: the gradients are the same."""
    changed = [m for m in module.modules() if vars(m).get("gradient_checkpointing")]
    for m in changed:
        vars(m)["gradient_checkpointing"] = False
    try:
        yield
    finally:
        for m in changed:
            vars(m)["gradient_checkpointing"] = True


@contextmanager
def informative(module: nn.Module) -> Iterator[None]:
    """A module with small values for a while where a parameter is all zeros (a fresh head), which hide what depends on what."""
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
def kept(module: nn.Module) -> Iterator[None]:
    """A module whose buffers are afterwards what they were: in training mode, batch norm changes its own."""
    before = [(b, b.clone()) for b in module.buffers()]
    try:
        yield
    finally:
        for b, values in before:
            if not torch.equal(b, values):
                b.copy_(values)
