"""A run of a causal language model: its table adds up, what cannot be had is not there, and a killed run ends the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from oga_core import InputError, Run, Workspace, decide, decisions, export, load_model, open_dataset, recommend, score
from oga_core.cli import main
from oga_core.data.tables import Answered
from oga_core.gradients import unit_rows
from oga_core.models import LanguageModel
from oga_core.progress import Cancelled
from oga_core.review import Selection, clusters, default_selection, select_rows, standing_of, token_losses, why
from oga_core.review.layer_shares import layer_shares, squared_norms
from oga_core.review.sample_model import model_of
from oga_core.runs import Weights
from oga_core.scoring import do_run, estimate, passes, prepare
from oga_core.scoring.one_sample import OpenedModel
from oga_core.scoring.tasks.language_modelling import AnswerPass, sketch_answers
from oga_core.task import LANGUAGE_MODELLING
from tests import language

BROKEN = [("Say stone twice.", " ", "twice"), ("Count.", "one", "")]
COLUMNS = ["sample_id", "index", "source", "label", "loss", "l1", "l2", "iforest", "random"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language.save(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language.table(tmp_path_factory.mktemp("data") / "t.csv", [*language.ROWS, *BROKEN])


@pytest.fixture(scope="module")
def run(folder: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = prepare(Workspace(tmp_path_factory.mktemp("workspace")), table, weights=folder, scope="lora")
    do_run(run)
    return run


def test_every_sample_is_scored_or_has_a_reason(run: Run) -> None:
    assert list(run.table.columns) == COLUMNS
    assert len(run.table) + len(run.not_scored) == run.summary.samples == len(language.ROWS) + 2
    assert run.not_scored[["source", "reason"]].to_numpy().tolist() == [["row 36", "the answer is empty"]]
    assert run.table["label"].tolist() == [*(kind for _, _, kind in language.ROWS), "no group"]
    assert [d.name for d in run.detectors] == ["l1", "l2", "iforest", "random", "loss"]
    assert run.task is LANGUAGE_MODELLING
    assert (run.summary.agreement, run.summary.mapping, run.recommendation) == (None, (), None)
    with pytest.raises(InputError, match="no class labels"):
        recommend(run)


def test_losses_and_norms_are_those_of_each_answer_alone(run: Run, folder: Path) -> None:
    own = language.reference(folder)
    low = [p for p in own.parameters() if p.requires_grad]
    for row in (0, 5, 17):
        loss = language.alone(own, *language.ROWS[row][:2]).mean()
        own.zero_grad()
        loss.backward()
        norm = np.sqrt(sum(float((p.grad**2).sum()) for p in low if p.grad is not None))
        assert run.table["loss"][row] == pytest.approx(float(loss.detach()), rel=1e-5)
        assert run.table["l2"][row] == pytest.approx(norm, rel=1e-4)
        squares = squared_norms(run, row, OpenedModel(run.open_dataset(), *model_of(run)))
        assert np.sqrt(sum(squares.values())) == pytest.approx(norm, rel=1e-4)
        told = token_losses(run, row, OpenedModel(run.open_dataset(), *model_of(run)))
        assert told.loss == pytest.approx(float(loss.detach()), rel=1e-5)


def test_a_new_answer_has_a_sketch_that_compares_with_those_of_the_run(run: Run) -> None:
    dataset = run.open_dataset()
    assert isinstance(run.spec.model, Weights)
    model = load_model(*run.spec.model.arguments, dataset)
    assert isinstance(model, LanguageModel)
    each = AnswerPass(model, dataset, "lora", seed=run.spec.seed)
    found = sketch_answers(each.engine, model, [model.encoded(Answered(*language.ROWS[7][:2]))])
    assert found.sketch is not None
    cosines = run.factors.features.astype(np.float32) @ unit_rows(found.sketch)[0][0].astype(np.float32)
    assert cosines.argmax() == 7
    assert cosines[7] == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("scope", ["head", "all", "model.layers.1.*"])
def test_other_scopes_and_detectors_by_group_are_scored_too(folder: Path, table: Path, tmp_path: Path, scope: str) -> None:
    run = prepare(
        Workspace(tmp_path), table, weights=folder / "base", scope=scope, detectors="l2,by_class:l1,by_class:loss,ocsvm"
    )
    do_run(run)
    assert [d.name for d in run.detectors] == ["l2", "by_class:l1", "by_class:loss", "ocsvm", "random", "loss"]
    assert np.isfinite(run.table[[d.name for d in run.detectors]].to_numpy()).all()
    shares = layer_shares(run, 0, OpenedModel(run.open_dataset(), *model_of(run)))
    assert sum(share for _, share in shares) == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"detectors": "l1,margin"}, "margin needs the probabilities of classes"),
        ({"detectors": "oof:l1"}, "oof:l1 needs the probabilities"),
        ({"scope": "head"}, "tied to its embeddings: take lora, all"),
        ({"scope": "nothing.*"}, "nor does it match a parameter"),
    ],
)
def test_what_such_a_model_cannot_have_is_refused_before_anything_is_scored(
    folder: Path, table: Path, tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    run = prepare(Workspace(tmp_path), table, weights=folder, **{"scope": "lora", **options})
    with pytest.raises(InputError, match=reason):
        do_run(run)


def files(run: Run) -> dict[str, str]:
    return {name: hashlib.sha256((run.path / name).read_bytes()).hexdigest() for name in run.file_names()}


def test_a_run_that_was_stopped_ends_byte_for_byte_as_one_that_was_not(
    folder: Path, table: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "BATCH", 8)
    whole, again = (prepare(Workspace(tmp_path), table, weights=folder, scope="lora") for _ in range(2))
    do_run(whole)
    monkeypatch.setattr(passes, "SHARD", 8)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "scoring" and done >= 16:
            raise Cancelled

    with pytest.raises(Cancelled):
        do_run(again, stop)
    assert again.begun
    do_run(again)
    assert files(again) == files(whole)
    assert np.allclose(whole.table["l2"], run.table["l2"], rtol=1e-5)  # whatever the batch


def test_prompts_given_from_python_are_scored_as_those_in_a_file(folder: Path, table: Path, run: Run, tmp_path: Path) -> None:
    dataset = open_dataset(table)
    model = load_model(None, folder, dataset)
    again = score(model, dataset, scope="lora", workspace=tmp_path)
    pd.testing.assert_frame_equal(again.table, run.table)
    with pytest.raises(InputError, match="given with its tokenizer"):
        score(model.module, dataset, workspace=tmp_path)
    with pytest.raises(InputError, match="given from Python"):
        token_losses(again, 0, OpenedModel(dataset, *model_of(again)))


def test_such_a_run_is_estimated_by_the_scopes_that_it_has(folder: Path, table: Path) -> None:
    dataset = open_dataset(table)
    assert set(estimate(dataset, load_model(None, folder, dataset))) == {"all", "lora"}
    whole = estimate(dataset, load_model(None, folder / "base", dataset))
    assert set(whole) == {"head", "all"}
    assert whole["all"].parameters > whole["head"].parameters > 0


def test_relabelling_is_refused_and_the_other_decisions_are_kept(run: Run) -> None:
    with pytest.raises(InputError, match="no class label: keep, remove or unsure"):
        decide(run, run.table.head(2), "relabel", reviewer="a", new_label="spell")
    for row, action in enumerate(("keep", "remove", "unsure")):
        decide(run, run.table.iloc[[row]], action, reviewer="a")
    assert [d.action for d in decisions(run).values()] == ["keep", "remove", "unsure"]


def test_a_sample_is_explained_without_anything_about_classes(run: Run) -> None:
    chosen = default_selection(run)
    assert chosen.detector == "l1"
    found = why(run, 3, chosen)
    assert (found.predicted, found.probabilities, found.label) == ("", [], "spell")
    assert [n.name for n in found.gradient] == ["norm"]
    assert {n.label for n in found.near_label} == {"spell"}
    assert (
        len(select_rows(run, Selection("loss", labels=("spell",), predicted=("twice",), flagged_only=False), standing_of(run)))
        == 12
    )
    assert len(clusters(run, np.arange(10))) == 10


EXPECTED = {"prompt": [p for p, _, _ in language.ROWS], "answer": [a for _, a, _ in language.ROWS]}


@pytest.mark.parametrize("fmt", ["csv", "jsonl", "parquet"])
def test_decisions_leave_in_every_format_with_prompt_and_answer(run: Run, fmt: str, tmp_path: Path) -> None:
    decide(run, run.table.iloc[[1]], "remove", reviewer="b")
    read: dict[str, Any] = {"csv": pd.read_csv, "jsonl": lambda p: pd.read_json(p, lines=True), "parquet": pd.read_parquet}
    out = {what: tmp_path / f"{what}.{fmt}" for what in ("removed", "cleaned", "flags", "relabelled")}
    assert export(run, "removed", fmt, out["removed"]) == 1
    assert export(run, "cleaned", fmt, out["cleaned"]) == len(language.ROWS) + 1
    assert export(run, "flags", fmt, out["flags"], detector="loss", budget=0.1) == 4
    assert export(run, "relabelled", fmt, out["relabelled"]) == 0
    removed, cleaned = (read[fmt](out[what]) for what in ("removed", "cleaned"))
    assert "suggested_label" not in removed
    assert removed["index"].tolist() == [1]
    assert list(cleaned.columns) == ["prompt", "answer", "kind", "oga_status"]
    for column, values in EXPECTED.items():
        assert cleaned[column][: len(values) - 1].tolist() == [values[0], *values[2:]]
    again = open_dataset(out["cleaned"])
    assert (again.kind, len(again)) == ("prompts", len(language.ROWS) + 1)
    assert again.sample_id(1) == run.table["sample_id"][2]


def test_the_command_line_scores_such_a_folder_and_refuses_to_train_one(
    folder: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = ["--workspace", str(tmp_path / "ws")]
    assert main(["score", str(table), "--weights", str(folder), "--scope", "lora", *workspace]) == 0
    said = capsys.readouterr().out
    assert "37 of 38 samples scored" in said
    assert "not scored: row 36: the answer is empty" in said
    assert main(["score", str(table), "--weights", str(folder), *workspace]) == 2
    assert "scope 'head' needs an output layer" in capsys.readouterr().err
    assert main(["train", str(table), "--out", str(tmp_path / "w.safetensors")]) == 2
    assert "no language model is trained here: fine-tune it first" in capsys.readouterr().err
    assert main(["score", str(table), *workspace]) == 2
    assert "no language model is trained here" in capsys.readouterr().err
