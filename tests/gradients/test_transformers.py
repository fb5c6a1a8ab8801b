"""Models of ``transformers``, with and without adapters of PEFT: norms are those of one-sample autograd."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import peft
import pytest
import torch
import torch.nn.functional as F
import transformers as hf
from one_sample import TOLERANCE, Loss, assert_alike, assert_unchanged, cross_entropy, norms_alone, state
from torch import Tensor, nn

from oga_core.errors import InputError
from oga_core.gradients import PerSampleGradients

TOKENS, LENGTH, PADDING, LABELS = 50, 7, 0, 5
KEPT = [7, 5, 6, 2, 7, 3]
"""Tokens of each sample that are not padding."""
SIZE = {"vocab_size": TOKENS, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24,
        "max_position_embeddings": 16, "pad_token_id": PADDING, "bos_token_id": None, "eos_token_id": None}  # fmt: skip
LLAMA = {**SIZE, "num_key_value_heads": 2}
GPT2 = {"vocab_size": TOKENS, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16, "pad_token_id": PADDING,
        "bos_token_id": None, "eos_token_id": None}  # fmt: skip


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
        lambda: hf.BertForSequenceClassification(hf.BertConfig(**SIZE, num_labels=LABELS)), ["query", "value"], head="classifier"
    ),
    "distilbert": Family(
        lambda: hf.DistilBertForSequenceClassification(hf.DistilBertConfig(
            vocab_size=TOKENS, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=16, num_labels=LABELS
        )), ["q_lin", "lin1"], head="classifier",
    ),
    "llama": Family(lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA)), ["q_proj", "v_proj", "down_proj"], writes=True),
    "llama with tied weights": Family(
        lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA, tie_word_embeddings=True)), ["q_proj", "embed_tokens"], writes=True
    ),
    "llama classifier": Family(
        lambda: hf.LlamaForSequenceClassification(hf.LlamaConfig(**LLAMA, num_labels=LABELS)), ["q_proj", "v_proj"], head="score"
    ),
    "gpt2": Family(lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**GPT2)), ["c_attn", "c_proj"], writes=True, turned=True),
    "gpt2 classifier": Family(
        lambda: hf.GPT2ForSequenceClassification(hf.GPT2Config(**GPT2, num_labels=LABELS)), ["c_attn"], head="score", turned=True
    ),
    "qwen2": Family(lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**LLAMA)), ["q_proj", "v_proj"], writes=True),
}  # fmt: skip


def made(family: Family, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return family.make().eval().to(dtype)


def adapted(family: Family, dtype: torch.dtype, **options: object) -> nn.Module:
    """With LoRA adapters as after some training, and a head that is trained whole."""
    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=3, target_modules=family.adapted, init_lora_weights=False, lora_dropout=0.1, fan_in_fan_out=family.turned,
        modules_to_save=[family.head] if family.head else None, **options,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.get_peft_model(family.make(), config).eval().to(dtype)


def batch(family: Family) -> tuple[dict[str, Tensor], Tensor]:
    ids = torch.randint(1, TOKENS, (len(KEPT), LENGTH))
    mask = (torch.arange(LENGTH) < torch.tensor(KEPT)[:, None]).long()
    ids = ids.masked_fill(mask == 0, PADDING)
    targets = ids.masked_fill(mask == 0, -100) if family.writes else torch.randint(LABELS, (len(KEPT),))
    return {"input_ids": ids, "attention_mask": mask}, targets


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
    assert only_a(x, y).l2.tolist() == [0.0] * len(y)
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


def test_a_model_without_adapters_has_no_scope_lora() -> None:
    with pytest.raises(InputError, match="no trainable LoRA adapter"):
        PerSampleGradients(made(FAMILIES["bert"], torch.float32), "lora")
