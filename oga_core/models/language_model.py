"""A causal language model together with what turns prompts and answers into tokens; its loss is taken on the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from oga_core.data import SampleError
from oga_core.errors import InputError, raise_as
from oga_core.measured import Token, TokenLosses
from oga_core.models.classifier import Classifier, refuse_unfit_samples, run, token_count
from oga_core.models.inputs import CACHED_TEXTS, TokenCollate
from oga_core.task import LANGUAGE_MODELLING, Task

IGNORED = -100
"""Target of a token that is not to be learned."""
MOST_TOKENS = 4
"""Of a character, which has so many bytes at most; beside them there are a first and a last token."""


@dataclass
class LanguageModel(Classifier):
    """A causal language model ready to be run: of each token it says what follows, and there are no classes.

    `encode` takes an `oga_core.data.Answered` and gives ``input_ids`` and ``targets``, int64 ``(length,)``; `head` is None
    where the output layer is frozen, or shares its weight with the embeddings.
    """

    task: ClassVar[Task] = LANGUAGE_MODELLING

    @torch.no_grad()
    def logits(self, batch: Any) -> Tensor:
        """Logits of a collated batch, float, shape ``(n, length, tokens)``; InputError as `Classifier.logits`."""
        with refuse_unfit_samples(self.name):
            return token_logits(run(self.module, batch))

    def batch(self, encoded: Sequence[dict[str, Tensor]]) -> tuple[Any, Tensor]:
        """The module's input for encoded samples, and their targets, int64 ``(n, length)``, padded with `IGNORED`."""
        targets = nn.utils.rnn.pad_sequence([s["targets"] for s in encoded], batch_first=True, padding_value=IGNORED)
        return self.collate(list(encoded)), targets


def token_logits(output: Any) -> Tensor:
    """The logits, shape ``(n, length, tokens)``, in what a causal model returns; InputError where there are none."""
    found = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if not isinstance(found, Tensor) or found.ndim != 3 or not found.is_floating_point():
        shape = f" of shape {tuple(found.shape)}" if isinstance(found, Tensor) else ""
        raise InputError(f"a causal language model returns logits (n, length, tokens), this one a {type(output).__name__}{shape}")
    return found if found.dtype == torch.float64 else found.float()


def token_losses(model: LanguageModel, sample: Any) -> TokenLosses:
    """The loss of each token of a prompt and its answer, by one forward pass.

    Parameters
    ----------
    model
        Whose `encode` is an `AnsweredTokens`.
    sample
        An `oga_core.data.Answered`.

    Raises
    ------
    SampleError
        If it cannot be tokenised, or has no token to learn.
    InputError
        If the model cannot take it, or has another encoder.
    """
    if not isinstance(model.encode, AnsweredTokens):
        raise InputError(f"model {model.name} has an encoder of its own, so that its tokens are not known")
    encoded = model.encoded(sample)
    log_p = torch.log_softmax(model.logits(model.collate([encoded]))[0].double(), 1)
    found = -log_p[:-1].gather(1, encoded["input_ids"][1:, None])[:, 0]
    losses: list[float | None] = [None, *found.tolist()]
    read = model.encode.read(sample)
    split = len(read.prompt)
    return TokenLosses(
        model.encode.name_tokens(read.prompt, sample.prompt, losses[:split]),
        model.encode.name_tokens(read.answer, sample.answer, losses[split:]),
        sample.prompt[: read.before],
        sample.answer[read.after :],
    )


Place = tuple[int, int, int]
"""A token id, and where the characters that it adds to its text begin and end."""


@dataclass(frozen=True)
class Read:
    """The tokens that a model reads of a prompt and its answer.

    Attributes
    ----------
    prompt, answer
        Their tokens.
    before, after
        Where reading of the prompt begins, and that of the answer ends, in characters.
    truncation
        In words what is not read, empty where all is.
    """

    prompt: list[Place]
    answer: list[Place]
    before: int
    after: int
    truncation: str


@dataclass(eq=False)
class AnsweredTokens:
    """Prompt and answer to token ids: the tokenizer's special tokens come before the prompt, the end token after the answer.

    A prompt that is too long loses its beginning, but for the token that begins a text; an answer is truncated at its end only
    where it does not fit by itself.

    Attributes
    ----------
    tokenizer
        One of transformers', a fast one.
    longest
        Tokens that the model takes.
    """

    tokenizer: Any
    longest: int

    def __post_init__(self) -> None:
        self._cached = lru_cache(maxsize=CACHED_TEXTS)(self._numbers)

    def __call__(self, sample: Any) -> dict[str, Tensor]:
        numbers, in_prompt, _ = self._cached(*_both(sample))
        ids = torch.from_numpy(numbers).long()
        targets = ids.clone()
        targets[:in_prompt] = IGNORED
        if not (targets[1:] != IGNORED).any():
            raise SampleError("has no token to learn: an answer needs a token before it")
        return {"input_ids": ids, "targets": targets}

    def _numbers(self, prompt: str, answer: str) -> tuple[np.ndarray, int, str]:
        """Token ids, int32, how many of them are the prompt's, and what is not read."""
        read = self._read(prompt, answer)
        return np.array([number for number, _, _ in (*read.prompt, *read.answer)], np.int32), len(read.prompt), read.truncation

    def read(self, sample: Any) -> Read:
        """The tokens that the model reads of a prompt and answer; SampleError where it cannot be tokenised or has no answer."""
        return self._read(*_both(sample))

    def _read(self, asked: str, answered: str) -> Read:
        prompt, answer = self._tokens(asked, True), self._tokens(answered, False)
        if not answer:
            raise SampleError("the answer has no token")
        end, begin = self.tokenizer.eos_token_id, self.tokenizer.bos_token_id
        if prompt and prompt[-1][0] == end != begin:  # as some tokenizers end every text
            prompt.pop()
        if end is not None:
            answer.append((end, len(answered), len(answered)))
        unread, before, after = "", 0, len(answered)
        if len(answer) > (space := self.longest - min(len(prompt), 1)):
            answer, unread = answer[:space], "the model does not read the ends of their answers, nor their prompts"
            after = answer[-1][2] if answer else 0
        if len(prompt) > (space := self.longest - len(answer)):
            unread = unread or "the model does not read the beginnings of their prompts"
            first = prompt[:1] if space and prompt[0][0] == begin else []
            rest = prompt[len(prompt) - space + len(first) :]
            prompt, before = [*first, *rest], rest[0][1] if rest else len(asked)
        return Read(prompt, answer, before, after, unread)

    def _tokens(self, text: str, special: bool) -> list[Place]:
        with raise_as(SampleError, "cannot be tokenised"):  # for a lone surrogate for example
            found = self.tokenizer(text, add_special_tokens=special).encodings[0]
        places, at = [], 0
        for number, (_, end) in zip(found.ids, found.offsets, strict=True):
            places.append((int(number), at, max(at, end)))  # characters without a token, such as a space, belong to the next one
            at = max(at, end)
        return places

    def name_tokens(self, places: list[Place], text: str, losses: Sequence[float | None]) -> list[Token]:
        """Tokens of a text as people read them, with their losses."""
        names = self.tokenizer.convert_ids_to_tokens([number for number, _, _ in places])
        return [
            Token(text[start:end] or str(name), loss, end > start)
            for (_, start, end), name, loss in zip(places, names, losses, strict=True)
        ]

    @property
    def reads(self) -> str:
        return f"{self.longest} tokens"

    def describe_truncation(self, sample: Any) -> str:
        """Describe what is truncated of a sample that is too long; empty where all of it is read."""
        return self._cached(*_both(sample))[2] if MOST_TOKENS * len(sample) + 2 > self.longest else ""


def _both(sample: Any) -> tuple[str, str]:
    """Prompt and answer, of which the joined text alone does not tell where the one ends."""
    if not hasattr(sample, "answer"):
        raise SampleError("is no prompt with an answer")
    return sample.prompt, sample.answer


@dataclass(frozen=True)
class AnsweredCollate(TokenCollate):
    """The model's input, without what it is to learn."""

    def __call__(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return super().__call__([{"input_ids": sample["input_ids"]} for sample in samples])


def language_model(module: nn.Module, tokenizer: Any, longest: int, name: str = "", notes: Sequence[str] = ()) -> LanguageModel:
    """A causal model of transformers, with adapters or without, and its fast tokenizer as a `LanguageModel`.

    Parameters
    ----------
    longest
        Tokens of prompt and answer that it is given.
    """
    said = [] if tokenizer.eos_token_id is not None else ["the tokenizer has no token that ends a text: answers go without"]
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0
    return LanguageModel(
        name or type(module).__name__,
        module,
        None,
        AnsweredTokens(tokenizer, longest),
        AnsweredCollate(padding),
        head=_output_layer(module),
        notes=[*notes, *said],
        length=token_count,
    )


def _output_layer(module: nn.Module) -> str | None:
    """Name of the layer that gives the logits, where its weight is trained and is nobody else's."""
    find: Any = getattr(module, "get_output_embeddings", lambda: None)
    weight = getattr(find(), "weight", None)
    names = [name for name, parameter in module.named_parameters(remove_duplicate=False) if parameter is weight]
    trained = len(names) == 1 and isinstance(weight, Tensor) and weight.requires_grad
    return names[0].removesuffix(".weight") if trained else None
