"""``oga reproduce``: whole experiments, quick, on what every installation has and on the data of development."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oga_core.errors import InputError
from oga_core.experiments import EXPERIMENTS, arms, reproduce
from oga_core.progress import Cancelled

FILES = {"results.csv", "settings.json", "table.csv", "table.md", "report.md"}


def checked(report: Path, figures: set[str]) -> pd.DataFrame:
    """The raw results of an experiment whose folder holds all that it should."""
    out = report.parent
    there = {path.name for path in out.iterdir() if path.is_file()}
    text = report.read_text("utf-8")
    assert there >= FILES | {f"{name}.html" for name in figures}
    for name in figures:
        drawn = (out / f"{name}.png").is_file()
        assert drawn == (f"![{name}]({name}.png)" in text)
        assert drawn or "PNG was not written" in text
    assert "## What the numbers say" in text
    assert (out / "table.md").read_text("utf-8").strip() in text
    return pd.read_csv(out / "results.csv", keep_default_na=False, na_values=[""])


def test_synthetic(tmp_path: Path) -> None:
    report = reproduce("synthetic", out=tmp_path / "new" / "folder", seeds=2, quick=True)
    rows = checked(report, {"arms", "blobs", "moons"})
    assert len(rows) == 2 * 2 * (len(arms.SCORED) + 3)
    assert (rows.groupby("setting")["trimmed"].max() == pd.Series({"blobs": 15, "moons": 25})).all()
    known = rows[rows["arm"].isin(arms.SCORED)]
    assert known[["auc", "average_precision", "precision", "recall", "accuracy", "random_accuracy"]].notna().all(axis=None)
    moons = known[known["setting"] == "moons"]
    np.testing.assert_allclose(moons["detection_accuracy"], (205 + 2 * 20 * moons["recall"]) / 250)
    assert known.query("setting == 'blobs'").groupby("arm")["auc"].mean().min() > 0.9
    assert "paper: detection accuracy, %" in report.read_text("utf-8")
    assert "2 seeds (0 … 1)." in report.read_text("utf-8")


def test_text_without_data_takes_the_docstrings(tmp_path: Path) -> None:
    rows = checked(reproduce("text", out=tmp_path, seeds=1, quick=True), {"arms", "epochs"})
    assert set(rows["setting"]) == {"docstrings"}
    oracle = rows.set_index("arm").loc["oracle"]
    assert oracle["trimmed"] == 120  # a fifth of 600
    assert rows.set_index("arm").loc["l1", "trimmed"] == 180
    trained = {"untrimmed", "oracle", "random", "l1", "iforest", "low_confidence", "recommended"}
    assert set(rows.dropna(subset=["accuracy"])["arm"]) == trained
    assert rows.set_index("arm").loc[["l1", "low_confidence"], "auc"].min() > 0.8
    l1 = rows.set_index("arm").T["l1"]
    assert float(l1["by_epoch"].split()[-1]) == l1["accuracy"]


def test_text_takes_the_tasks_that_are_there(test_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(test_data / "newsclass_yoruba", folder / "newsclass_yoruba")
    report = reproduce("text", data=folder, out=tmp_path / "out", seeds=1, quick=True)
    rows = checked(report, {"arms", "epochs"})
    assert set(rows["setting"]) == {"newsclass_yoruba"}
    assert 0.25 < rows.set_index("arm")["trimmed"]["oracle"] / 600 < 0.42
    assert "Not there, so not done: SST-2, MRPC, QNLI, QQP, Hausa" in report.read_text("utf-8")


def test_vision_without_data_takes_the_digits(tmp_path: Path) -> None:
    rows = checked(reproduce("vision", out=tmp_path, seeds=1, quick=True, samples=400), {"arms"}).set_index("arm")
    assert set(rows["setting"]) == {"class_noise_20"}
    assert rows.loc["l1", "trimmed"] == 20  # 5 % of 400
    assert rows["precision"]["l1"] > 0.6
    assert rows["accuracy"].notna().sum() == 6


def test_shift_goes_on_after_an_interruption_as_if_there_had_been_none(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    rows = checked(reproduce("shift", out=whole, seeds=1, quick=True), {"arms", "budgets"})
    assert set(rows["setting"]) == {"time", "place", "both"}
    assert rows.loc[rows["arm"] == "ocsvm_test", ["auc", "accuracy"]].notna().all(axis=None)
    told: list[str] = []

    def stop(stage: str, done: int, total: int) -> None:
        told.append(stage)
        if len(told) == 30:
            raise Cancelled

    with pytest.raises(Cancelled):
        reproduce("shift", out=parts, seeds=1, quick=True, progress=stop)
    assert 10 < len(pd.read_csv(parts / "results.csv")) < len(rows)
    again: list[str] = []
    reproduce("shift", out=parts, seeds=1, quick=True, progress=lambda *step: again.append(step[0]))
    assert (told + again).count("time, seed 0: l1") == 2  # once a budget
    assert again.count("time, seed 0: untrimmed") == 1  # trained again for its scores
    for name in ("results.csv", "table.csv", "report.md"):
        assert (parts / name).read_text("utf-8") == (whole / name).read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("speech", {}, "unknown experiment 'speech'; there are: synthetic, text, vision, shift, llm"),
        ("llm", {}, "needs DataInf's tables"),
        ("llm", {"data": Path()}, "sentence_transformation_train.csv not found"),
        ("synthetic", {"seeds": 0}, "0 seeds: at least one is needed"),
        ("text", {"samples": 100}, "for the vision experiment only"),
        ("vision", {"samples": 0}, "0 samples"),
        ("synthetic", {"data": Path()}, "leave out --data and --arch"),
        ("text", {"data": Path("missing")}, "data missing is not a folder"),
        ("text", {"data": Path()}, "has no task: a folder sst2"),
        ("vision", {"data": Path()}, "no images that are known"),
        ("shift", {"data": Path()}, "neither train.csv and test.csv"),
        ("vision", {"arch": "resnet51", "quick": True}, "did you mean"),
        ("shift", {"arch": "text_ngrams", "quick": True}, "takes text data, and these are features"),
        ("synthetic", {"out": Path("file")}, "cannot make"),
        ("vision", {"device": "cuda"}, "a device and a shard can be named for text and llm only, not for vision"),
        ("text", {"device": "tpu"}, "unknown device 'tpu'; there are: cpu, cuda"),
        ("text", {"shard": "docstrings"}, "'docstrings' is not SETTING:SEED"),
        ("text", {"shard": "sst2:0"}, "there is no shard 'sst2' here; there are: docstrings"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, more: dict[str, object], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    with pytest.raises(InputError, match=message) as raised:
        reproduce(name, **{"out": tmp_path / "out", **more})  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_every_experiment_has_seeds_enough() -> None:
    assert {name: e.seeds for name, e in EXPERIMENTS.items()} == {"synthetic": 20, "text": 5, "vision": 5, "shift": 5, "llm": 3}
    assert all(1 < e.quick_seeds <= e.seeds for e in EXPERIMENTS.values())
