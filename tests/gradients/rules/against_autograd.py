"""What every rule promises: norms and sketches of one-sample autograd, by each of the ways in which they are computed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch
from hypothesis import settings, strategies as st
from torch import Tensor, nn

from oga_core.gradients import PerSampleGradients, gemm, sketch
from oga_core.gradients.terms import convolution, outer
from tests.gradients.one_sample import TOLERANCE, Alone, Loss, alone, cross_entropy, output_of

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
N = 6
"""Samples: one more than the probe takes."""

some = partial(settings, deadline=None)
dtypes = st.sampled_from([torch.float64, torch.float32])
seeds = st.integers(0, 2**31)

LOW: dict[ModuleType, dict[str, Any]] = {
    gemm: {"PIECE": 60, "SMALL": 1},
    sketch: {"WIDE": 24, "THIN": 40, "FACTOR": 4, "KERNEL_FACTORS": (3, 2), "ORTHOGONAL": 7},
    outer: {"LARGE_GRAM": 8, "GRAMS": 2},
    convolution: {"UNFOLDED": 6, "FEW_CHANNELS": 1},
}
"""Sizes from which on something is done another way, so low that small tensors go that way too."""


@dataclass(frozen=True)
class Way:
    """What is asked for at once, and whether the sizes are `LOW`."""

    l1: bool
    width: int = 0
    kind: str = "kronecker"
    low: bool = False
    l2: bool = True

    @contextmanager
    def sizes(self) -> Iterator[None]:
        with ExitStack() as stack:
            for module, values in LOW.items() if self.low else ():
                stack.enter_context(patch.multiple(module, **values))
            yield


WAYS = [
    Way(l1=True, width=64),
    Way(l1=False),
    Way(l1=False, width=16, kind="sign_fold"),
    Way(l1=False, low=True),
    Way(l1=True, width=16, low=True),
    Way(l1=False, l2=False, width=16, low=True),
]


def squared_error(output: Tensor, targets: Tensor) -> Tensor:
    return (output - targets.view(output.shape)).square().sum()


LOSSES: dict[str, Loss] = {"squared_error": squared_error, "cross_entropy": cross_entropy}


@dataclass(frozen=True)
class Case:
    """A model, a batch, and the true gradients of its samples: those of a copy in double precision."""

    module: nn.Module
    inputs: Any
    targets: Tensor
    loss: str
    true: Alone
    tolerance: float
    left: Sequence[str]

    def check(self, way: Way) -> None:
        engine = PerSampleGradients(
            self.module, loss=self.loss, l1=way.l1, l2=way.l2, width=way.width, kind=way.kind, seed=len(self.targets)
        )
        with way.sizes():
            found = engine(self.inputs, self.targets)
            if way.l1:
                assert found.l1 is not None
                np.testing.assert_allclose(found.l1, self.true.norm(1), rtol=self.tolerance)
            if way.l2:
                assert found.l2 is not None
                np.testing.assert_allclose(found.l2, self.true.norm(2), rtol=self.tolerance)
            if way.width:
                assert found.sketch is not None
                expected = self.projected(way)
                difference = np.linalg.norm(found.sketch - expected, axis=1)
                # The error of a sketch is that of its gradient, which may be longer.
                assert (difference <= self.tolerance * (np.linalg.norm(expected, axis=1) + self.true.norm(2))).all()
        self.check_notes(engine.notes)

    def projected(self, way: Way) -> np.ndarray:
        parts = []
        for name, parameter in self.module.named_parameters():
            if not parameter.requires_grad:
                continue
            drawn = sketch.projection(
                name, parameter.shape, parameter.detach(), width=way.width, seed=len(self.targets), kind=way.kind
            )
            parts.append(drawn.dense(self.true.gradients[name].to(parameter.device)).double().cpu().numpy())
        return np.sum(parts, 0)

    def check_notes(self, notes: list[str]) -> None:
        if not self.left:
            assert notes == []
            return
        (note,) = notes
        parameters = dict(self.module.named_parameters())
        assert note.startswith(f"{len(self.left)} of {len(parameters)} parameters")
        assert f"({sum(parameters[name].numel() for name in self.left):,} of " in note
        assert all(name in note for name in self.left[:8])


def assert_exact(
    module: nn.Module,
    inputs: Any,
    targets: Tensor | None = None,
    *,
    loss: str = "squared_error",
    tolerance: float | None = None,
    ways: Sequence[Way] = (),
    left: Sequence[str] = (),
) -> None:
    """Norms and sketches are those of one-sample autograd.

    Parameters
    ----------
    module, inputs
        Of any dtype; the samples are the first dimension of inputs and output.
    targets
        By default random ones.
    tolerance
        By default 1e-9 in double precision and 1e-4 in single.
    ways
        By default all of `WAYS`.
    left
        Names of the parameters that no rule reaches; the user must be told of them, and of no others.
    """
    module.eval()
    first = next(module.parameters())
    if targets is None:
        with torch.no_grad():
            targets = torch.randn_like(output_of(module, inputs))
    precise = copy.deepcopy(module).double().cpu()
    true = alone(precise, _double(inputs), _double(targets), LOSSES[loss])
    case = Case(module, inputs, targets, loss, true, tolerance or TOLERANCE[first.dtype], left)
    for way in ways or WAYS:
        case.check(way)


def _double(inputs: Any) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.cpu().double() if inputs.is_floating_point() else inputs.cpu()
    if isinstance(inputs, Mapping):
        return {key: _double(value) for key, value in inputs.items()}
    return tuple(_double(value) for value in inputs)


Forward = Callable[..., Tensor]


class Lambda(nn.Module):
    """A model of bare parameters and a function ``forward(model, *inputs)`` of them."""

    def __init__(self, forward: Forward, **parameters: Tensor | nn.Module) -> None:
        super().__init__()
        self._forward = forward
        for name, value in parameters.items():
            setattr(self, name, value if isinstance(value, nn.Module) else nn.Parameter(value))

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._forward(self, *inputs)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
