"""Hugging Face folders: what transformers and peft have saved comes back exactly, and nothing that is not weights or settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest
import torch
import transformers as hf
from torch import nn

from oga_core import Dataset, Workspace, from_texts, open_dataset
from oga_core.models import load_model
from oga_core.models.inputs import list_truncations
from oga_core.scoring import do_run, prepare
from tests.models.small_classifiers import LABELS, TEXTS, Save, adapted, alone, dataset, logits, save, tokenizer
from tests.models.test_hugging_face_refused import edited

__all__ = ["dataset", "save"]


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "llama", "qwen2"])
def test_a_sample_in_a_padded_batch_has_the_logits_it_has_alone(save: Save, dataset: Dataset, kind: str) -> None:
    folder = save(kind)
    classifier = load_model(None, folder, dataset)
    own = hf.AutoModelForSequenceClassification.from_pretrained(folder)
    expected = torch.stack([alone(own, text) for text in TEXTS])
    assert torch.allclose(logits(classifier, dataset), expected, atol=1e-5)
    assert classifier.class_names == ["neg", "pos"]


def test_a_run_with_a_folder_scores_every_text_as_autograd_does(save: Save, tmp_path: Path) -> None:
    folder, path = save(), tmp_path / "t.csv"
    pd.DataFrame({"text": TEXTS * 3, "label": LABELS * 3}).to_csv(path, index=False)
    run = prepare(Workspace(tmp_path / "workspace"), path, weights=folder)
    do_run(run)
    own = hf.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for row in range(len(TEXTS)):
        out = own(**tokenizer()(TEXTS[row], return_tensors="pt")).logits
        loss = nn.functional.cross_entropy(out, torch.tensor([["neg", "pos"].index(LABELS[row])]))
        gradient = torch.autograd.grad(loss, own.classifier.weight)[0]
        assert run.table["l2"][row] == pytest.approx(float(gradient.norm()), rel=1e-4)


@pytest.mark.parametrize("segments", [True, False])
def test_a_pair_is_given_to_the_tokenizer_as_two_texts(save: Save, tmp_path: Path, segments: bool) -> None:
    folder = save(type_vocab_size=2)
    if segments:
        edited(folder, "tokenizer_config.json", tokenizer_class="BertTokenizer")
    path = tmp_path / "pairs.csv"
    pd.DataFrame({"text_a": TEXTS, "text_b": TEXTS[::-1], "label": LABELS}).to_csv(path, index=False)
    pairs = open_dataset(path)
    own = hf.AutoModelForSequenceClassification.from_pretrained(folder)
    expected = torch.stack([alone(own, pair, segments) for pair in zip(TEXTS, TEXTS[::-1], strict=True)])
    assert torch.allclose(logits(load_model(None, folder, pairs), pairs), expected, atol=1e-5)


@pytest.mark.parametrize("place", ["adapter", "both"])
def test_an_adapter_is_put_on_its_base_wherever_it_lies(save: Save, dataset: Dataset, tmp_path: Path, place: str) -> None:
    folder = save(name="both/base" if place == "both" else "base")
    own = adapted(folder, tmp_path / place / ("lora" if place == "both" else ""))
    classifier = load_model(None, tmp_path / place, dataset)
    assert torch.allclose(logits(classifier, dataset), torch.stack([alone(own, text) for text in TEXTS]), atol=1e-5)
    trained = {name for name, parameter in classifier.module.named_parameters() if parameter.requires_grad}
    assert len(trained) == 2 * 2 * 2 + 2  # A and B of query and value of two layers, and the head
    assert not torch.allclose(logits(classifier, dataset), logits(load_model(None, folder, dataset), dataset), atol=1e-3)


def test_lora_is_a_scope_of_such_a_run(save: Save, tmp_path: Path) -> None:
    adapted(save(name="both/base"), tmp_path / "both" / "lora")
    path = tmp_path / "t.csv"
    pd.DataFrame({"text": TEXTS * 3, "label": LABELS * 3}).to_csv(path, index=False)
    run = prepare(Workspace(tmp_path / "workspace"), path, weights=tmp_path / "both", scope="lora")
    do_run(run)
    own = adapted(tmp_path / "both" / "base", tmp_path / "again").eval()
    low = [p for name, p in own.named_parameters() if "lora" in name]
    for row in range(len(TEXTS)):
        out = own(**tokenizer()(TEXTS[row], return_tensors="pt")).logits
        loss = nn.functional.cross_entropy(out, torch.tensor([["neg", "pos"].index(LABELS[row])]))
        gradients = torch.autograd.grad(loss, low)
        assert run.table["l2"][row] == pytest.approx(float(torch.cat([g.flatten() for g in gradients]).norm()), rel=1e-3)


def test_a_text_is_tokenised_once(save: Save, dataset: Dataset) -> None:
    classifier = load_model(None, save(), dataset)
    encode: Any = classifier.encode
    encode.tokenizer = Mock(wraps=encode.tokenizer)
    texts = ["good good film", "bad bad film", " ".join(["good"] * 40), "good good film"]
    first, again = ([encode(text)["input_ids"].tolist() for text in texts] for _ in range(2))
    assert first == again
    assert [bool(encode.describe_truncation(text)) for text in texts] == [False, False, True, False]
    assert [asked.args[0] for asked in encode.tokenizer.call_args_list] == texts[:3]


def test_texts_that_are_cut_are_counted(save: Save) -> None:
    long = from_texts([*TEXTS, "film " * 40], [*LABELS, "pos"])
    classifier = load_model(None, save(), long)
    logits(classifier, long)
    assert list_truncations(classifier.encode, long) == ["1 texts are longer than 16 tokens; the model does not read their ends"]
