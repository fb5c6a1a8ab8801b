"""The tokenizer of a Hugging Face folder, read after a check of what its steps would do to a text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from oga_core.errors import InputError, raise_as
from oga_core.models.model_folder import ModelFolder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_GROWTH = 1000.0
"""Times that normalising may make a text longer. Unicode's own forms reach 18, a byte or a SentencePiece mark 3."""
DEEPEST = 32
"""Sequences within sequences."""
UNICODE_GROWTH = {
    "NFD": 4.0,
    "NFC": 3.0,
    "NFKD": 18.0,
    "NFKC": 18.0,
    "Nmt": 1.0,
    "Lowercase": 3.0,
    "StripAccents": 1.0,
    "BertNormalizer": 4.0,
    "ByteLevel": 4.0,
    "Precompiled": 18.0,
}
"""Of the steps that are fixed, the longest that one character becomes."""


def read_tokenizer(hf: Any, base: ModelFolder, adapter: ModelFolder | None) -> PreTrainedTokenizerBase:
    """The tokenizer, from the adapter's folder where it has one of its own."""
    folder = next((f for f in (adapter, base) if f is not None and f.has("tokenizer.json")), None)
    if folder is None:
        raise InputError(f"{base.name} holds no tokenizer.json; save it there: tokenizer.save_pretrained(folder), a fast one")
    given: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        given |= folder.settings(name) if folder.has(name) else {}
    from tokenizers import Tokenizer  # which transformers comes with

    data = folder.read("tokenizer.json")
    check_growth(folder.name, data)
    with raise_as(InputError, f"the tokenizer in {folder.name} cannot be read"):
        # The class only says what is handed to the model: the file is used as it is.
        own = getattr(hf, str(given.get("tokenizer_class")), hf.PreTrainedTokenizerFast)
        special = {
            key: value["content"] if isinstance(value, dict) else value
            for key in hf.PreTrainedTokenizerFast.SPECIAL_TOKENS_ATTRIBUTES
            if (value := given.get(key)) is not None
        }
        tokenizer: PreTrainedTokenizerBase = hf.PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_buffer(data),
            model_input_names=given.get("model_input_names") or own.model_input_names,
            model_max_length=given.get("model_max_length"),
            is_local=True,
            local_files_only=True,
            **special,
        )
    return tokenizer


def check_growth(name: str, data: bytes) -> None:
    """Refuse a tokenizer whose steps would make a short text fill the memory.

    A ``Replace`` that doubles a letter, forty times in a row, makes a terabyte of it. The library that runs the steps ends the
    whole process then.

    Parameters
    ----------
    name
        Of its folder, for the message.
    data
        Its ``tokenizer.json``.

    Raises
    ------
    InputError
        If texts could grow more than `MOST_GROWTH` times, or the file is not readable.
    """
    try:
        tokenizer = json.loads(data)
        growth = _growth(tokenizer.get("normalizer"), 0) * _growth(tokenizer.get("pre_tokenizer"), 0)
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise InputError(f"the tokenizer in {name} cannot be read: {error}") from error
    if not growth <= MOST_GROWTH:
        raise InputError(
            f"the tokenizer in {name} (tokenizer.json, normalizer) makes texts up to {growth:,.0f} times as long; "
            f"at most {MOST_GROWTH:,.0f} is taken"
        )


def _growth(step: Any, depth: int) -> float:
    """How many times as long a text can become by a step, or by a sequence of steps."""
    if depth > DEEPEST:
        raise ValueError("sequences are nested too deep")
    if not isinstance(step, dict):
        return 1.0
    inner_steps = [inner_step for key in ("normalizers", "pretokenizers") for inner_step in step.get(key) or ()]
    if inner_steps:
        product = 1.0
        for inner_step in inner_steps:
            product *= _growth(inner_step, depth + 1)
        return product
    kind = step.get("type")
    if kind == "Replace":
        pattern, content = step.get("pattern") or {}, str(step.get("content", ""))
        literal = pattern.get("String")
        # A regular expression can match between any two characters, which then stay.
        return max(1.0, len(content) / len(literal)) if literal else 1.0 + len(content)
    if kind in ("Prepend", "Metaspace"):
        return 1.0 + len(str(step.get("prepend", step.get("replacement", "▁"))))
    return UNICODE_GROWTH.get(str(kind), 1.0)
