"""On a GPU, where there is one: norms are those of one-sample autograd there, and sketches those of the CPU."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import peft
import pytest
import torch
import torch.nn.functional as F
import transformers as hf
from torch import Tensor, nn

from oga_core.gradients import PerSampleGradients, head_gradients, in_batches
from tests.gradients.one_sample import Loss, assert_alike, cross_entropy, norms_alone

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")

TOKENS, LABELS, N = 300, 5, 6
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.03}
"""Relative, of a whole norm; that of bfloat16 is of autograd in bfloat16, too."""
SIZE: dict[str, Any] = {
    "vocab_size": TOKENS,
    "hidden_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """No TF32: its products have three digits."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@dataclass(frozen=True)
class Given:
    """A model, a batch, and the loss by name and as the reference takes it."""

    module: nn.Module
    inputs: Any
    targets: Tensor
    loss: str = "cross_entropy"
    reference: Loss = cross_entropy

    def to(self, device: str, dtype: torch.dtype) -> Given:
        def moved(t: Tensor) -> Tensor:
            return t.to(device, dtype) if t.is_floating_point() else t.to(device)

        inputs = {k: moved(v) for k, v in self.inputs.items()} if isinstance(self.inputs, dict) else moved(self.inputs)
        return Given(self.module.to(device, dtype), inputs, self.targets.to(device), self.loss, self.reference)


def convolutions() -> Given:
    net = nn.Sequential(
        nn.Conv2d(3, 40, 3, padding=1),
        nn.BatchNorm2d(40),
        nn.ReLU(),
        nn.Conv2d(40, 64, 3, stride=2, groups=2),
        nn.GroupNorm(4, 64),
        nn.PReLU(),
        nn.Conv2d(64, 64, 3),
        nn.Flatten(),
        nn.Linear(64 * 25, 70),
        nn.ReLU(),
        nn.Linear(70, LABELS),
    )
    return Given(net, torch.randn(N, 3, 16, 16), torch.arange(N) % LABELS)


def tokens(length: int) -> dict[str, Tensor]:
    ids = torch.randint(1, TOKENS, (N, length))
    mask = (torch.arange(length) < torch.tensor([length, 9, 5, length - 1, 7, 12])[:, None]).long()
    return {"input_ids": ids.masked_fill(mask == 0, 0), "attention_mask": mask}


def next_token(output: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(output[0, :-1], targets[0, 1:])


def adapted(module: nn.Module, layers: list[str]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.get_peft_model(module, peft.LoraConfig(r=8, target_modules=layers, init_lora_weights=False))


def bert(length: int = 20) -> Given:
    module = hf.BertForSequenceClassification(hf.BertConfig(**SIZE | {"num_labels": LABELS}))
    return Given(adapted(module, ["query", "value"]), tokens(length), torch.arange(N) % LABELS)


def whole_bert() -> Given:
    module = hf.BertForSequenceClassification(hf.BertConfig(**SIZE | {"num_labels": LABELS}))
    return Given(module, tokens(20), torch.arange(N) % LABELS)


def llama(length: int = 20) -> Given:
    module = hf.LlamaForCausalLM(hf.LlamaConfig(**SIZE, num_key_value_heads=2))
    x = tokens(length)
    targets = x["input_ids"].masked_fill(x["attention_mask"] == 0, -100)
    return Given(adapted(module, ["q_proj", "v_proj"]), x, targets, "next_token", next_token)


def whole_llama() -> Given:
    x = tokens(20)
    targets = x["input_ids"].masked_fill(x["attention_mask"] == 0, -100)
    module = hf.LlamaForCausalLM(hf.LlamaConfig(**SIZE, num_key_value_heads=2))
    return Given(module, x, targets, "next_token", next_token)


CASES = {
    "convolutions": (convolutions, "all"),
    "bert lora": (bert, "lora"),
    "bert": (whole_bert, "all"),
    "llama lora": (llama, "lora"),
    "llama": (whole_llama, "all"),
}


def given(name: str, device: str, dtype: torch.dtype) -> Given:
    torch.manual_seed(0)
    case = CASES[name][0]()
    case.module.eval()
    return case.to(device, dtype)


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("name", list(CASES))
def test_norms_are_those_of_one_sample_autograd(name: str, dtype: torch.dtype) -> None:
    case = given(name, "cuda", dtype)
    true = norms_alone(case.module, case.inputs, case.targets, case.reference)
    for l1, width in ((True, 512), (False, 0), (True, 0)):
        engine = PerSampleGradients(case.module, CASES[name][1], loss=case.loss, l1=l1, width=width)
        assert_alike(engine(case.inputs, case.targets), true, engine, TOLERANCE[dtype])
        assert engine.notes == []


@pytest.mark.parametrize("name", list(CASES))
def test_sketches_are_those_of_the_cpu(name: str) -> None:
    sketches = []
    for device in ("cpu", "cuda"):
        case = given(name, device, torch.float32)
        engine = PerSampleGradients(case.module, CASES[name][1], loss=case.loss, l1=False, l2=False)
        found = engine(case.inputs, case.targets).sketch
        assert found is not None
        sketches.append(found)
    error = np.linalg.norm(sketches[0] - sketches[1], axis=1)
    assert (error < 1e-3 * np.linalg.norm(sketches[0], axis=1)).all()


@pytest.mark.parametrize("name", ["bert lora", "llama lora"])
def test_sketches_in_bfloat16_are_near_those_in_float32(name: str) -> None:
    sketches = []
    for dtype in (torch.float32, torch.bfloat16):
        case = given(name, "cuda", dtype)
        found = PerSampleGradients(case.module, "lora", loss=case.loss, l1=False, l2=False)(case.inputs, case.targets).sketch
        assert found is not None
        sketches.append(found / np.linalg.norm(found, axis=1, keepdims=True))
    assert (np.sum(sketches[0] * sketches[1], 1) > 0.99).all()


def test_batches_that_fit_the_memory_give_what_one_batch_gives() -> None:
    case = given("bert lora", "cuda", torch.float32)
    whole = PerSampleGradients(case.module, "lora", width=64)(case.inputs, case.targets)
    engine = PerSampleGradients(case.module, "lora", width=64)

    def batch(rows: Any) -> tuple[Any, Tensor]:
        some = list(rows)
        return {k: v[some] for k, v in case.inputs.items()}, case.targets[some]

    found = [part for _, part in in_batches(engine, range(N), batch)]
    assert whole.l2 is not None
    np.testing.assert_allclose(np.concatenate([p.l2 for p in found if p.l2 is not None]), whole.l2, rtol=1e-4)


def test_the_heads_closed_form_takes_tensors_of_the_gpu() -> None:
    torch.manual_seed(0)
    logits, features, labels = torch.randn(4, 3), torch.randn(4, 7), torch.tensor([0, 2, 1, 1])
    here, there = head_gradients(logits, features, labels), head_gradients(logits.cuda(), features.cuda(), labels.cuda())
    np.testing.assert_allclose(here.l2, there.l2)
    np.testing.assert_allclose(here.losses, there.losses)


@pytest.mark.parametrize("name", ["bert lora", "llama lora"])
def test_long_sequences_take_no_more_memory_than_a_training_step(name: str) -> None:
    torch.manual_seed(0)
    case = (bert if name == "bert lora" else llama)(2048).to("cuda", torch.bfloat16)
    case.module.eval()
    engine = PerSampleGradients(case.module, "lora", loss=case.loss, l1=False)
    engine.prepare(case.inputs, case.targets)

    def plain() -> None:
        out = case.module(**case.inputs).logits.float()
        targets = case.targets if out.dim() == 2 else case.targets[:, 1:].flatten()
        F.cross_entropy(out if out.dim() == 2 else out[:, :-1].flatten(0, 1), targets, reduction="sum").backward()
        case.module.zero_grad(set_to_none=True)

    peaks = []
    for work in (plain, lambda: engine(case.inputs, case.targets)):
        work()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[1] < 1.5 * peaks[0]
