"""A small language model that is fine-tuned with LoRA on prompts and answers, and the gradients of its adapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oga_core.errors import InputError
from oga_core.experiments.stories import convert
from oga_core.gradients import NextToken, PerSampleGradients, in_batches
from oga_core.models.hugging_face import transformers_offline
from oga_core.progress import Progress

IGNORED = -100
BATCH = 16
RATE = 3e-3
RANK, ALPHA = 8, 32
STORIES = ("stories260K.bin", "tok512.bin")
RANDOM = {"hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4}
TOKENS, LENGTH = 512, 512


@dataclass(frozen=True)
class Example:
    """A prompt, the answer that follows it, and which kind of task it is."""

    prompt: str
    answer: str
    kind: str


@dataclass(frozen=True)
class Causal:
    """A causal language model and its tokenizer; the loss is taken on the answer alone.

    Attributes
    ----------
    about
        What it is, in a line.
    longest
        Tokens of prompt and answer; a longer prompt loses its beginning.
    """

    module: nn.Module
    tokenizer: Any
    about: str
    longest: int

    def encoded(self, example: Example) -> tuple[list[int], int]:
        """Tokens of prompt and answer with the end, and how many of them are the prompt's."""
        prompt = self.tokenizer(example.prompt).input_ids
        answer = [*self.tokenizer(example.answer, add_special_tokens=False).input_ids, self.tokenizer.eos_token_id]
        answer = answer[: self.longest - 1]
        prompt = prompt[max(0, len(prompt) + len(answer) - self.longest) :]
        return [*prompt, *answer], len(prompt)

    def batch(self, examples: Sequence[Example]) -> tuple[dict[str, Tensor], Tensor]:
        """Inputs filled up on the right, and targets, int64 ``(n, length)``, in which prompt and filling count for nothing."""
        encoded = [self.encoded(example) for example in examples]
        length = max(len(tokens) for tokens, _ in encoded)
        ids = torch.zeros(len(encoded), length, dtype=torch.int64)
        targets = torch.full_like(ids, IGNORED)
        mask = torch.zeros_like(ids)
        for i, (tokens, prompt) in enumerate(encoded):
            ids[i, : len(tokens)] = torch.tensor(tokens)
            targets[i, prompt : len(tokens)] = ids[i, prompt : len(tokens)]
            mask[i, : len(tokens)] = 1
        return {"input_ids": ids, "attention_mask": mask}, targets

    @torch.no_grad()
    def embeddings(self, examples: Sequence[Example]) -> np.ndarray:
        """Mean last hidden state of prompt and answer, float32, shape ``(n, d)``."""
        found = []
        for start in range(0, len(examples), BATCH):
            inputs, _ = self.batch(examples[start : start + BATCH])
            hidden = self.module(**inputs, output_hidden_states=True).hidden_states[-1]
            mask = inputs["attention_mask"][..., None]
            found.append(((hidden * mask).sum(1) / mask.sum(1)).numpy())
        return np.concatenate(found)


def loaded(arch: str | None, data: Path | None, examples: Sequence[Example], seed: int, kept: Path) -> Causal:
    """The model to start from: a Hugging Face folder, else the small Llama among the data, else a random one.

    Parameters
    ----------
    examples
        What the tokenizer of a random model is made of.
    kept
        Where a converted model is written.

    Raises
    ------
    InputError
        If the folder is none, or transformers is not there.
    """
    hf = transformers_offline()
    if arch is not None:
        if not (Path(arch) / "config.json").is_file():
            raise InputError(f"{arch} is no folder of a model; give one that save_pretrained has written")
        return _from_folder(hf, Path(arch), Path(arch).name)
    there = [data / "models" / name for name in STORIES] if data is not None else []
    if there and all(path.is_file() for path in there):
        if not (kept / "config.json").is_file():
            convert(there[0], there[1], kept)
        return _from_folder(hf, kept, "the 260,000-parameter Llama trained on TinyStories")
    return _random(hf, examples, seed)


def _from_folder(hf: Any, folder: Path, about: str) -> Causal:
    try:
        module = hf.AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        )
        tokenizer = hf.PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # each architecture checks its files in its own way
        raise InputError(f"{folder} cannot be read as a language model: {' '.join(str(error).split())[:300]}") from error
    return Causal(module.eval(), tokenizer, about, min(LENGTH, module.config.max_position_embeddings))


def _random(hf: Any, examples: Sequence[Example], seed: int) -> Causal:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=["<pad>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([f"{e.prompt}{e.answer}" for e in examples], trainer)
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>")
    config = hf.LlamaConfig(**RANDOM, vocab_size=len(tokenizer), max_position_embeddings=LENGTH, pad_token_id=0, eos_token_id=1,
                            bos_token_id=None)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = hf.LlamaForCausalLM(config)
    return Causal(module.eval(), tokenizer, "a small Llama with random weights", LENGTH)


def fine_tuned(
    base: Causal, examples: Sequence[Example], epochs: int, seed: int, progress: Progress
) -> tuple[Causal, list[float]]:
    """The model with trained adapters (r = 8, α = 32, on the queries' and values' projections), and the mean loss of each epoch.

    AdamW with a rate that falls linearly to zero, batches of 16 in an order by the seed.
    """
    import peft

    loss = NextToken(ignore_index=IGNORED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["q_proj", "v_proj"], lora_dropout=0.05)
        adapted = peft.get_peft_model(base.module, config).train()
        trained = [p for p in adapted.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=RATE)
        steps = epochs * -(-len(examples) // BATCH)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
        rng, losses = np.random.default_rng(seed), []
        for epoch in range(epochs):
            total = 0.0
            order = rng.permutation(len(examples))
            for start in range(0, len(order), BATCH):
                inputs, targets = base.batch([examples[i] for i in order[start : start + BATCH]])
                each = loss(adapted(**inputs).logits, targets)
                optimizer.zero_grad()
                each.mean().backward()
                optimizer.step()
                schedule.step()
                total += float(each.detach().sum())
            losses.append(total / len(examples))
            progress(f"fine-tuning, epoch {epoch + 1} of {epochs}", epoch + 1, epochs)
    return Causal(adapted.eval(), base.tokenizer, base.about, base.longest), losses


def adapter_gradients(model: Causal, examples: Sequence[Example], width: int, seed: int) -> np.ndarray:
    """Sketches of the gradients of each sample's own loss by all adapters, float32, shape ``(n, width)``."""
    engine = PerSampleGradients(model.module, "lora", loss=NextToken(ignore_index=IGNORED), l1=False, width=width, seed=seed)
    order = sorted(range(len(examples)), key=lambda i: len(model.encoded(examples[i])[0]))  # like lengths, little filling
    parts = in_batches(engine, order, lambda rows: model.batch([examples[i] for i in rows]))
    out = np.empty((len(examples), width), np.float32)
    for rows, part in parts:
        out[list(rows)] = part.sketch
    return out
