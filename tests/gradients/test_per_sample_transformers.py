"""Models of ``transformers``, with and without adapters of PEFT: norms are those of one-sample autograd."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import peft
import pytest
import torch
import torch.nn.functional as F
import transformers as hf
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from oga_core.errors import InputError
from oga_core.gradients import PerSampleGradients
from tests.gradients.one_sample import TOLERANCE, Loss, assert_alike, assert_unchanged, cross_entropy, norms_alone, state

TOKENS, LENGTH, PADDING, LABELS = 50, 7, 0, 5
KEPT = [7, 5, 6, 2, 7, 3]
"""Tokens of each sample that are not padding."""
SIZE: dict[str, Any] = {
    "vocab_size": TOKENS,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 16,
    "pad_token_id": PADDING,
    "bos_token_id": None,
    "eos_token_id": None,
}
CLASSES: dict[str, Any] = {"num_labels": LABELS}
LLAMA = SIZE | {"num_key_value_heads": 2}
GPT2: dict[str, Any] = {
    "vocab_size": TOKENS,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 16,
    "pad_token_id": PADDING,
    "bos_token_id": None,
    "eos_token_id": None,
}


def next_token(output: Tensor, targets: Tensor) -> Tensor:
    """The mean over a sample's own targets."""
    return F.cross_entropy(output[0, :-1], targets[0, 1:])


@dataclass(frozen=True)
class Family:
    """A model, how to adapt it, and what it is trained for."""

    make: Callable[[], nn.Module]
    adapted: list[str]
    writes: bool = False
    head: str | None = None
    turned: bool = False

    @property
    def loss(self) -> tuple[str, Loss]:
        return ("next_token", next_token) if self.writes else ("cross_entropy", cross_entropy)


FAMILIES = {
    "bert": Family(
        lambda: hf.BertForSequenceClassification(hf.BertConfig(**SIZE | CLASSES)), ["query", "value"], head="classifier"
    ),
    "distilbert": Family(
        lambda: hf.DistilBertForSequenceClassification(
            hf.DistilBertConfig(
                vocab_size=TOKENS, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=16, **CLASSES
            )
        ),
        ["q_lin", "lin1"],
        head="classifier",
    ),
    "llama": Family(lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA)), ["q_proj", "v_proj", "down_proj"], writes=True),
    "llama with tied weights": Family(
        lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA, tie_word_embeddings=True)), ["q_proj", "embed_tokens"], writes=True
    ),
    "llama classifier": Family(
        lambda: hf.LlamaForSequenceClassification(hf.LlamaConfig(**LLAMA | CLASSES)), ["q_proj", "v_proj"], head="score"
    ),
    "gpt2": Family(lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**GPT2)), ["c_attn", "c_proj"], writes=True, turned=True),
    "gpt2 classifier": Family(
        lambda: hf.GPT2ForSequenceClassification(hf.GPT2Config(**GPT2 | CLASSES)), ["c_attn"], head="score", turned=True
    ),
    "qwen2": Family(lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**LLAMA)), ["q_proj", "v_proj"], writes=True),
}


def made(family: Family, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return family.make().eval().to(dtype)


def adapted(family: Family, dtype: torch.dtype, **options: Any) -> nn.Module:
    """With LoRA adapters as after some training, and a head that is trained whole."""
    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=3,
        target_modules=family.adapted,
        init_lora_weights=False,
        lora_dropout=0.1,
        fan_in_fan_out=family.turned,
        modules_to_save=[family.head] if family.head else None,
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.get_peft_model(family.make(), config).eval().to(dtype)


def batch(family: Family) -> tuple[dict[str, Tensor], Tensor]:
    ids = torch.randint(1, TOKENS, (len(KEPT), LENGTH))
    mask = (torch.arange(LENGTH) < torch.tensor(KEPT)[:, None]).long()
    ids = ids.masked_fill(mask == 0, PADDING)
    targets = ids.masked_fill(mask == 0, -100) if family.writes else torch.randint(LABELS, (len(KEPT),))
    return {"input_ids": ids, "attention_mask": mask}, targets


def alone_without_padding(
    module: nn.Module, x: dict[str, Tensor], y: Tensor, loss: Loss, names: Collection[str]
) -> tuple[np.ndarray, np.ndarray]:
    """L1 and L2 norms over some parameters, by autograd of each sample in a batch of its own, as long as it is itself."""
    norms = []
    for i, kept in enumerate(x["attention_mask"].sum(1).tolist()):
        own = y[i : i + 1, :kept] if y.dim() == 2 else y[i : i + 1]
        true = norms_alone(module, {name: t[i : i + 1, :kept] for name, t in x.items()}, own, loss)
        norms.append([true.norm(1, names)[0], true.norm(2, names)[0]])
    l1, l2 = np.array(norms).T
    return l1, l2


def assert_exact(module: nn.Module, family: Family, scope: str, dtype: torch.dtype) -> None:
    x, y = batch(family)
    loss, reference = family.loss
    true, before = norms_alone(module, x, y, reference), state(module)
    for l1 in (True, False):
        engine = PerSampleGradients(module, scope, loss=loss, l1=l1, width=32 if l1 else 0)
        assert_alike(engine(x, y), true, engine, TOLERANCE[dtype])
        assert engine.notes == []
        assert_unchanged(module, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", list(FAMILIES))
def test_every_parameter_is_reached_and_norms_are_exact_with_padding(name: str, dtype: torch.dtype) -> None:
    assert_exact(made(FAMILIES[name], dtype), FAMILIES[name], "all", dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scope", ["lora", "all"])
@pytest.mark.parametrize("name", list(FAMILIES))
def test_adapters_are_reached_and_norms_are_exact_with_padding(name: str, scope: str, dtype: torch.dtype) -> None:
    module = adapted(FAMILIES[name], dtype)
    assert_exact(module, FAMILIES[name], scope, dtype)
    names = PerSampleGradients(module, scope, width=0).parameters
    assert {n for n in names if "lora_" in n} == {n for n, p in module.named_parameters() if "lora_" in n}
    assert all("lora_" in n for n in names) == (scope == "lora" or FAMILIES[name].head is None)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scope", ["lora", "head", "all"])
@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_sample_in_a_padded_batch_has_the_gradient_that_it_has_alone(name: str, scope: str, dtype: torch.dtype) -> None:
    family = FAMILIES[name]
    module = adapted(family, dtype) if scope == "lora" else made(family, dtype)
    x, y = batch(family)
    loss, reference = family.loss
    head = family.head or "lm_head"
    engine = PerSampleGradients(module, scope, loss=loss, width=16, head=head if scope == "head" else None)
    found = engine(x, y)
    meant = {id(module.get_parameter(n)) for n in engine.parameters}  # a tied head has the name of the embedding, too
    l1, l2 = alone_without_padding(module, x, y, reference, [n for n, p in module.named_parameters() if id(p) in meant])
    # Autograd in bfloat16 itself is as far from the truth as that.
    tolerance = TOLERANCE.get(dtype, 0.03)
    assert found.l1 is not None
    assert found.l2 is not None
    np.testing.assert_allclose(found.l1, l1, rtol=tolerance)
    np.testing.assert_allclose(found.l2, l2, rtol=tolerance)
    assert engine.notes == []


@pytest.mark.parametrize("kind", [False, True], ids=["as it is usual", "reentrant"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["bert", "llama", "gpt2"])
def test_a_model_with_gradient_checkpointing_is_scored_and_keeps_it(name: str, training: bool, kind: bool) -> None:
    family = FAMILIES[name]
    module = adapted(family, torch.float64)
    for m in module.modules():  # the same each time in training mode
        for rate in ("p", "attention_dropout", "dropout_prob"):
            if isinstance(getattr(m, rate, None), float):
                setattr(m, rate, 0.0)
    x, y = batch(family)
    loss, reference = family.loss
    true = norms_alone(module, x, y, reference)
    module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": kind})  # type: ignore[operator]
    module.train(training)
    before = [vars(m).get("gradient_checkpointing") for m in module.modules()]
    assert any(before)
    engine = PerSampleGradients(module, "lora", loss=loss, width=0)
    assert_alike(engine(x, y), true, engine, TOLERANCE[torch.float64])
    assert engine.notes == []
    assert [vars(m).get("gradient_checkpointing") for m in module.modules()] == before


class Recomputing(nn.Module):
    """A model that computes a layer's activations twice, by its own call of torch."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.first, self.second, self.last, self.reentrant = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, LABELS), reentrant

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = checkpoint(lambda h: self.second(h).tanh(), self.first(x).tanh(), use_reentrant=self.reentrant)
        logits: Tensor = self.last(hidden)
        return logits


def test_a_model_that_calls_checkpoint_itself_is_exact_or_refused() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(6, 6, dtype=torch.float64), torch.arange(6) % LABELS
    module = Recomputing(False).double().eval()
    engine = PerSampleGradients(module, width=0)
    assert_alike(engine(x, y), norms_alone(module, x, y), engine, TOLERANCE[torch.float64])
    with pytest.raises(InputError, match="use_reentrant=False"):
        PerSampleGradients(Recomputing(True).double().eval(), width=0)(x, y)


@pytest.mark.parametrize("options", [{"use_dora": True}, {"use_rslora": True}, {"lora_bias": True}], ids=str)
def test_other_kinds_of_adapters_are_exact(options: dict[str, bool]) -> None:
    family = FAMILIES["llama classifier"]
    module = adapted(family, torch.float64, **options)
    x, y = batch(family)
    engine = PerSampleGradients(module, width=0)
    assert_alike(engine(x, y), norms_alone(module, x, y), engine, TOLERANCE[torch.float64])


@pytest.mark.parametrize("name", ["bert", "llama", "gpt2"])
def test_rules_reach_every_parameter_in_half_precision_also_of_adapters_in_single_precision(name: str) -> None:
    family = FAMILIES[name]
    x, y = batch(family)
    loss, reference = family.loss
    for single in (False, True):
        module = adapted(family, torch.bfloat16)
        if single:
            for parameter in (p for n, p in module.named_parameters() if "lora_" in n):
                parameter.data = parameter.data.float()
        engine = PerSampleGradients(module, "lora", loss=loss, width=16)
        assert_alike(engine(x, y), norms_alone(module, x, y, reference), engine, 0.03)
        assert engine.notes == []


def test_a_fresh_adapter_has_a_gradient_of_b_alone() -> None:
    family = FAMILIES["bert"]
    torch.manual_seed(0)
    module = peft.get_peft_model(family.make(), peft.LoraConfig(r=3, target_modules=["query"])).eval().double()
    x, y = batch(family)
    true = norms_alone(module, x, y)
    engine = PerSampleGradients(module, "lora", width=0)
    assert_alike(engine(x, y), true, engine, TOLERANCE[torch.float64])
    assert engine.notes == []
    only_a = PerSampleGradients(module, "*lora_A*", width=0)
    l2 = only_a(x, y).l2
    assert l2 is not None
    assert l2.tolist() == [0.0] * len(y)
    assert not any(p.any() for name, p in module.named_parameters() if "lora_B" in name)


def test_batches_of_other_lengths_than_the_probe_are_exact() -> None:
    family = FAMILIES["llama"]
    module = made(family, torch.float64)
    x, y = batch(family)
    engine = PerSampleGradients(module, loss="next_token", width=0)
    engine.prepare(x, y)
    for length in (2, 5, 11):
        ids = torch.randint(1, TOKENS, (4, length))
        mask = torch.ones_like(ids)
        mask[1, -1:] = 0
        x, y = {"input_ids": ids, "attention_mask": mask}, ids.masked_fill(mask == 0, -100)
        if length == 2:
            y = ids
        assert_alike(engine(x, y), norms_alone(module, x, y, next_token), engine, TOLERANCE[torch.float64])
    assert engine.notes == []


def test_a_prompt_that_is_not_learned_and_padding_on_the_left_are_exact() -> None:
    family = FAMILIES["gpt2"]
    module = made(family, torch.float64)
    ids = torch.randint(1, TOKENS, (4, LENGTH))
    mask = (torch.arange(LENGTH) >= torch.tensor([0, 2, 1, 3])[:, None]).long()
    x = {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp_min(0)}
    y = ids.masked_fill(torch.arange(LENGTH) < 4, -100)
    engine = PerSampleGradients(module, loss="next_token", width=0)
    assert_alike(engine(x, y), norms_alone(module, x, y, next_token), engine, TOLERANCE[torch.float64])
    assert engine.notes == []


def test_a_batch_of_the_tokenizers_own_class_is_taken_as_it_is() -> None:
    family = FAMILIES["bert"]
    module = made(family, torch.float64)
    x, y = batch(family)
    engine = PerSampleGradients(module, width=0)
    found = engine(hf.BatchEncoding(x), y)
    assert_alike(found, norms_alone(module, x, y), engine, TOLERANCE[torch.float64])
    assert engine.notes == []


@pytest.mark.parametrize("name", ["bert", "llama", "gpt2"])
@pytest.mark.parametrize("scope", ["lora", "all"])
def test_whatever_is_made_lies_where_the_models_tensors_are(name: str, scope: str) -> None:
    family = FAMILIES[name]
    module = adapted(family, torch.float32)
    x, y = batch(family)
    options: dict[str, Any] = {"loss": family.loss[0], "width": 32}
    expected = PerSampleGradients(module, scope, **options)(x, y)
    with torch.device("meta"):  # where a tensor has no values that is made without a device
        found = PerSampleGradients(module, scope, **options)(x, y)
    for kind in ("l1", "l2", "sketch", "losses"):
        np.testing.assert_allclose(getattr(found, kind), getattr(expected, kind), rtol=1e-4, atol=1e-6)


class Largest(TorchDispatchMode):
    """The most numbers of a tensor that an operation makes."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.numbers = max([self.numbers, *(t.numel() for t in tree_leaves(out) if isinstance(t, Tensor))])
        return out


@pytest.mark.parametrize(("name", "scope"), [("bert", "lora"), ("llama", "lora"), ("llama", "all")])
def test_nothing_as_large_as_the_square_of_a_long_sequence_is_made(name: str, scope: str) -> None:
    family, length, n = FAMILIES[name], 2048, 2
    torch.manual_seed(0)
    longer = SIZE | {"max_position_embeddings": length, "num_hidden_layers": 1}
    made = (
        hf.BertForSequenceClassification(hf.BertConfig(**longer | CLASSES))
        if name == "bert"
        else hf.LlamaForCausalLM(hf.LlamaConfig(**longer))
    )
    module: nn.Module = made
    if scope == "lora":
        module = peft.get_peft_model(made, peft.LoraConfig(r=3, target_modules=family.adapted, init_lora_weights=False))
    x = torch.randint(1, TOKENS, (n, length))
    y = x if family.writes else torch.arange(n)
    module.eval()
    engine = PerSampleGradients(module, scope, loss=family.loss[0], width=32)
    with Largest() as largest:
        found = engine({"input_ids": x}, y)
    assert n * length * SIZE["hidden_size"] < largest.numbers < length**2 // 4
    assert_alike(found, norms_alone(module, {"input_ids": x}, y, family.loss[1]), engine, TOLERANCE[torch.float32])


def test_a_model_without_adapters_has_no_scope_lora() -> None:
    with pytest.raises(InputError, match="no trainable LoRA adapter"):
        PerSampleGradients(made(FAMILIES["bert"], torch.float32), "lora")
