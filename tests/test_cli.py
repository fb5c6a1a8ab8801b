"""The command line: the whole road, one JSON object on stdout, and one line for whatever is wrong."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from oga_core import Workspace, decide, experiments
from oga_core.detectors import Interval, Recommendation
from oga_core.detectors.recommended import AtBudget
from oga_core.runs import Run, Starter
from oga_core.runs.run import RECOMMENDATION, TABLE
from tests.command_line import OGA, Oga, features, oga, texts
from tests.scoring.blobs import COLUMNS

__all__ = ["features", "oga", "texts"]


KEYS = {
    "run",
    "table",
    "samples",
    "scored",
    "not_scored",
    "seconds",
    "model",
    "model_source",
    "held_out_accuracy",
    "detectors",
    "notes",
}

RECOMMENDED = Recommendation(
    ["oof:noise", "oof:iforest"],
    out_of_fold=True,
    wrong=Interval(0.0612, 0.0355, 0.125),
    budget=0.0347,
    at_budget=AtBudget(0.0347, Interval(0.911, 0.87, 0.95), 0.52),
    curve=[],
    canaries=[],
    mistaken=[("pear", "\x1b[31mplum", 4.25), *[("plum", "pear", 2.0)] * 6],
)


@pytest.fixture(scope="module")
def scored(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """What ``oga score --json`` did in a process of its own, into the workspace that OGA_WORKSPACE names."""
    environment = os.environ | {"OGA_WORKSPACE": str(tmp_path_factory.mktemp("scored"))}
    return subprocess.run([*OGA, "score", str(texts), "--json"], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def result(scored: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(scored.stdout)
    return told


@pytest.fixture
def workspace(result: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The workspace with the scored texts, named by the environment."""
    found = Workspace(Path(result["table"]).parents[2])
    monkeypatch.setenv("OGA_WORKSPACE", str(found.path))
    return found


def test_score_json_prints_one_object_on_stdout_and_its_progress_on_stderr(scored: subprocess.CompletedProcess[str]) -> None:
    assert scored.returncode == 0
    assert scored.stdout.count("\n") == 1
    assert set(json.loads(scored.stdout)) == KEYS
    assert "scoring" in scored.stderr.splitlines()
    assert "\r" not in scored.stderr


def test_the_totals_add_up_and_the_rest_is_true(result: dict[str, Any]) -> None:
    assert (result["samples"], result["scored"], result["not_scored"]) == (120, 119, 1)
    assert (result["model"], result["notes"]) == ("text_ngrams", [])
    assert result["detectors"] == ["recommended", "l1", "l2", "iforest", "random", "loss", "low_confidence"]
    assert result["held_out_accuracy"] > 0.8
    assert result["seconds"] > 0


def test_the_table_has_the_promised_columns_and_a_row_a_scored_sample(result: dict[str, Any]) -> None:
    table = pd.read_parquet(result["table"])
    assert list(table.columns) == COLUMNS
    assert table["index"].tolist() == list(range(119))


def test_score_without_json_says_what_was_done_and_what_was_not(oga: Oga, features: Path, tmp_path: Path) -> None:
    code, out, err = oga("score", features, "--detectors", "l1")
    assert code == 0
    run = Workspace(tmp_path / "workspace").runs()[0]
    lines = out.splitlines()
    assert lines[0].startswith(f"run {run.id}: 89 of 90 samples scored in ")
    assert "not scored: row 89: a feature is not a finite number" in lines
    assert f"table: {run.path / 'table.parquet'}" in lines
    assert lines[-1] == f"look at it: oga serve --workspace {tmp_path / 'workspace'}"
    assert "writing" in err.splitlines()


def test_what_is_chosen_on_the_command_line_is_what_is_done(oga: Oga, features: Path, tmp_path: Path) -> None:
    arguments = ["--seed", "3", "--inputs", "x", "--label", "y", "--head", "head", "--folds", "0"]
    code, out, _ = oga("score", features, "--json", "--detectors", "l2", *arguments, "--workspace", tmp_path / "here")
    assert code == 0
    told = json.loads(out)
    assert told["detectors"] == ["recommended", "l2", "random", "loss", "low_confidence"]
    assert told["model"] == "feature_mlp"
    run = Workspace(tmp_path / "here").run(told["run"])
    spec = run.spec
    assert (spec.seed, spec.head, spec.scope, spec.model) == (3, "head", "head", Starter(folds=0))
    assert run.recommendation is not None
    assert run.recommendation.out_of_fold is False
    assert spec.data is not None
    assert (spec.data.inputs, spec.data.label) == ("x", "y")
    assert not (tmp_path / "workspace").exists()


def test_a_model_trained_on_the_command_line_scores_as_the_same_model(oga: Oga, features: Path) -> None:
    code, out, err = oga("train", features, "--out", "model.safetensors", "--seed", 1, "--epochs", 5)
    assert code == 0
    assert out.startswith("model.safetensors: feature_mlp, 5 epochs, seed 1; ")
    assert "held-out samples agree with their given label" in out
    assert "training epoch 5 of 5" in err
    tables = []
    for model in ([], ["--model", "feature_mlp"]):
        code, out, _ = oga("score", features, "--json", "--weights", "model.safetensors", *model)
        assert code == 0
        told = json.loads(out)
        assert told["model_source"] == "weights model.safetensors"
        assert told["held_out_accuracy"] is None
        tables.append(pd.read_parquet(told["table"]))
    one, other = tables
    pd.testing.assert_frame_equal(one, other)


def test_a_model_of_the_owners_own_is_taken_from_where_they_stand(oga: Oga, features: Path, tmp_path: Path) -> None:
    (tmp_path / "my_cli_model.py").write_text(
        "from torch import nn\ndef make(num_classes):\n    return nn.Linear(5, num_classes)\n"
    )
    code, out, _ = oga("score", features, "--json", "--model", "my_cli_model:make")
    assert code == 0
    assert json.loads(out)["model"] == "my_cli_model:make"


READERS: dict[str, Callable[[str], pd.DataFrame]] = {
    "csv": pd.read_csv,
    "jsonl": lambda path: pd.read_json(path, lines=True),
    "parquet": pd.read_parquet,
}


def test_each_list_is_exported_in_each_format(oga: Oga, workspace: Workspace) -> None:
    run = workspace.runs()[-1]
    decide(run, run.table.iloc[:2], "remove", reviewer="ann")
    decide(run, run.table.iloc[2:5], "relabel", reviewer="ann", new_label="bird")
    expected = {"removed": 2, "relabelled": 3, "cleaned": 118, "flags": 12}
    for what, count in expected.items():
        for fmt in READERS:
            flags = ["--detector", "l1", "--budget", "0.1"] if what == "flags" else []
            out = f"{what}.{fmt}"
            code, told, err = oga(
                "export", run.id, "--what", what, "--format", fmt, "--out", out, *flags, "--workspace", workspace.path
            )
            assert (code, told, err) == (0, f"{out}: {count:,} rows\n", "")
            assert len(READERS[fmt](out)) == count


def test_reproduce_passes_all_on_and_prints_where_the_report_is(oga: Oga, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def reproduce(name: str, *, progress: Callable[[str, int, int], None], **options: Any) -> Path:
        progress("sst2, seed 0: l1", 1, 2)
        asked.update(options, name=name)
        return Path("out") / "report.md"

    monkeypatch.setattr(experiments, "reproduce", reproduce)
    command = [
        "reproduce",
        "text",
        "--data",
        "data",
        "--out",
        "out",
        "--seeds",
        3,
        "--quick",
        "--arch",
        "text_ngrams",
        "--samples",
        90,
        "--device",
        "cuda",
        "--shard",
        "sst2:1",
    ]
    assert oga(*command) == (0, "out/report.md\n", "sst2, seed 0: l1\n")
    assert asked == {
        "name": "text",
        "data": Path("data"),
        "out": Path("out"),
        "seeds": 3,
        "quick": True,
        "arch": "text_ngrams",
        "samples": 90,
        "device": "cuda",
        "shard": "sst2:1",
    }
    oga("reproduce", "shift", "--out", "out")
    assert asked == {
        "name": "shift",
        "data": None,
        "out": Path("out"),
        "seeds": None,
        "quick": False,
        "arch": None,
        "samples": None,
        "device": "cpu",
        "shard": None,
    }


def test_export_writes_what_is_removed_by_default_and_finds_the_run_by_its_beginning(oga: Oga, workspace: Workspace) -> None:
    run = workspace.runs()[-1]
    decide(run, run.table.iloc[[7]], "remove", reviewer="bob")
    code, _, err = oga("export", run.id[:-1], "--format", "csv", "--out", "out.csv", "--workspace", workspace.path)
    assert (code, err) == (0, "")
    assert "row 7" in pd.read_csv("out.csv")["source"].tolist()


@pytest.fixture
def advised(tmp_path: Path) -> Run:
    """A run of 1,470 samples with a recommendation that is written by hand."""
    run = Workspace(tmp_path / "workspace").new_run("advised")
    run.add_file(TABLE, lambda path: pd.DataFrame({"recommended": np.zeros(1470)}).to_parquet(path))
    run.add_file(RECOMMENDATION, lambda path: path.write_text(json.dumps(RECOMMENDED.to_dict())))
    return run


def test_recommend_says_which_score_how_many_are_wrong_and_how_much_to_trim(oga: Oga, advised: Run) -> None:
    code, out, err = oga("recommend", advised.id[:-1])
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "recommended score: Probability of a wrong label, out of fold and Isolation forest, out of fold",
        "estimated label errors: 6.1% (3.5% to 12.5%)",
        "suggested budget: 0.0347 (51 samples), expected precision: 91.1% (87.0% to 95.0%)",
        "mistaken: 4.2 samples of pear are labelled \\x1b[31mplum",
        *["mistaken: 2.0 samples of plum are labelled pear"] * 4,
    ]


def test_recommend_json_prints_all_the_evidence_as_one_object(oga: Oga, advised: Run) -> None:
    code, out, err = oga("recommend", advised.id, "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert Recommendation.from_dict(json.loads(out)) == RECOMMENDED


def test_where_nothing_is_to_be_trimmed_recommend_says_so(oga: Oga, advised: Run) -> None:
    nothing = replace(RECOMMENDED, budget=0.0, at_budget=None, mistaken=[])
    advised.add_file(RECOMMENDATION, lambda path: path.write_text(json.dumps(nothing.to_dict())))
    assert oga("recommend", advised.id)[1].splitlines()[1:] == [
        "estimated label errors: 6.1% (3.5% to 12.5%)",
        "suggested budget: nothing to trim",
    ]


def test_what_is_recommended_for_texts_is_by_models_that_have_not_seen_them(oga: Oga, workspace: Workspace) -> None:
    run = workspace.runs()[-1]
    code, out, err = oga("recommend", run.id, "--json", "--workspace", workspace.path)
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["unseen"] is True
    assert run.recommendation == Recommendation.from_dict(told)
    assert {c["kind"] for c in told["canaries"]} == {"uniform", "confusions"}


def test_a_run_without_a_recommendation_says_why(oga: Oga, tmp_path: Path) -> None:
    np.savez("few.npz", x=np.random.default_rng(0).normal(size=(40, 3)), y=np.arange(40) % 2)
    code, out, _ = oga("score", "few.npz", "--json", "--folds", "2")
    assert code == 0
    reason = "nothing can be recommended for fewer than 50 samples of two classes"
    assert json.loads(out)["notes"][-1] == f"no recommendation: {reason}"
    run = Workspace(tmp_path / "workspace").runs()[0]
    assert oga("recommend", run.id) == (2, "", f"oga: run {run.id} has no recommendation: {reason}\n")


def test_runs_are_listed_newest_first_from_the_workspace_that_is_named(
    oga: Oga, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Workspace(tmp_path / "one"), Workspace(tmp_path / "other")
    ids = [one.new_run(title).id for title in ("first", "second")]
    assert oga("runs", "--workspace", other.path) == (0, "", "")
    assert oga("runs", "--workspace", other.path, "--json") == (0, "[]\n", "")
    monkeypatch.setenv("OGA_WORKSPACE", str(one.path))
    code, out, err = oga("runs")
    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()] == [[ids[1], "absent"], [ids[0], "absent"]]
    assert out.splitlines()[0].endswith("  second")
    listed = json.loads(oga("runs", "--json")[1])
    assert [(r["run"], r["title"], r["state"]) for r in listed] == [(ids[1], "second", "absent"), (ids[0], "first", "absent")]
    assert oga("runs", "--workspace", other.path) == (0, "", "")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("score missing.csv", "not found: missing.csv"),
        ("score notes.txt", "notes.txt: data come as a folder, .zip"),
        ("score TEXTS --label nope", "has no column 'nope'"),
        ("score TEXTS --model resnet51", "unknown architecture 'resnet51'; did you mean resnet50"),
        ("score TEXTS --model text_ngrams", "needs a weights file (--weights)"),
        ("score TEXTS --model no.such:model", "factory not found: no.such:model"),
        ("score TEXTS --weights missing.pt", "weights file not found: missing.pt"),
        ("score TEXTS --weights notes.txt", "weights come as"),
        ("score TEXTS --detectors l1,l9", "unknown detector 'l9'; there are: l1, l2, iforest"),
        ("score TEXTS --scope layer4.*", "scope 'layer4.*' is neither head, all or lora, nor does it match a parameter"),
        ("score TEXTS --scope lora", "the model has no trainable LoRA adapter"),
        ("score TEXTS --scope=", "no scope is named; there are head, all, lora, and patterns over parameter names"),
        ("score TEXTS --seed -1", "argument --seed: '-1' is not a whole number"),
        ("score TEXTS --seed 4294967296", "argument --seed: '4294967296' is not a whole number"),
        ("score TEXTS --folds 1", "1 folds: at least two are needed, or 0 for none"),
        ("score TEXTS --folds -2", "-2 folds: at least two are needed, or 0 for none"),
        ("score TEXTS --folds some", "argument --folds: invalid int value: 'some'"),
        ("recommend", "the following arguments are required: RUN"),
        ("recommend nope", "no run 'nope'"),
        ("score TEXTS --workspace notes.txt", "cannot make the workspace"),
        ("score", "the following arguments are required: DATA"),
        ("train TEXTS --out no/model.safetensors", "folder not found"),
        ("train TEXTS --out model.pt", "weights are saved as .safetensors"),
        ("train TEXTS --out model.safetensors --epochs 0", "0 epochs: at least one is needed"),
        ("train TEXTS --out model.safetensors --arch resnet18", "resnet18 takes image data, and these are text"),
        ("train missing.csv --out model.safetensors", "not found: missing.csv"),
        ("export RUN --format csv --out x.csv --detector l1", "need both a detector and a budget"),
        ("export RUN --format csv --out x.csv --budget 0.1", "need both a detector and a budget"),
        ("export RUN --format csv --out x.csv --detector l1 --budget nan", "budget nan is not a share"),
        ("export RUN --format csv --out x.csv --detector l1 --budget -1", "budget -1.0 is not a share"),
        ("export RUN --format csv --out x.csv --detector l1 --budget some", "argument --budget: invalid float value: 'some'"),
        ("export RUN --format csv --out x.csv --detector l9 --budget 0.1", "has no score 'l9'"),
        ("export RUN --format csv --out x.csv --what flags", "need both a detector and a budget"),
        ("export RUN --format xls --out x.csv", "argument --format: invalid choice: 'xls'"),
        ("export RUN --format csv --out no/x.csv", "cannot write no/x.csv: No such file or directory"),
        ("export RUN --format csv --out .", "cannot write .: it is not a file"),
        ("export nope --format csv --out x.csv", "no run 'nope'"),
        ("serve --root missing", "root missing is not a folder"),
        ("reproduce speech --out out", "unknown experiment 'speech'; there are: synthetic, text, vision, shift, llm"),
        ("reproduce llm --out out", "the language model experiment needs DataInf's tables"),
        ("reproduce synthetic", "the following arguments are required: --out"),
        ("reproduce synthetic --out out --seeds 0", "0 seeds: at least one is needed"),
        ("reproduce synthetic --out out --seeds many", "argument --seeds: invalid int value: 'many'"),
        ("reproduce text --out out --data missing", "data missing is not a folder"),
        ("reproduce synthetic --out notes.txt", "cannot make notes.txt"),
        ("serve --port 65536", "port 65536: a port is a number from 1 to 65535"),
        ("runs --workspace notes.txt", "no workspace at"),
        ("frobnicate", "invalid choice: 'frobnicate'"),
        ("", "the following arguments are required: COMMAND"),
    ],
)
def test_bad_input_is_exit_code_2_and_one_line_on_stderr(
    oga: Oga, workspace: Workspace, texts: Path, tmp_path: Path, command: str, message: str
) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    known = {"TEXTS": str(texts), "RUN": workspace.runs()[-1].id}
    arguments = [known.get(word, word) for word in command.split()]
    code, out, err = oga(*arguments)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("oga: ")
    assert message in err
    assert not (tmp_path / "x.csv").exists()
