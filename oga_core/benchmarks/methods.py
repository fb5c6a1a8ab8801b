"""This package's ways to per-sample gradients, the plain passes that they are measured against, and the naive loop."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import torch
from torch import nn

from oga_core.benchmarks.models import HEAD, Case, Measured, Method, Norms, l2_of, square_norms
from oga_core.gradients import PerSampleGradients, capture_features, head_gradients


def plain(case: Case, chunk: int = 0) -> Measured:
    """One forward and backward, as a user writes it."""

    def compute() -> Norms:
        case.module.zero_grad(set_to_none=True)
        case.summed(case.module(case.inputs), case.targets).backward()
        return {}

    return compute


def forward(case: Case, chunk: int) -> Measured:
    def compute() -> Norms:
        with torch.no_grad():
            case.module(case.inputs)
        return {}

    return compute


def activations(case: Case, chunk: int) -> Measured:
    """A backward that stops at the activations: the limit of what needs one, since no weight gradient is computed."""
    module = deepcopy(case.module).requires_grad_(False)
    inputs = case.inputs
    if inputs.is_floating_point():
        inputs = inputs.clone().requires_grad_()
    else:
        table = next(m for m in module.modules() if isinstance(m, nn.Embedding))
        table.register_forward_hook(lambda m, i, out: out.requires_grad_())

    def compute() -> Norms:
        inputs.grad = None
        case.summed(module(inputs), case.targets).backward()
        return {}

    return compute


def ours(case: Case, chunk: int, *, l1: bool, l2: bool, width: int) -> Measured:
    head = HEAD if case.classifies else None
    engine = PerSampleGradients(case.module, case.scope, loss=case.loss, l1=l1, l2=l2, width=width, head=head)

    def compute() -> Norms:
        batch = engine(case.inputs, case.targets)
        return {name: value for name, value in (("l1", batch.l1), ("l2", batch.l2)) if value is not None}

    return compute


def closed_form(case: Case, chunk: int) -> Measured:
    """The computation of scoring with the scope ``head``."""

    def compute() -> Norms:
        with capture_features(case.module.get_submodule(HEAD)) as seen, torch.no_grad():  # type: ignore[arg-type]
            gradients = head_gradients(case.module(case.inputs), seen[-1], case.targets)
        return {"l1": gradients.l1, "l2": gradients.l2}

    return compute


def one_at_a_time(case: Case, chunk: int) -> Measured:
    """Autograd of each sample alone, L2 only."""
    parameters = list(case.parameters.values())

    def compute() -> Norms:
        squares = []
        for i in range(len(case.targets)):
            loss = case.summed(case.module(case.inputs[i : i + 1]), case.targets[i : i + 1])
            squares.append(square_norms([g[None].float() for g in torch.autograd.grad(loss, parameters)]))
        return l2_of(squares)

    return compute


def store_each_gradient(case: Case, chunk: int) -> Measured:
    """As DataInf's published code does it: a whole backward pass of each sample alone, and every gradient copied to the CPU."""
    parameters = list(case.parameters.values())

    def compute() -> Norms:
        found = []
        for i in range(len(case.targets)):
            case.module.zero_grad(set_to_none=True)
            case.summed(case.module(case.inputs[i : i + 1]), case.targets[i : i + 1]).backward()
            found.append([p.grad.cpu() for p in parameters if p.grad is not None])
        case.module.zero_grad(set_to_none=True)
        return l2_of([square_norms([g[None].float() for g in grads]) for grads in found])

    return compute


OURS = (
    Method("L2, exact", partial(ours, l1=False, l2=True, width=0)),
    Method("L1 and L2, exact", partial(ours, l1=True, l2=True, width=0)),
    Method("sketch of width 512", partial(ours, l1=False, l2=False, width=512)),
    Method("L1, L2 and sketch", partial(ours, l1=True, l2=True, width=512)),
    Method("head, closed form", closed_form, scope="head"),
)
PLAIN = Method("plain", plain)
LIMITS = (Method("forward only", forward), Method("activations only", activations))
NAIVE = (Method("one at a time", one_at_a_time), Method("one at a time, gradients kept (DataInf)", store_each_gradient))
