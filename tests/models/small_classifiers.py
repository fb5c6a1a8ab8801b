"""Small text classifiers as their users save them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch import nn

from oga_core import Dataset, InputError, from_texts
from oga_core.models import load_model
from oga_core.models.classifier import Classifier

TEXTS = ["good film", "a bad film , awful", "great", "awful awful film and a bad one", "good good great film", "bad"]
LABELS = ["pos", "neg", "pos", "neg", "pos", "neg"]
SIZE: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
    "id2label": {0: "neg", 1: "pos"},
    "label2id": {"neg": 0, "pos": 1},
}

GROUPED = {"qwen2": {"num_key_value_heads": 2}}
Save = Callable[..., Path]


def tokenizer() -> hf.PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator(TEXTS, trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"]))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", model_max_length=16
    )


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves a small classifier as its users do."""

    def saved(kind: str = "bert", name: str = "model", **settings: Any) -> Path:
        torch.manual_seed(0)
        words = tokenizer()
        config = hf.CONFIG_MAPPING[kind](
            **{**SIZE, **GROUPED.get(kind, {}), "vocab_size": len(words), "pad_token_id": words.pad_token_id, **settings}
        )
        hf.AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / name)
        words.save_pretrained(tmp_path / name)
        return tmp_path / name

    return saved


@pytest.fixture
def dataset() -> Dataset:
    return from_texts(TEXTS, LABELS)


def logits(classifier: Classifier, dataset: Dataset) -> torch.Tensor:
    return classifier.logits(classifier.collate([classifier.encode(dataset.load(i)) for i in range(len(dataset))]))


def alone(module: nn.Module, text: str | tuple[str, str], segments: bool = False) -> torch.Tensor:
    """The logits that the model gives by itself, without padding."""
    parts = (text,) if isinstance(text, str) else text
    with torch.no_grad():
        tokens = tokenizer()(*parts, return_tensors="pt", return_token_type_ids=segments)
        return module.eval()(**tokens).logits[0]


def adapted(folder: Path, at: Path, **settings: Any) -> nn.Module:
    """An adapter as after some training, saved."""
    torch.manual_seed(1)
    base = hf.AutoModelForSequenceClassification.from_pretrained(folder)
    made = peft.get_peft_model(base, peft.LoraConfig(r=4, target_modules=["query", "value"], task_type="SEQ_CLS", **settings))
    for name, parameter in made.named_parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=2.0 if "lora" in name else 0.2)
    made.save_pretrained(str(at))
    return made


def refusal(folder: Path, dataset: Dataset) -> str:
    with pytest.raises(InputError) as caught:
        load_model(None, folder, dataset)
    return str(caught.value)
