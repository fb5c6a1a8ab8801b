"""Hugging Face folders in zips: the same model, and what does not belong there."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pandas as pd
import pytest
import torch
import transformers as hf

from oga_core import Dataset, InputError, Workspace, open_dataset
from oga_core.models import load_model
from oga_core.runs.stale import stale
from oga_core.scoring import do_run, prepare
from tests.models.small_classifiers import LABELS, TEXTS, Save, adapted, alone, dataset, logits, refusal, save, tokenizer

__all__ = ["dataset", "save"]


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
