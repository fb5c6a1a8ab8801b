"""The models that gradients are measured on, and a batch for each."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from oga_core.gradients import parameters_in

CLASSES = 10


class Encoder(nn.Module):
    """Embedded tokens and learned positions, transformer layers, the mean over the tokens, a linear head."""

    def __init__(self, tokens: int, length: int, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.layers(self.embedding(tokens) + self.positions).mean(1))
        return logits


def images(batch: int, side: int) -> Tensor:
    return torch.randn(batch, 3, side, side)


def texts(batch: int, tokens: int, length: int) -> Tensor:
    return torch.randint(tokens, (batch, length))


def small_resnet18() -> nn.Module:
    """torchvision's ResNet-18 as it is commonly changed for images of 32 × 32."""
    module = resnet18(num_classes=CLASSES)
    module.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    module.maxpool = nn.Identity()
    return module


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor]]] = {
    "resnet18": (small_resnet18, partial(images, side=32)),
    "encoder": (partial(Encoder, 8000, 64, 256, 4), partial(texts, tokens=8000, length=64)),
    "tiny": (partial(Encoder, 50, 5, 16, 1), partial(texts, tokens=50, length=5)),
}
"""What makes each model and a batch for it; ``tiny`` only shows that the benchmark works."""
SHOWN = ("resnet18", "encoder")
HEAD = "fc"
"""Name of the layer that gives the logits, in all of them."""


@dataclass(frozen=True)
class Case:
    """A model in eval mode with a batch of n samples and their given labels, and the scope."""

    module: nn.Module
    inputs: Tensor
    targets: Tensor
    scope: str

    @classmethod
    def of(cls, model: str, batch: int, scope: str) -> Case:
        """The same each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            make, batch_of = MODELS[model]
            module, inputs, targets = make(), batch_of(batch), torch.randint(CLASSES, (batch,))
            norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
            for norm in norms:
                norm.momentum = 1.0
            if norms:  # means and variances of real activations; with those of a new model no loss would be sensible
                with torch.no_grad():
                    module.train()(inputs)
        return cls(module.eval(), inputs, targets, scope)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Those in the scope."""
        return parameters_in(self.module, self.scope, HEAD)

    def first(self, n: int) -> Case:
        return replace(self, inputs=self.inputs[:n], targets=self.targets[:n])

    def double(self) -> Case:
        inputs = self.inputs.double() if self.inputs.is_floating_point() else self.inputs
        return replace(self, module=deepcopy(self.module).double(), inputs=inputs)


Norms = dict[str, np.ndarray]
"""What a method gives for a batch: ``l1``, ``l2``, both or neither, each float64 of shape ``(n,)``."""
Work = Callable[[], Norms]


@dataclass(frozen=True)
class Method:
    """A way of getting something of a batch.

    Attributes
    ----------
    name
        As in the table.
    prepare
        Makes of a case, and of a number of samples done at a time, what is measured; does no work of it yet.
    chunks
        Numbers of samples at a time among which the fastest is taken; 0 for the whole batch.
    scope
        What it covers, where that is not what was asked for.
    package
        What must be installed.
    note
        What the reader should know.
    """

    name: str
    prepare: Callable[[Case, int], Work]
    chunks: tuple[int, ...] = (0,)
    scope: str | None = None
    package: str | None = None
    note: str = ""


def parts(n: int, chunk: int) -> list[slice]:
    """The rows of a batch, so many at a time."""
    step = chunk or n
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def l2_of(squares: list[Tensor]) -> Norms:
    """Norms from squared norms of some samples after the other."""
    return {"l2": torch.cat(squares).double().sqrt().numpy()}


def squared(grads: list[Tensor]) -> Tensor:
    """Squared norms over gradients of shape ``(n, …)``; dot products are quick and keep the digits."""
    sums = [torch.stack([torch.dot(row, row) for row in grad.detach().flatten(1)]).double() for grad in grads]
    return torch.stack(sums).sum(0)
