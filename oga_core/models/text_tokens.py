"""From a text, or a pair of texts, to the tokens of a Hugging Face tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from oga_core.data.dataset import SampleError
from oga_core.errors import raise_as
from oga_core.models.inputs import CACHED_TEXTS, ENDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(eq=False)
class TextTokens:
    """Text, or pair of texts, to its token ids, int64, truncated to ``longest``.

    Attributes
    ----------
    segments
        Whether the model takes for each token which of two texts it is of.
    """

    tokenizer: PreTrainedTokenizerBase
    longest: int
    segments: bool

    def __post_init__(self) -> None:
        self._cached = lru_cache(maxsize=CACHED_TEXTS)(self._read)

    def __call__(self, text: str) -> dict[str, Tensor]:
        ids, types, _ = self._cached(_texts_of(text))
        tokens = {"input_ids": torch.from_numpy(ids).long()}
        return tokens | {"token_type_ids": torch.from_numpy(types).long()} if self.segments else tokens

    def _read(self, texts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, bool]:
        """Token ids and which text each is of, int32, and whether something is left out."""
        with raise_as(SampleError, "cannot be tokenised"):  # for a lone surrogate for example
            found = self.tokenizer(*texts, truncation=True, max_length=self.longest)
        encodings = found.encodings or []
        if not encodings or not encodings[0].ids:
            raise SampleError("has no token")
        one = encodings[0]
        return np.array(one.ids, np.int32), np.array(one.type_ids, np.int32), bool(one.overflowing)

    @property
    def reads(self) -> str:
        return f"{self.longest} tokens"

    def describe_truncation(self, text: str) -> str:
        """Describe what is truncated of a text that is too long; empty where all of it is read."""
        return ENDS if len(text) > self.longest // 2 and self._cached(_texts_of(text))[2] else ""


def _texts_of(text: str) -> tuple[str, ...]:
    return tuple(getattr(text, "texts", (str(text),)))
