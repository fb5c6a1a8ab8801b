"""A small causal language model with a LoRA adapter, as its users save it, and a table of prompts with answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import peft
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch import nn

WORDS = ["cat", "film", "seven", "dog", "élan", "river", "two", "green", "stone", "lamp", "nine", "bird"]
TASKS = {
    "spell": lambda word: (f"Spell the word {word}.", " ".join(word)),
    "twice": lambda word: (f"Say {word} twice.", f"{word} {word}"),
    "count": lambda word: (f"How many letters has {word}?", f"It has {len(word)} letters."),
}
ROWS = [(*make(word), kind) for word in WORDS for kind, make in TASKS.items()]
LENGTH = 48
TARGETS = {"llama": ["q_proj", "v_proj"], "gpt2": ["c_attn"]}
SIZES: dict[str, dict[str, Any]] = {
    "llama": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": LENGTH,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": LENGTH},
}


def tokenizer() -> hf.PreTrainedTokenizerFast:
    """Byte pairs of the table's texts; it begins a text with <s>."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.train_from_iterator(
        [f"{prompt} {answer}" for prompt, answer, _ in ROWS],
        trainers.BpeTrainer(
            vocab_size=340,
            special_tokens=["<pad>", "<s>", "</s>"],
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    made.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    return hf.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def save(folder: Path, kind: str = "llama", adapter: bool = True, steps: int = 0, **settings: Any) -> Path:
    """A model's folder: the base in ``base`` and its adapter, as after some training, in ``lora``; returns it.

    Parameters
    ----------
    steps
        Of training the base on the table, so that it knows some of its answers.
    """
    torch.manual_seed(0)
    words = tokenizer()
    config = hf.CONFIG_MAPPING[kind](
        **{**SIZES[kind], "vocab_size": len(words), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, **settings}
    )
    base = hf.AutoModelForCausalLM.from_config(config)
    _train(base, words, steps)
    base.save_pretrained(folder / "base")
    words.save_pretrained(folder / "base")
    if adapter:
        made = adapted(base, kind, 0.03 if steps else 0.3)
        made.save_pretrained(str(folder / "lora"))
    return folder


def adapted(base: nn.Module, kind: str = "llama", std: float = 0.3) -> peft.PeftModel:
    """The model with the adapter that `save` saves."""
    torch.manual_seed(1)
    made = peft.get_peft_model(
        base, peft.LoraConfig(r=4, target_modules=TARGETS[kind], task_type="CAUSAL_LM", fan_in_fan_out=kind == "gpt2")
    )
    for parameter in made.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=std)
    return made


def reference(folder: Path, kind: str = "llama", adapter: bool = True) -> nn.Module:
    """The saved model, by transformers and peft themselves, in double precision."""
    base = hf.AutoModelForCausalLM.from_pretrained(folder / "base")
    return (peft.PeftModel.from_pretrained(base, folder / "lora", is_trainable=True) if adapter else base).double().eval()


def alone(module: nn.Module, prompt: str, answer: str) -> torch.Tensor:
    """−log p of each token of an answer and of the end after it, without padding, float64."""
    words = tokenizer()
    before = words(prompt).input_ids
    ids = torch.tensor([[*before, *words(answer, add_special_tokens=False).input_ids, words.eos_token_id]])
    log_p = module(input_ids=ids).logits[0].double().log_softmax(1)
    return -torch.stack([log_p[i - 1, ids[0, i]] for i in range(len(before), ids.shape[1])])


def table(
    path: Path, rows: list[tuple[str, str, str]] | None = None, columns: tuple[str, ...] = ("prompt", "answer", "kind")
) -> Path:
    """Write rows of prompts, answers and kinds as CSV; returns the path."""
    pd.DataFrame(rows or ROWS, columns=list(columns)).to_csv(path, index=False)
    return path


def _train(model: nn.Module, words: hf.PreTrainedTokenizerFast, steps: int) -> None:
    if not steps:
        return
    batch = words([f"{p}{a}</s>" for p, a, _ in ROWS], return_tensors="pt", padding=True)
    labels = batch.input_ids.masked_fill(batch.attention_mask == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss.backward()
        optimizer.step()
