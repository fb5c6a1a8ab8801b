"""Hugging Face folders: what transformers and peft have saved comes back exactly, and nothing that is not weights or settings."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import peft
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch import nn

from oga_core import Dataset, InputError, Workspace, from_texts, open_dataset
from oga_core.models import load_model
from oga_core.models.classifier import Classifier
from oga_core.models.inputs import cut_texts
from oga_core.roots import REFUSAL, ROOTS
from oga_core.runs.stale import stale
from oga_core.scoring import do_run, prepare

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
    assert [bool(encode.cuts(text)) for text in texts] == [False, False, True, False]
    assert [asked.args[0] for asked in encode.tokenizer.call_args_list] == texts[:3]


def test_texts_that_are_cut_are_counted(save: Save) -> None:
    long = from_texts([*TEXTS, "film " * 40], [*LABELS, "pos"])
    classifier = load_model(None, save(), long)
    logits(classifier, long)
    assert cut_texts(classifier.encode, long) == ["1 texts are longer than 16 tokens; the model does not read their ends"]


def edited(folder: Path, name: str, **settings: Any) -> None:
    found = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**found, **settings}))


def refusal(folder: Path, dataset: Dataset) -> str:
    with pytest.raises(InputError) as caught:
        load_model(None, folder, dataset)
    return str(caught.value)


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


# ---- zips ------------------------------------------------------------------------------------------------------------------
def zipped(folder: Path, within: str = "", more: dict[str, str] | None = None) -> Path:
    """A zip of a folder, beside it, in which it lies where ``within`` says; with further files by name."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, within + file.relative_to(folder).as_posix())
        for name, text in (more or {}).items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("within", ["", "model/", "some/model/"])
def test_a_zip_of_a_folder_is_the_same_model_wherever_the_folder_lies_in_it(save: Save, dataset: Dataset, within: str) -> None:
    folder = save()
    path = zipped(folder, within, {"__MACOSX/model/._config.json": "x"})
    assert torch.equal(logits(load_model(None, path, dataset), dataset), logits(load_model(None, folder, dataset), dataset))


@pytest.mark.parametrize("within", ["", "both/"])
def test_a_zip_of_base_and_adapter_is_the_adapted_model(save: Save, dataset: Dataset, tmp_path: Path, within: str) -> None:
    own = adapted(save(name="both/base"), tmp_path / "both" / "lora")
    classifier = load_model(None, zipped(tmp_path / "both", within), dataset)
    assert torch.allclose(logits(classifier, dataset), torch.stack([alone(own, text) for text in TEXTS]), atol=1e-5)


def test_shards_in_a_zip_are_put_together(save: Save, dataset: Dataset, tmp_path: Path) -> None:
    folder = save()
    hf.AutoModelForSequenceClassification.from_pretrained(folder).save_pretrained(tmp_path / "shards", max_shard_size="5kB")
    tokenizer().save_pretrained(tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    found = load_model(None, zipped(tmp_path / "shards"), dataset)
    assert torch.equal(logits(found, dataset), logits(load_model(None, folder, dataset), dataset))


def test_an_adapter_alone_in_a_zip_opens_nothing_on_this_machine(save: Save, dataset: Dataset, tmp_path: Path) -> None:
    adapted(save(name="base"), tmp_path / "adapter")
    load_model(None, tmp_path / "adapter", dataset)
    assert "put the base model's folder beside the adapter's" in refusal(zipped(tmp_path / "adapter"), dataset)


def test_a_run_with_a_zip_is_that_of_the_folder_and_stale_once_the_zip_changes(save: Save, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    pd.DataFrame({"text": TEXTS * 3, "label": LABELS * 3}).to_csv(path, index=False)
    folder = save()
    workspace, there = Workspace(tmp_path / "workspace"), zipped(folder)
    runs = [prepare(workspace, path, weights=weights) for weights in (folder, there)]
    for run in runs:
        do_run(run)
    pd.testing.assert_frame_equal(runs[0].table, runs[1].table)
    assert stale(runs[1]) == ""
    zipped(folder, more={"more": "x"})
    assert "the weights in model.zip have changed" in stale(runs[1])


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"code/modeling.py": "raise SystemExit"}, "model.zip holds a script (code/modeling.py)"),
        ({"../x.json": "{}"}, "model.zip: entry '../x.json' leads out of the archive"),
        ({"Config.json": "{}"}, "entries 'config.json' and 'Config.json' have the same name"),
        ({"old/config.json": '{"auto_map": {"A": "x.Y"}}'}, ""),
    ],
)
def test_what_does_not_belong_in_a_zip_is_refused(save: Save, dataset: Dataset, more: dict[str, str], told: str) -> None:
    path = zipped(save(), more=more)
    if told:
        assert told in refusal(path, dataset)
    else:  # settings in a folder that is not looked at
        load_model(None, path, dataset)


def test_a_zip_without_a_model_is_refused_as_such(save: Save, dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    assert "texts.zip holds no weights" in refusal(zipped(tmp_path / "texts", "texts/"), dataset)
    (tmp_path / "broken.zip").write_bytes(b"PK no zip")
    assert "broken.zip is not a readable zip file" in refusal(tmp_path / "broken.zip", dataset)


def test_a_model_given_as_data_is_refused_as_such(save: Save) -> None:
    folder = save()
    for source in (folder, zipped(folder, "m/")):
        with pytest.raises(
            InputError, match=r"is the folder of a model \((m/)?config.json\) and no data; give it as the weights"
        ):
            open_dataset(source)


@pytest.mark.parametrize(
    ("limit", "value", "file"), [("model_bytes", 1000, "tokenizer.json"), ("settings_bytes", 100, "config.json")]
)
def test_a_file_in_a_zip_larger_than_the_limit_is_refused_with_both(
    save: Save, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, file: str
) -> None:
    path = zipped(save())
    monkeypatch.setenv(f"OGA_LIMIT_{limit.upper()}", str(value))
    told = refusal(path, dataset)
    assert told.startswith(f"model.zip/{file}: the file is too large")
    assert f"the limit {limit} is {value:,} bytes" in told


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
