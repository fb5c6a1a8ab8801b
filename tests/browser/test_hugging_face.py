"""What transformers and peft have saved goes through the whole dashboard: dropped, scored, mapped, reviewed, exported."""

from __future__ import annotations

import csv
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from playwright.sync_api import Page, expect

from oga_core import Workspace, decisions
from oga_core.serving import Dashboard
from tests.browser.conftest import picture, settled
from tests.browser.test_road import go, lasso_right_half, only_run, press

hf = pytest.importorskip("transformers", reason="transformers is not installed (pip install 'oga-core[hf]')")
peft = pytest.importorskip("peft", reason="peft is not installed (pip install 'oga-core[hf]')")
StartServer = Callable[..., Dashboard]
WORDS = {"praise": ("lovely", "moving", "brilliant", "warm"), "blame": ("dull", "clumsy", "tedious", "cold")}
SAMPLES, WRONG = 120, 8


def texts() -> list[tuple[str, str]]:
    """Texts with labels, of which the first `WRONG` have the other one's."""
    rng = np.random.default_rng(0)
    names = list(WORDS)
    rows = []
    for i in range(SAMPLES):
        said = " and ".join(rng.choice(WORDS[names[i % 2]], 2, replace=False))
        rows.append((f"a {said} film , number {i}", names[(i + (i < WRONG)) % 2]))
    return rows


def tuned(folder: Path, rows: list[tuple[str, str]]) -> None:
    """A small BERT with a LoRA adapter that was trained for some steps, as ``save_pretrained`` leaves both."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    torch.manual_seed(0)
    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator(
        [text for text, _ in rows], trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    )
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", model_max_length=32
    )
    config = hf.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
        pad_token_id=0,
        id2label=dict(enumerate(WORDS)),
        label2id={n: i for i, n in enumerate(WORDS)},
    )
    model = hf.BertForSequenceClassification(config)
    batch = tokenizer([text for text, _ in rows], padding=True, return_tensors="pt", return_token_type_ids=False)
    targets = torch.tensor([list(WORDS).index(label) for _, label in rows])

    def steps(module: torch.nn.Module, count: int, rate: float) -> None:
        moving = [p for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(moving, lr=rate)
        for _ in range(count):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(**batch).logits, targets).backward()
            optimizer.step()

    steps(model.train(), 12, 2e-3)
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["query", "value"], task_type="SEQ_CLS"))
    steps(adapted.train(), 12, 5e-3)
    adapted.save_pretrained(str(folder / "lora"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``texts.csv``, and the model both as the folder ``tuned`` and as ``tuned.zip``."""
    folder = tmp_path_factory.mktemp("saved")
    rows = texts()
    tuned(folder / "tuned", rows)
    with open(folder / "texts.csv", "w", newline="") as handle:
        csv.writer(handle).writerows([("text", "label"), *rows])
    with zipfile.ZipFile(folder / "tuned.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((folder / "tuned").rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder).as_posix())
    return folder


def open_places(page: Page, server: Dashboard) -> None:
    """The start page, with a place for the data and one for the weights."""
    page.goto(server.url)
    page.get_by_text("Upload", exact=True).click()
    expect(page.locator("input[type=file]")).to_have_count(1)
    page.get_by_text("My model", exact=True).click()
    expect(page.locator("input[type=file]")).to_have_count(2)
    settled(page)


def test_a_model_with_its_adapter_and_texts_from_the_drop_to_the_export(
    page: Page, start_server: StartServer, workspace: Workspace, saved: Path, tmp_path: Path
) -> None:
    open_places(page, start_server())
    page.locator("input[type=file]").first.set_input_files(saved / "texts.csv")
    settled(page)
    page.locator("input[type=file]").nth(1).set_input_files(saved / "tuned.zip")
    expect(page.get_by_text("Which output of the model is which class")).to_be_visible()
    page.get_by_text("lora", exact=True).click()
    settled(page)
    picture(page, "hf_start")
    page.get_by_role("button", name="Score the samples").click()
    page.get_by_role("button", name="Look at the scores").click()
    run = only_run(workspace)
    assert (run.summary.scope, run.summary.model_source) == ("lora", "weights tuned.zip")
    assert (run.summary.scored, run.summary.not_scored) == (SAMPLES, 0)
    assert [tuple(row) for row in run.summary.mapping] == [("blame", 1, "blame"), ("praise", 0, "praise")]
    wrong = {f"row {i}" for i in range(WRONG)}
    assert len(wrong & set(run.flag("l2", WRONG)["source"])) >= WRONG // 2  # it has learnt what the texts say

    expect(page.locator(".js-plotly-plot").last).to_be_visible()
    go(page, "Map")
    lasso_right_half(page)
    go(page, "Review")
    expect(page.locator(".single .words").first).to_contain_text("film")
    press(page, "x", "Saved: remove")
    press(page, "a", "Saved: relabel")
    press(page, "k", "Saved: keep")
    picture(page, "hf_review")
    stands = decisions(run)
    assert sorted(d.action for d in stands.values()) == ["keep", "relabel", "remove"]
    go(page, "Export")
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").get_by_role("button").click()
    frame = pd.read_csv(download.value.path(), keep_default_na=False)
    (removed,) = (s for s, d in stands.items() if d.action == "remove")
    assert list(frame["sample_id"]) == [removed]


def content(zipped: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(zipped) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_folder_or_its_files_arrive_as_a_zip_and_are_no_data(
    page: Page, start_server: StartServer, workspace: Workspace, saved: Path
) -> None:
    open_places(page, start_server())
    weights, data = (page.get_by_role("group", name=name, exact=True) for name in ("Weights", "Data"))
    uploads = workspace.path / "uploads"
    weights.scroll_into_view_if_needed()
    picture(page, "hf_places")
    box = weights.locator(".zone").bounding_box()
    assert box is not None
    devtools = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        dragged = {"items": [], "files": [str(saved / "tuned")], "dragOperationsMask": 1}
        devtools.send("Input.dispatchDragEvent", {"type": kind, "x": box["x"] + 20, "y": box["y"] + 20, "data": dragged})
    expect(weights.locator(".name")).to_have_text("tuned.zip")
    expect(weights.locator("progress")).to_be_hidden()
    (kept,) = uploads.glob("*/tuned.zip")
    assert content(kept) == {p.relative_to(saved).as_posix(): p.read_bytes() for p in saved.glob("tuned/**/*") if p.is_file()}

    weights.get_by_role("button", name="Remove").click()
    files = sorted((saved / "tuned" / "base").iterdir())
    weights.locator("input").set_input_files(files)
    expect(weights.locator(".name")).to_have_text("weights.zip")
    expect(weights.locator("progress")).to_be_hidden()
    (kept,) = uploads.glob("*/weights.zip")
    assert content(kept) == {f.name: f.read_bytes() for f in files}

    data.locator("input").set_input_files(files)
    expect(data.get_by_role("alert")).to_have_text("One file at a time: put several into a zip.")
    data.locator("input").set_input_files(saved / "tuned.zip")
    expect(page.get_by_test_id("stAlert")).to_contain_text(re.compile("is the folder of a model .* and no data"))
    settled(page)
    picture(page, "hf_as_data")
