"""The models that gradients are measured on, and a batch for each."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from oga_core.errors import InputError
from oga_core.gradients import ALL, LORA, LOSSES, parameters_in
from oga_core.models.hugging_face import import_transformers

CLASSES = 10
RANK = 8
"""Of the adapters on query and value."""


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


class Adapted(nn.Module):
    """A transformer of ``transformers`` whose attention's queries and values have adapters, and a linear layer above it.

    Parameters
    ----------
    body
        The transformer without a head.
    adapted
        Names of the layers with adapters.
    outputs
        Of the linear layer: one a class from the first token, or one a token from every token, which predicts the next.
    """

    def __init__(self, body: nn.Module, adapted: list[str], outputs: int, writes: bool) -> None:
        super().__init__()
        import peft

        # Those of a trained adapter: a fresh B is all zeros.
        self.body = peft.get_peft_model(body, peft.LoraConfig(r=RANK, target_modules=adapted, init_lora_weights=False))
        self.fc = nn.Linear(body.config.hidden_size, outputs, bias=not writes).requires_grad_(not writes)  # type: ignore[union-attr, arg-type]
        self.writes = writes

    def forward(self, tokens: Tensor) -> Tensor:
        found = self.body(input_ids=tokens).last_hidden_state
        logits: Tensor = self.fc(found if self.writes else found[:, 0])
        return logits


def bert(tokens: int, length: int, width: int, layers: int, heads: int) -> nn.Module:
    """BERT's architecture, a classifier."""
    hf = _transformers()
    config = hf.BertConfig(
        vocab_size=tokens,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return Adapted(hf.BertModel(config, add_pooling_layer=False), ["query", "value"], CLASSES, writes=False)


def llama(tokens: int, length: int, width: int, layers: int, heads: int, groups: int, inner: int) -> nn.Module:
    """Llama's architecture, a language model."""
    hf = _transformers()
    config = hf.LlamaConfig(
        vocab_size=tokens,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        intermediate_size=inner,
        max_position_embeddings=length,
        use_cache=False,
    )
    return Adapted(hf.LlamaModel(config), ["q_proj", "v_proj"], tokens, writes=True)


def _transformers() -> Any:
    if find_spec("peft") is None:
        raise InputError("this needs transformers and peft: pip install 'oga-core[hf]'")
    return import_transformers()


@dataclass(frozen=True)
class Model:
    """A model and its batches.

    Attributes
    ----------
    make
        Makes the model.
    inputs
        Makes inputs of so many samples.
    writes
        Whether it predicts each next token of its inputs, and no class.
    scope
        What is measured unless another is asked for.
    """

    make: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    writes: bool = False
    scope: str = ALL


def _bert(tokens: int, length: int, width: int, layers: int, heads: int) -> Model:
    return Model(partial(bert, tokens, length, width, layers, heads), partial(texts, tokens=tokens, length=length), scope=LORA)


def _llama(tokens: int, length: int, width: int, layers: int, heads: int, groups: int, inner: int) -> Model:
    make = partial(llama, tokens, length, width, layers, heads, groups, inner)
    return Model(make, partial(texts, tokens=tokens, length=length), True, LORA)


MODELS = {
    "resnet18": Model(small_resnet18, partial(images, side=32)),
    "encoder": Model(partial(Encoder, 8000, 64, 256, 4), partial(texts, tokens=8000, length=64)),
    "bert": _bert(8000, 128, 256, 4, 4),
    "llama": _llama(4000, 128, 256, 4, 4, 2, 688),
    "bert-base": _bert(30522, 512, 768, 12, 12),
    "llama-1b": _llama(32000, 512, 2048, 22, 32, 4, 5632),
    "tiny": Model(partial(Encoder, 50, 5, 16, 1), partial(texts, tokens=50, length=5)),
    "tiny-bert": _bert(50, 6, 16, 1, 2),
    "tiny-llama": _llama(50, 6, 16, 1, 2, 1, 24),
}
"""By name: ``bert-base`` and ``llama-1b`` are for a GPU, the tiny ones only show that the benchmark works."""
SHOWN = ("resnet18", "encoder")
HEAD = "fc"
"""Name of the layer that gives the logits, in all of them."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Case:
    """A model in eval mode with a batch of n samples and their targets, the scope and the name of the loss."""

    module: nn.Module
    inputs: Tensor
    targets: Tensor
    scope: str
    loss: str = "cross_entropy"

    @classmethod
    def of(cls, model: str, batch: int, scope: str, device: str = "cpu", dtype: str = "float32") -> Case:
        """The same each time."""
        made, where = MODELS[model], torch.device(device)
        with torch.random.fork_rng([where] if where.type == "cuda" else []), where:
            torch.manual_seed(0)
            module, inputs = made.make(), made.inputs(batch)
            targets = inputs if made.writes else torch.randint(CLASSES, (batch,))
            norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
            for norm in norms:
                norm.momentum = 1.0
            if norms:  # means and variances of real activations; with those of a new model no loss would be sensible
                with torch.no_grad():
                    module.train()(inputs)
        return cls(module.eval(), inputs, targets, scope, "next_token" if made.writes else "cross_entropy").to(DTYPES[dtype])

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The parameters in the scope."""
        return parameters_in(self.module, self.scope, HEAD)

    @property
    def classifies(self) -> bool:
        """Whether the targets are classes, and the head's gradient has a closed form."""
        return self.loss == "cross_entropy"

    def summed(self, output: Tensor, targets: Tensor) -> Tensor:
        """The loss of some samples, added up, in single precision at least."""
        return LOSSES[self.loss](output.float() if output.element_size() < 4 else output, targets).sum()

    def first(self, n: int) -> Case:
        return replace(self, inputs=self.inputs[:n], targets=self.targets[:n])

    def to(self, dtype: torch.dtype) -> Case:
        """The same in another precision; the model is changed."""
        inputs = self.inputs.to(dtype) if self.inputs.is_floating_point() else self.inputs
        return replace(self, module=self.module.to(dtype), inputs=inputs)

    def double(self) -> Case:
        """A copy in double precision."""
        return replace(self, module=deepcopy(self.module)).to(torch.float64)


Norms = dict[str, np.ndarray]
"""Norms that a method gives for a batch: ``l1``, ``l2``, both or neither, each float64 of shape ``(n,)``."""
Measured = Callable[[], Norms]


@dataclass(frozen=True)
class Method:
    """A way of getting something of a batch.

    Attributes
    ----------
    name
        As in the table.
    prepare
        Makes the measured function from a case and the number of samples at a time; computes nothing yet.
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
    prepare: Callable[[Case, int], Measured]
    chunks: tuple[int, ...] = (0,)
    scope: str | None = None
    package: str | None = None
    note: str = ""


def split_rows(n: int, chunk: int) -> list[slice]:
    """The rows of a batch, so many at a time."""
    step = chunk or n
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def l2_of(squares: list[Tensor]) -> Norms:
    """Norms from squared norms of some samples after the other."""
    return {"l2": torch.cat(squares).double().sqrt().cpu().numpy()}


def square_norms(grads: list[Tensor]) -> Tensor:
    """Squared norms over gradients of shape ``(n, …)``; dot products are quick and keep the digits."""
    sums = [torch.stack([torch.dot(row, row) for row in grad.detach().flatten(1)]).double() for grad in grads]
    return torch.stack(sums).sum(0)
