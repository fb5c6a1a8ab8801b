"""Names on the Hugging Face hub: refused unless the owner allows the network, then a folder like any other."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from oga_core import InputError, Workspace, hub
from oga_core.cli import main
from oga_core.models import load_model
from oga_core.scoring import do_run, prepare
from tests.models.test_hugging_face import LABELS, TEXTS, Save, adapted, dataset, save

__all__ = ["dataset", "save"]
FAKE = """
import json, os, shutil
from pathlib import Path

def snapshot_download(name, *, allow_patterns):
    with open(os.environ["ASKED"], "a") as asked:
        asked.write(json.dumps([name, allow_patterns, os.environ["HF_HUB_OFFLINE"]]) + "\\n")
    if name == "some/missing":
        raise ValueError("404: there is no model some/missing")
    return str(Path(os.environ["HUB"]) / ("models--" + name.replace("/", "--")) / "snapshots" / "0123")
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the process that fetches, a library in place of the hub's; a file with what it was asked."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "huggingface_hub.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("HUB", str(tmp_path))
    monkeypatch.setenv(hub.ALLOWED, "0")
    return tmp_path / "asked"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    pd.DataFrame({"text": TEXTS * 3, "label": LABELS * 3}).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


@pytest.mark.parametrize("name", ["some/model", "bert-base-uncased", "some/model-v1.5"])
def test_a_name_is_refused_where_the_owner_has_not_allowed_the_network(
    asked: Path, texts: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError, match=rf"not found: {name}; .* only where the owner .*--allow-hub, or OGA_ALLOW_HUB=1"):
        prepare(Workspace(tmp_path / "workspace"), texts, weights=name)
    assert not asked.exists()


@pytest.mark.parametrize("name", ["../model", "/no/model", "a/b/c", "model.safetensors", "some/weights.pt", "m.zip", "--help"])
def test_what_is_no_name_is_never_asked_for(asked: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(hub.ALLOWED, "1")
    with pytest.raises(InputError, match=r"weights file not found: "):
        hub.download_model(name)
    assert not asked.exists()


def test_what_is_fetched_is_scored_like_a_folder(
    asked: Path, texts: Path, save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # as all processes but the one that fetches
    folder = save(name="models--some--model/snapshots/0123")
    workspace = str(tmp_path / "workspace")
    assert main(["score", str(texts), "--weights", "some/model", "--allow-hub", "--workspace", workspace, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"] == "some/model"
    name, patterns, offline = json.loads(asked.read_text())
    assert (name, offline) == ("some/model", "0")
    assert not {"*.py", "*.bin", "*"} & set(patterns)
    plain = prepare(Workspace(workspace), texts, weights=folder)
    do_run(plain)
    run = Workspace(workspace).run(told["run"])
    pd.testing.assert_frame_equal(run.table, plain.table)


def test_an_adapter_comes_with_its_base(
    asked: Path, save: Save, dataset: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(hub.ALLOWED, "1")
    base = save(name="models--some--base/snapshots/0123")
    lora = tmp_path / "models--some--lora" / "snapshots" / "0123"
    adapted(base, lora)
    settings = json.loads((lora / "adapter_config.json").read_text())
    (lora / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": "some/base"}))
    assert hub.download_model("some/lora") == lora
    assert [json.loads(line)[0] for line in asked.read_text().splitlines()] == ["some/lora", "some/base"]
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: {"some/base": str(base)}[name])
    assert load_model(None, lora, dataset).name == "some/lora"  # type: ignore[arg-type]
    monkeypatch.setenv(hub.ALLOWED, "0")
    with pytest.raises(InputError, match="is an adapter of some/base, which is not a folder on this machine"):
        load_model(None, lora, dataset)  # type: ignore[arg-type]


def test_what_the_hub_answers_is_told(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(hub.ALLOWED, "1")
    with pytest.raises(
        InputError, match=r"some/missing could not be downloaded .*: ValueError: 404: there is no model some/missing"
    ):
        hub.download_model("some/missing")


def test_a_process_that_dies_is_told(asked: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(hub.ALLOWED, "1")
    (tmp_path / "fake" / "huggingface_hub.py").write_text("import os; os._exit(7)")
    with pytest.raises(InputError, match=r"some/model could not be downloaded .*: the download process ended with code 7"):
        hub.download_model("some/model")
