"""The reference for per-sample gradients: autograd of one sample at a time, with sums in float64, and none of OGA's code."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oga_core.gradients import GradientBatch, PerSampleGradients

Loss = Callable[[Tensor, Tensor], Tensor]
"""Of a model's output and targets to one number for all of the samples."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


def sample(inputs: Any, i: int) -> Any:
    """The inputs of a sample alone."""
    if isinstance(inputs, Tensor):
        return inputs[i : i + 1]
    if isinstance(inputs, Mapping):
        return {key: sample(value, i) for key, value in inputs.items()}
    return tuple(sample(value, i) for value in inputs)


def output_of(module: nn.Module, inputs: Any) -> Tensor:
    if isinstance(inputs, Mapping):
        out = module(**inputs)
    elif isinstance(inputs, tuple):
        out = module(*inputs)
    else:
        out = module(inputs)
    found: Tensor = out if isinstance(out, Tensor) else out.logits
    return found


def cross_entropy(output: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(output, targets, reduction="sum")


@dataclass
class Norms:
    """L1 and L2 norms by parameter name, each of shape ``(n,)`` in float64, and losses."""

    l1: dict[str, np.ndarray]
    l2: dict[str, np.ndarray]
    losses: np.ndarray

    def norm(self, order: int, names: Collection[str] | None = None) -> np.ndarray:
        """Norms over the parameters named, or over all."""
        if order == 1:
            return np.sum([norms for name, norms in self.l1.items() if names is None or name in names], 0)
        return np.sqrt(np.sum([norms**2 for name, norms in self.l2.items() if names is None or name in names], 0))


@dataclass
class Alone(Norms):
    """Gradients by parameter name besides, each of shape ``(n, *parameter)`` in float64."""

    gradients: dict[str, Tensor]


def each_alone(module: nn.Module, inputs: Any, targets: Tensor, loss: Loss) -> Iterator[tuple[float, dict[str, Tensor]]]:
    """Loss and gradients of every trainable parameter, one sample after the other; the loss is taken in float64."""
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    for i in range(len(targets)):
        value = loss(output_of(module, sample(inputs, i)).double(), targets[i : i + 1])
        gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
        yield (
            float(value.detach()),
            {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(parameters.items(), gradients)},
        )


def norms_alone(module: nn.Module, inputs: Any, targets: Tensor, loss: Loss = cross_entropy) -> Norms:
    """Norms by autograd of each sample alone, for models whose gradients are large."""
    losses, rows = [], []
    for value, gradients in each_alone(module, inputs, targets, loss):
        losses.append(value)
        rows.append({name: (float(g.abs().sum(dtype=torch.float64)), float(g.double().norm())) for name, g in gradients.items()})
    l1, l2 = ({name: np.array([row[name][k] for row in rows]) for name in rows[0]} for k in (0, 1))
    return Norms(l1, l2, np.array(losses))


def alone(module: nn.Module, inputs: Any, targets: Tensor, loss: Loss = cross_entropy) -> Alone:
    """Gradients by autograd of each sample alone."""
    losses, rows = zip(*each_alone(module, inputs, targets, loss))
    gradients = {name: torch.stack([row[name] for row in rows]).double() for name in rows[0]}
    flat = {name: g.reshape(len(g), -1) for name, g in gradients.items()}
    return Alone(
        {name: g.abs().sum(1).numpy() for name, g in flat.items()},
        {name: g.norm(dim=1).numpy() for name, g in flat.items()},
        np.array(losses),
        gradients,
    )


def assert_alike(found: GradientBatch, true: Norms, engine: PerSampleGradients, tolerance: float) -> None:
    """The norms that were asked for, and the losses, are those of the samples alone."""
    np.testing.assert_allclose(found.losses, true.losses, rtol=tolerance, atol=tolerance)
    if found.l1 is not None:
        np.testing.assert_allclose(found.l1, true.norm(1, engine.parameters), rtol=tolerance)
    if found.l2 is not None:
        np.testing.assert_allclose(found.l2, true.norm(2, engine.parameters), rtol=tolerance)


def state(module: nn.Module) -> dict[str, Any]:
    """All that a pass over a model must leave as it was."""
    return {
        "flags": {name: p.requires_grad for name, p in module.named_parameters()},
        "values": {name: t.detach().clone() for name, t in module.state_dict().items()},
        "places": {name: (id(p), p.data_ptr(), p.stride()) for name, p in module.named_parameters()},
        "training": {name: m.training for name, m in module.named_modules()},
        "hooks": {name: [len(getattr(m, kind)) for kind in HOOKS] for name, m in module.named_modules()},
        "marks": {name: sorted(vars(p)) for name, p in module.named_parameters()},
    }


def assert_unchanged(module: nn.Module, before: dict[str, Any]) -> None:
    after = state(module)
    for what in before:
        if what == "values":
            changed = [name for name, t in before[what].items() if not torch.equal(t, after[what][name])]
            assert not changed
        else:
            assert before[what] == after[what], what
    assert all(p.grad is None for p in module.parameters())
