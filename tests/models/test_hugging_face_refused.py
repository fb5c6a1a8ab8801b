"""Hugging Face folders that are refused: code, pickles, lies, and models that are no trained classifiers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from oga_core import Dataset, InputError, from_texts
from oga_core.models import load_model
from oga_core.roots import REFUSAL, ROOTS
from tests.models.small_classifiers import LABELS, TEXTS, Save, adapted, dataset, logits, refusal, save

__all__ = ["dataset", "save"]


def edited(folder: Path, name: str, **settings: Any) -> None:
    found = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**found, **settings}))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("settings", [{"auto_map": {"AutoModel": "x.Y"}}, {"vision_config": {"trust_remote_code": True}}])
def test_settings_that_name_code_are_refused_by_key(save: Save, dataset: Dataset, file: str, settings: dict[str, Any]) -> None:
    folder = save()
    edited(folder, file, **settings)
    assert "names code of its own" in refusal(folder, dataset)


def test_a_script_beside_the_weights_is_refused(save: Save, dataset: Dataset) -> None:
    folder = save()
    (folder / "modeling.py").write_text("raise SystemExit")
    assert "holds a script (modeling.py)" in refusal(folder, dataset)


def test_pickled_weights_alone_are_refused(save: Save, dataset: Dataset) -> None:
    folder = save()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "only pytorch_model.bin, which is not opened" in refusal(folder, dataset)


@pytest.mark.parametrize("shard", ["../model.safetensors", "model-2.safetensors"])
def test_a_shard_index_that_leads_elsewhere_is_refused(save: Save, dataset: Dataset, shard: str) -> None:
    folder = save()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    assert ("no safetensors file beside it" if ".." in shard else "is missing") in refusal(folder, dataset)


def test_a_model_that_is_no_trained_classifier_is_refused(save: Save, dataset: Dataset) -> None:
    folder = save()
    weights = load_file(folder / "model.safetensors")
    save_file({name: v for name, v in weights.items() if "classifier" not in name}, folder / "model.safetensors")
    assert "is no trained classifier: 2 of its tensors are missing (classifier.bias, classifier.weight" in refusal(
        folder, dataset
    )


def test_settings_that_declare_far_more_than_the_weights_are_refused(save: Save, dataset: Dataset) -> None:
    folder = save()
    edited(folder, "config.json", hidden_size=1 << 14)
    assert "declares a model of" in refusal(folder, dataset)


def test_weights_that_are_not_finite_are_refused_by_tensor(save: Save, dataset: Dataset) -> None:
    folder = save()
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"][0, 0] = np.nan
    save_file(weights, folder / "model.safetensors")
    assert "classifier.weight holds NaN" in refusal(folder, dataset)


def test_settings_that_transformers_does_not_know_are_left_out_and_named(save: Save, dataset: Dataset) -> None:
    folder = save()
    edited(folder, "config.json", surprise=1)
    notes = load_model(None, folder, dataset).notes
    assert "config.json: settings that transformers does not know were left out: surprise" in notes


def test_other_classes_than_those_of_the_data_are_refused(save: Save) -> None:
    assert "not among the model's: 'other'" in refusal(save(), from_texts(TEXTS, [*LABELS[:-1], "other"]))


def test_an_unknown_model_type_is_refused(save: Save, dataset: Dataset) -> None:
    folder = save()
    edited(folder, "config.json", model_type="nothing")
    assert "names the model type 'nothing'" in refusal(folder, dataset)


# ---- tokenizers ------------------------------------------------------------------------------------------------------------
def test_a_tokenizer_without_settings_is_filled_up_as_the_model_says(save: Save, dataset: Dataset) -> None:
    folder = save("llama", pad_token_id=2)
    expected = logits(load_model(None, folder, dataset), dataset)
    (folder / "tokenizer_config.json").write_text("{}")
    assert torch.allclose(logits(load_model(None, folder, dataset), dataset), expected, atol=1e-5)


def test_a_tokenizer_that_names_files_elsewhere_opens_none(save: Save, dataset: Dataset, tmp_path: Path) -> None:
    folder = save()
    expected = logits(load_model(None, folder, dataset), dataset)
    edited(folder, "tokenizer_config.json", tokenizer_file=str(tmp_path / "x.json"), vocab_file="/etc/passwd")
    assert torch.equal(logits(load_model(None, folder, dataset), dataset), expected)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_server_reads_no_file_of_a_folder_that_leads_out_of_its_roots(
    save: Save, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = save()
    (folder / name).rename(tmp_path / f"outside-{name}")
    (folder / name).symlink_to(tmp_path / f"outside-{name}")
    assert load_model(None, folder, dataset).class_names == ["neg", "pos"]
    monkeypatch.setenv(ROOTS, str(folder.parent / "elsewhere"))
    with pytest.raises(InputError) as caught:
        load_model(None, folder, dataset)
    assert str(caught.value) == f"model: {name} {REFUSAL}"
    monkeypatch.setenv(ROOTS, str(tmp_path))
    assert load_model(None, folder, dataset).class_names == ["neg", "pos"]


def test_a_server_opens_no_base_model_outside_its_roots(
    save: Save, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted(save(name="base"), tmp_path / "shared" / "adapter")
    edited(tmp_path / "shared" / "adapter", "adapter_config.json", base_model_name_or_path=str(tmp_path / "base"))
    load_model(None, tmp_path / "shared" / "adapter", dataset)
    monkeypatch.setenv(ROOTS, str(tmp_path / "shared"))
    with pytest.raises(InputError, match=r"is outside the allowed folders \(oga serve --root\)"):
        load_model(None, tmp_path / "shared" / "adapter", dataset)
    monkeypatch.setenv(ROOTS, f"{tmp_path / 'shared'}:{tmp_path / 'base'}")
    load_model(None, tmp_path / "shared" / "adapter", dataset)
