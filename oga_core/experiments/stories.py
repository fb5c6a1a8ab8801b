"""Karpathy's llama2.c models as Hugging Face folders: ``python -m oga_core.experiments.stories MODEL.bin TOKENIZER.bin FOLDER``.

The layout is llama2.c's version 0: seven int32 (dim, hidden, layers, heads, key/value heads, tokens, length), then float32.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oga_core.errors import InputError

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
SPECIAL, BYTES = 3, 256
"""Tokens that stand first: the special ones, then one a byte."""
SPACE = "▁"
EPSILON = 1e-5


def convert(model: Path, tokens: Path, folder: Path) -> Path:
    """Write a folder as ``save_pretrained`` does; returns it.

    Raises
    ------
    InputError
        If a file is missing or is not of this layout.
    """
    try:
        raw, pieces = model.read_bytes(), _pieces(tokens.read_bytes())
        dim, hidden, layers, heads, groups, count, length = struct.unpack_from("<7i", raw)
        state = _state(np.frombuffer(raw, np.float32, offset=28), dim, hidden, layers, heads, groups, abs(count), length)
    except (OSError, ValueError, struct.error) as error:
        raise InputError(f"{model.name} with {tokens.name} is no model of llama2.c: {error}") from error
    import transformers as hf

    config = hf.LlamaConfig(
        vocab_size=abs(count),
        hidden_size=dim,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        max_position_embeddings=length,
        rms_norm_eps=EPSILON,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    made = hf.LlamaForCausalLM(config)
    made.load_state_dict({**state, "lm_head.weight": state["model.embed_tokens.weight"]})
    made.save_pretrained(folder)
    _tokenizer(pieces).save_pretrained(folder)
    return folder


def _state(
    values: np.ndarray, dim: int, hidden: int, layers: int, heads: int, groups: int, count: int, length: int
) -> dict[str, torch.Tensor]:
    """The weights by transformers' names."""
    at = 0

    def take(*shape: int) -> torch.Tensor:
        nonlocal at
        size = int(np.prod(shape))
        if at + size > len(values):
            raise ValueError(f"it stores {len(values):,} values, more are declared")
        at += size
        return torch.from_numpy(values[at - size : at].reshape(shape).copy())

    key = dim // heads * groups
    layout = [
        ("input_layernorm", (dim,)),
        ("self_attn.q_proj", (dim, dim)),
        ("self_attn.k_proj", (key, dim)),
        ("self_attn.v_proj", (key, dim)),
        ("self_attn.o_proj", (dim, dim)),
        ("post_attention_layernorm", (dim,)),
        ("mlp.gate_proj", (hidden, dim)),
        ("mlp.down_proj", (dim, hidden)),
        ("mlp.up_proj", (hidden, dim)),
    ]
    state = {"model.embed_tokens.weight": take(count, dim)}
    for name, shape in layout:
        for layer, weight in enumerate(take(layers, *shape)):
            turned = {"self_attn.q_proj": heads, "self_attn.k_proj": groups}.get(name)
            state[f"model.layers.{layer}.{name}.weight"] = _halves(weight, turned) if turned else weight
    state["model.norm.weight"] = take(dim)
    return state


def _halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """llama2.c turns neighbouring pairs of numbers, transformers the two halves of a head."""
    rows, dim = weight.shape
    return weight.view(heads, rows // heads // 2, 2, dim).transpose(1, 2).reshape(rows, dim)


def _pieces(raw: bytes) -> list[tuple[str, float]]:
    """The tokens and their scores."""
    at, found = 4, []
    while at < len(raw):
        score, size = struct.unpack_from("<fi", raw, at)
        if at + 8 + size > len(raw):
            raise ValueError("its last token is truncated")
        found.append((raw[at + 8 : at + 8 + size].decode("utf-8"), float(score)))
        at += 8 + size
    return found


def _tokenizer(pieces: list[tuple[str, float]]) -> Any:
    """Byte pair encoding in the order of the scores, as llama2.c's own."""
    import transformers as hf
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    names = [UNKNOWN, BEGIN, END, *(f"<0x{i:02X}>" for i in range(BYTES))]
    names += [piece.replace(" ", SPACE) for piece, _ in pieces[len(names) :]]
    vocabulary = {name: i for i, name in enumerate(names)}
    merges = []
    for i in sorted(range(SPECIAL + BYTES, len(names)), key=lambda i: -pieces[i][1]):
        whole = names[i]
        halves = [(whole[:k], whole[k:]) for k in range(1, len(whole)) if whole[:k] in vocabulary and whole[k:] in vocabulary]
        merges += sorted(halves, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token=UNKNOWN, byte_fallback=True, fuse_unk=True))
    made.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in (UNKNOWN, BEGIN, END)])
    made.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    made.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, 1)])
    return hf.PreTrainedTokenizerFast(tokenizer_object=made, unk_token=UNKNOWN, bos_token=BEGIN, eos_token=END, pad_token=UNKNOWN)


if __name__ == "__main__":
    print(convert(*map(Path, sys.argv[1:4])))
