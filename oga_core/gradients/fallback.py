"""The fallback: a parameter that no rule reaches goes through ``vmap``, or one sample at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from oga_core.errors import InputError
from oga_core.gradients.context import set_requires_grad
from oga_core.gradients.gemm import piece
from oga_core.gradients.losses import Loss
from oga_core.gradients.tensor_tree import map_tensors

LARGEST = 8
"""Gradients together may have so many pieces' numbers."""
PRECISE = 1 << 16
"""Numbers in a sample's output up to which the loss is taken in double precision: a language model has more, one a token."""


@dataclass(frozen=True)
class Model:
    """A model as the fallback needs it.

    Attributes
    ----------
    output
        The tensor that the loss is taken of, from the module's arguments.
    loss
        Of an output and targets, shape ``(n,)``.
    take
        Some samples of a batch's inputs.
    collate
        From inputs to the module's arguments.
    """

    module: nn.Module
    output: Callable[[Any], Tensor]
    loss: Loss
    take: Callable[[Any, list[int]], Any]
    collate: Callable[[Any], Any]


Gradients = Iterator[tuple[slice, dict[str, Tensor]]]


def one_by_one(model: Model, parameters: dict[str, nn.Parameter], inputs: Any, targets: Tensor, start: int = 0) -> Gradients:
    """Gradients by name, shape ``(1, *parameter)``, by autograd of each sample from ``start`` on alone.

    A parameter without influence on the loss is left out.
    """
    for i in range(start, len(targets)):
        with torch.enable_grad(), set_requires_grad(parameters.values(), True):
            loss = model.loss(precise(model.output(model.collate(model.take(inputs, [i])))), targets[i : i + 1]).sum()
            found: Sequence[Tensor | None] = [None] * len(parameters)
            if loss.requires_grad:
                try:
                    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
                except RuntimeError as error:
                    if "use_reentrant" not in str(error):
                        raise
                    raise InputError(
                        "the model calls torch.utils.checkpoint with use_reentrant=True, through which no gradient "
                        "can be asked for; call it with use_reentrant=False"
                    ) from error
        yield slice(i, i + 1), {name: g[None] for name, g in zip(parameters, found) if g is not None}


def by_vmap(model: Model, parameters: dict[str, nn.Parameter], inputs: Any, targets: Tensor) -> Gradients:
    """Gradients by name, shape ``(samples, *parameter)``, by ``torch.func``. Raises for unsupported operations."""
    n = len(targets)
    plain = {name: p.detach() for name, p in parameters.items()}

    class Whole(nn.Module):
        """The module's output, so that parameters can be put in its place."""

        def __init__(self) -> None:
            super().__init__()
            self.module = model.module

        def forward(self, arguments: Any) -> Tensor:
            return model.output(arguments)

    whole = Whole()

    def loss_of(values: dict[str, Tensor], arguments: Any, target: Tensor) -> Tensor:
        output: Tensor = functional_call(whole, {f"module.{k}": v for k, v in values.items()}, (arguments,))
        return model.loss(precise(output), target[None])[0]

    numbers = sum(p.numel() for p in plain.values())
    step = max(1, LARGEST * piece(targets) // max(1, numbers))
    for start in range(0, n, step):
        samples = slice(start, min(start + step, n))
        batch = model.collate(model.take(inputs, list(range(n)[samples])))
        count = samples.stop - samples.start
        dims = map_tensors(batch, partial(_dimension_of_samples, count))
        if dims == map_tensors(batch, lambda _: None):
            raise ValueError("no argument has a dimension of samples")
        # vmap takes the dimension of samples away, and the model wants one.
        batch = map_tensors(batch, partial(_with_another, count))
        yield samples, vmap(grad(loss_of), in_dims=(None, dims, 0), randomness="error")(plain, batch, targets[samples])


def _dimension_of_samples(count: int, tensor: Tensor) -> int | None:
    return 0 if tensor.dim() and len(tensor) == count else None


def _with_another(count: int, tensor: Tensor) -> Tensor:
    return tensor if _dimension_of_samples(count, tensor) is None else tensor.unsqueeze(1)


def precise(output: Tensor) -> Tensor:
    """The output in double precision, in which the loss of a well fitted sample keeps its digits; in single if it is huge."""
    if not output.is_floating_point():
        return output
    return output.double() if output[:1].numel() <= PRECISE else output.to(torch.promote_types(output.dtype, torch.float32))
