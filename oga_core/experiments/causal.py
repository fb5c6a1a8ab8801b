"""A small language model that is fine-tuned with LoRA on prompts and answers, and the gradients of its adapters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oga_core.data.tables import Answered
from oga_core.errors import InputError
from oga_core.experiments.stories import convert
from oga_core.files import write_whole_folder
from oga_core.gradients import NextToken, PerSampleGradients, in_batches
from oga_core.models.hugging_face import import_transformers
from oga_core.models.language_model import IGNORED, AnsweredTokens
from oga_core.progress import Progress

AT_ONCE = 64
"""Samples of an update that go through the model together."""
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
class Recipe:
    """How a model is fine-tuned, and what its loss is taken on.

    Attributes
    ----------
    batch
        Samples in an update; None for all.
    rate
        Of AdamW; it falls linearly to zero.
    whole
        Whether the loss is taken on prompt and answer, or on the answer alone.
    """

    epochs: int
    batch: int | None
    rate: float
    whole: bool


@dataclass(frozen=True)
class Causal:
    """A causal language model and its tokenizer.

    Attributes
    ----------
    longest
        Tokens of prompt and answer; a longer prompt loses its beginning.
    whole
        Whether the loss is taken on prompt and answer, or on the answer alone.
    """

    module: nn.Module
    tokenizer: Any
    longest: int
    whole: bool = False

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def encoded(self, example: Example) -> tuple[list[int], int]:
        """Tokens of prompt and answer with the end, and how many of them are the prompt's."""
        read = AnsweredTokens(self.tokenizer, self.longest).read(Answered(example.prompt, example.answer))
        return [number for number, _, _ in (*read.prompt, *read.answer)], len(read.prompt)

    def batch(self, examples: Sequence[Example]) -> tuple[dict[str, Tensor], Tensor]:
        """Inputs padded on the right, and targets, int64 ``(n, length)``, with `IGNORED` at tokens that are not learned."""
        encoded = [self.encoded(example) for example in examples]
        length = max(len(tokens) for tokens, _ in encoded)
        ids = torch.zeros(len(encoded), length, dtype=torch.int64)
        targets = torch.full_like(ids, IGNORED)
        mask = torch.zeros_like(ids)
        for i, (tokens, prompt) in enumerate(encoded):
            ids[i, : len(tokens)] = torch.tensor(tokens)
            learned = slice(0 if self.whole else prompt, len(tokens))
            targets[i, learned] = ids[i, learned]
            mask[i, : len(tokens)] = 1
        return {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}, targets.to(self.device)

    @torch.no_grad()
    def embeddings(self, examples: Sequence[Example]) -> np.ndarray:
        """Mean last hidden state of prompt and answer, float32, shape ``(n, d)``."""
        found = []
        for start in range(0, len(examples), AT_ONCE):
            inputs, _ = self.batch(examples[start : start + AT_ONCE])
            hidden = self.module(**inputs, output_hidden_states=True).hidden_states[-1]
            mask = inputs["attention_mask"][..., None]
            found.append(((hidden * mask).sum(1) / mask.sum(1)).cpu().numpy())
        return np.concatenate(found)


def about(arch: str | None, data: Path | None) -> str:
    """Describe the model from which `load_causal` starts."""
    if arch is not None:
        return Path(arch).name
    return "a small Llama with random weights" if _stories(data) is None else "the 260,000-parameter Llama trained on TinyStories"


def _stories(data: Path | None) -> tuple[Path, Path] | None:
    """Weights and tokenizer of the small Llama, where they are among the data."""
    model, tokens = ((data or Path()) / "models" / name for name in STORIES)
    return (model, tokens) if data is not None and model.is_file() and tokens.is_file() else None


def load_causal(arch: str | None, data: Path | None, examples: Sequence[Example], seed: int, converted: Path) -> Causal:
    """The model to start from: a Hugging Face folder, else the small Llama among the data, else a random one.

    Parameters
    ----------
    examples
        What the tokenizer of a random model is made of.
    converted
        Where a converted model is written.

    Raises
    ------
    InputError
        If the folder is none, or transformers is missing.
    """
    hf = import_transformers()
    if arch is not None:
        if not (Path(arch) / "config.json").is_file():
            raise InputError(f"{arch} is no folder of a model; give one that save_pretrained has written")
        return _from_folder(hf, Path(arch))
    there = _stories(data)
    if there is not None:
        if not (converted / "config.json").is_file():
            write_whole_folder(converted, lambda folder: convert(*there, folder))
        return _from_folder(hf, converted)
    return _random(hf, examples, seed)


def _from_folder(hf: Any, folder: Path) -> Causal:
    try:
        module = hf.AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        )
        tokenizer = hf.PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # each architecture checks its files in its own way
        raise InputError(f"{folder} cannot be read as a language model: {' '.join(str(error).split())[:300]}") from error
    return Causal(module.eval(), tokenizer, min(LENGTH, module.config.max_position_embeddings))


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
    config = hf.LlamaConfig(
        **RANDOM, vocab_size=len(tokenizer), max_position_embeddings=LENGTH, pad_token_id=0, eos_token_id=1, bos_token_id=None
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = hf.LlamaForCausalLM(config)
    return Causal(module.eval(), tokenizer, LENGTH)


AfterEpoch = Callable[[Causal, float], None]
"""``after_epoch(model, rate)``: the model in eval mode, and the mean rate of the epoch's updates."""


def fine_tuned(
    base: Causal,
    examples: Sequence[Example],
    recipe: Recipe,
    seed: int,
    progress: Progress,
    after_epoch: AfterEpoch | None = None,
) -> tuple[Causal, list[float]]:
    """The model with trained adapters (r = 8, α = 32, on the queries' and values' projections), and the mean loss of each epoch.

    AdamW with a rate that falls linearly to zero, and an order by the seed. The base's module is changed.
    """
    import peft

    loss, size = NextToken(ignore_index=IGNORED), recipe.batch or len(examples)
    base = replace(base, whole=recipe.whole)
    with torch.random.fork_rng(devices=[base.device] if base.device.type != "cpu" else []):
        torch.manual_seed(seed)
        config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["q_proj", "v_proj"], lora_dropout=0.05)
        adapted = peft.get_peft_model(base.module, config).train()
        tuned = replace(base, module=adapted)
        optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=recipe.rate)
        steps = recipe.epochs * -(-len(examples) // size)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
        rng, losses = np.random.default_rng(seed), []
        for epoch in range(recipe.epochs):
            total = 0.0
            rates: list[float] = []
            order = rng.permutation(len(examples))
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                optimizer.zero_grad()
                for some in np.array_split(rows, -(-len(rows) // AT_ONCE)):
                    inputs, targets = tuned.batch([examples[i] for i in some])
                    loss_sum = loss(adapted(**inputs).logits, targets).sum()
                    (loss_sum / len(rows)).backward()
                    total += float(loss_sum.detach())
                rates += map(float, schedule.get_last_lr())
                optimizer.step()
                schedule.step()
            losses.append(total / len(examples))
            progress(f"fine-tuning, epoch {epoch + 1} of {recipe.epochs}", epoch + 1, recipe.epochs)
            if after_epoch is not None:
                adapted.eval()
                after_epoch(tuned, float(np.mean(rates)))
                adapted.train()
    adapted.eval()
    return tuned, losses


class AdapterGradients:
    """Gradients of each sample's own loss by all adapters, as sketches; the model may be trained further between calls.

    Parameters
    ----------
    model
        With adapters, in eval mode when called.
    width, seed
        Of the sketches.
    """

    def __init__(self, model: Causal, width: int, seed: int) -> None:
        self.model, self.width = model, width
        self._engine = PerSampleGradients(
            model.module, "lora", loss=NextToken(ignore_index=IGNORED), l1=False, width=width, seed=seed
        )

    def __call__(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        """Sketches, float32, shape ``(n, width)``, and losses, float64 ``(n,)``."""
        model = self.model
        order = sorted(range(len(examples)), key=lambda i: len(model.encoded(examples[i])[0]))  # like lengths, little filling
        sketches, losses = np.empty((len(examples), self.width), np.float32), np.empty(len(examples))
        for rows, batch in in_batches(self._engine, order, lambda rows: model.batch([examples[i] for i in rows])):
            sketches[list(rows)], losses[list(rows)] = batch.sketch, batch.losses
        return sketches, losses
