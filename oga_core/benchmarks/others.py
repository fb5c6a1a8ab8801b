"""The same computation by other libraries, each in the friendliest way that computes the same thing: L2 norms, or a sketch.

What a method materialises is materialised for as many samples at a time as is fastest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from oga_core.benchmarks.layered import make_layered
from oga_core.benchmarks.models import Case, Measured, Method, Norms, l2_of, split_rows, square_norms
from oga_core.errors import InputError

WIDTH = 512
"""Of a sketch."""
BLOCK = 16
"""Columns of a projection that are drawn at a time: less memory than by default, and as fast."""
CHANGED = "on a copy of the model made of layers only, none in place"


def gradients_by_vmap(case: Case, chunk: int) -> Callable[[], Iterator[dict[str, Tensor]]]:
    """Gradients by name, shape ``(chunk, …)``."""
    wanted = {name: p.detach() for name, p in case.parameters.items()}
    fixed = {name: p.detach() for name, p in case.module.named_parameters() if name not in wanted}

    def loss(values: dict[str, Tensor], inputs: Tensor, target: Tensor) -> Tensor:
        logits = functional_call(case.module, {**fixed, **values}, (inputs[None],))
        return case.summed(logits, target[None])

    every = vmap(grad(loss), in_dims=(None, 0, 0))

    def compute() -> Iterator[dict[str, Tensor]]:
        for rows in split_rows(len(case.targets), chunk):
            with sdpa_kernel(SDPBackend.MATH):  # vmap has no rule for the other kernels and takes one sample at a time
                found = every(wanted, case.inputs[rows], case.targets[rows])
            yield found

    return compute


def by_vmap(case: Case, chunk: int) -> Measured:
    gradients = gradients_by_vmap(case, chunk)
    return lambda: l2_of([square_norms(list(found.values())) for found in gradients()])


def opacus(case: Case, chunk: int) -> Measured:
    from opacus import GradSampleModule

    module = GradSampleModule(make_layered(case, norms=True).train(), loss_reduction="sum", strict=False)
    wanted: list[Any] = [p for p in module.parameters() if p.requires_grad]

    def compute() -> Norms:
        squares = []
        for rows in split_rows(len(case.targets), chunk):
            module.zero_grad(set_to_none=True)
            case.summed(module(case.inputs[rows]), case.targets[rows]).backward()
            squares.append(square_norms([p.grad_sample for p in wanted]))
            module.zero_grad(set_to_none=True)
        return l2_of(squares)

    return compute


def opacus_ghost(case: Case, chunk: int) -> Measured:
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    module = GradSampleModuleFastGradientClipping(
        make_layered(case, norms=True).train(), loss_reduction="sum", strict=False, max_grad_norm=1.0, use_ghost_clipping=True
    )

    def compute() -> Norms:
        squares = []
        for rows in split_rows(len(case.targets), chunk):
            module.zero_grad(set_to_none=True)
            case.summed(module(case.inputs[rows]), case.targets[rows]).backward()
            squares.append(module.get_norm_sample().double() ** 2)
        return l2_of(squares)

    return compute


def backpack(case: Case, chunk: int) -> Measured:
    from backpack import backpack as extended_backward, extend
    from backpack.extensions import BatchL2Grad

    _classifier(case)
    module = extend(make_layered(case, norms=False))
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))
    wanted: list[Any] = [p for p in module.parameters() if p.requires_grad]

    def compute() -> Norms:
        squares = []
        for rows in split_rows(len(case.targets), chunk):
            module.zero_grad(set_to_none=True)
            with extended_backward(BatchL2Grad()):
                loss(module(case.inputs[rows]), case.targets[rows]).backward()
            if left := [name for name, p in module.named_parameters() if p.requires_grad and not hasattr(p, "batch_l2")]:
                kinds = {type(module.get_submodule(name.rpartition(".")[0])).__name__ for name in left}
                raise InputError(f"has no rule for {', '.join(sorted(kinds))}")
            squares.append(torch.stack([p.batch_l2 for p in wanted]).double().sum(0))
        return l2_of(squares)

    return compute


def captum(case: Case, chunk: int) -> Measured:
    from captum._utils.gradient import _compute_jacobian_wrt_params_with_sample_wise_trick as jacobian

    _classifier(case)
    module, loss = make_layered(case, norms=False), nn.CrossEntropyLoss(reduction="sum")
    layers = [m for m in module.modules() if any(p.requires_grad for p in m.parameters(recurse=False))]
    known = [m for m in layers if type(m) in (nn.Conv2d, nn.Linear)]

    def compute() -> Norms:
        squares = []
        for rows in split_rows(len(case.targets), chunk):
            jacobian(module, (case.inputs[rows],), case.targets[rows], loss, "sum", known)
            wanted: list[Any] = [p for m in known for p in m.parameters() if p.requires_grad]
            squares.append(square_norms([p.sample_grad for p in wanted]))
            for p in wanted:
                del p.sample_grad
        return l2_of(squares)

    return compute


def _classifier(case: Case) -> None:
    if not case.classifies:
        raise InputError("takes a loss that is a module of torch")


def trak(case: Case, chunk: int) -> Measured:
    from trak.projectors import BasicProjector, ProjectionType

    return _project(case, chunk, partial(BasicProjector, proj_type=ProjectionType.rademacher))


def dattri(case: Case, chunk: int) -> Measured:
    from dattri.func.projection import BasicProjector, ProjectionType

    return _project(case, chunk, partial(BasicProjector, proj_type=ProjectionType.rademacher))


def _project(case: Case, chunk: int, make: Callable[..., Any]) -> Measured:
    gradients = gradients_by_vmap(case, chunk)
    numbers = sum(p.numel() for p in case.parameters.values())

    def compute() -> Norms:
        projector = make(numbers, proj_dim=WIDTH, seed=0, device=case.inputs.device, block_size=BLOCK)
        rows = torch.empty(len(case.targets), numbers, device=case.inputs.device)
        for some, found in zip(split_rows(len(rows), chunk), gradients()):
            torch.cat([g.flatten(1) for g in found.values()], 1, out=rows[some])
        projector.project(rows, 0)
        return {}

    return compute


CHUNKS = (4, 16, 32)
OTHERS = {
    "vmap": Method("torch.func vmap(grad), L2", by_vmap, CHUNKS),
    "opacus": Method("Opacus, L2", opacus, CHUNKS, package="opacus", note=CHANGED),
    "opacus-ghost": Method("Opacus ghost norms, L2", opacus_ghost, (16, 0), package="opacus", note=CHANGED),
    "backpack": Method("BackPACK BatchL2Grad, L2", backpack, (16, 0), package="backpack", note=CHANGED),
    "captum": Method("Captum sample-wise, L2", captum, CHUNKS, package="captum", note=CHANGED),
    "trak": Method("TRAK projector, sketch of 512", trak, (8,), package="trak", note="of gradients by vmap"),
    "dattri": Method("dattri projector, sketch of 512", dattri, (8,), package="dattri", note="of gradients by vmap"),
}
"""By the name that ``--against`` takes."""
