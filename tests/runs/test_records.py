"""The records of a run come back as they were written, also those of earlier releases; what cannot be read is refused by key."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from oga_core.errors import InputError
from oga_core.runs import (
    DataSource,
    Factory,
    InMemory,
    ModelSource,
    Run,
    RunSpec,
    RunSummary,
    Starter,
    Weights,
    Workspace,
    database,
    recommend,
)
from oga_core.runs.records import VERSION, Fingerprint, MappedClass
from oga_core.runs.run import TABLE
from oga_core.runs.sizes import measure_workspace
from oga_core.runs.stale import fingerprint, stale
from tests.summaries import make_summary

PREPARED: dict[str, Any] = {
    "data": "/data/reviews.csv",
    "data_options": {"label": "stars"},
    "model": None,
    "weights": None,
    "scope": "head",
    "head": None,
    "detectors": ["l1", "l2", "iforest"],
    "seed": 3,
    "epochs": None,
    "folds": 5,
    "notes": ["a note of the page"],
}
"""Settings as `prepare` wrote them in 0.5, 0.6 and 0.7."""
FROM_PYTHON: dict[str, Any] = {
    "scope": "all",
    "head": "fc",
    "detectors": ["l1"],
    "seed": 0,
    "data": "/data/digits.npz",
    "data_options": {},
    "model": "Sequential",
}
"""Settings as `score` wrote them in 0.5, 0.6 and 0.7: the key ``weights`` is missing."""
SUMMARY_0_5: dict[str, Any] = {
    "class_names": ["cat", "dog"],
    "kind": "text",
    "model": "resnet18",
    "held_out_accuracy": None,
    "agreement": 0.75,
    "scope": "head",
    "head": "fc",
    "mapping": [["cat", 1, "a cat"], ["dog", 0, "a dog"]],
    "notes": ["a note of the page", "2 files were skipped", "no recommendation: there are too few samples"],
    "samples": 12,
    "scored": 11,
    "not_scored": 1,
    "seconds": 1.5,
    "seed": 3,
    "detectors": ["l1", "loss"],
    "model_source": "weights w.safetensors",
    "weights_were": {"sha256": "ab" * 32, "bytes": 10, "changed": 1_700_000_000_000_000_000},
}
LATER: dict[str, Any] = {"sketch_form": None}
"""What 0.6 and 0.7 wrote beside the keys of 0.5."""
LANGUAGE_MODEL: dict[str, Any] = {
    "kind": "prompts",
    "agreement": None,
    "mapping": [],
    "scope": "lora",
    "head": None,
    "sketch_form": 2,
}
"""What 0.6 and 0.7 wrote of a language model."""
OLD = ("0.5", "0.6", "0.7")


def summary_of(release: str) -> dict[str, Any]:
    return SUMMARY_0_5 if release == "0.5" else {**SUMMARY_0_5, **LATER}


def read_spec(**values: Any) -> RunSpec:
    return RunSpec.from_json(json.dumps({**PREPARED, **values}), "settings")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Workspace(tmp_path).new_run("one", RunSpec(DataSource("/data/reviews.csv"), Starter()))
    table = pd.DataFrame({"sample_id": ["a"], "label": ["cat"], "l1": [1.0]})
    made.add_file(TABLE, lambda path: table.to_parquet(path, index=False))
    return made


def enter(run: Run, column: str, text: str) -> None:
    with database.writing(run.workspace.database) as connection:
        connection.execute(f"UPDATE runs SET {column} = ? WHERE id = ?", (text, run.id))


def again(run: Run) -> Run:
    return Workspace(run.workspace.path).run(run.id)


# ---- round trip ------------------------------------------------------------------------------------------------------------
texts = st.text(max_size=10)
names = st.text(min_size=1, max_size=10)
optional_names = st.none() | names
optional_counts = st.none() | st.integers(0, 1000)
models: st.SearchStrategy[ModelSource] = st.one_of(
    st.builds(Starter, optional_counts, optional_counts),
    st.builds(Weights, names, optional_names),
    st.builds(Factory, names),
    st.builds(InMemory, texts),
)
lists = st.lists(texts, max_size=3).map(tuple)
specs = st.builds(
    RunSpec,
    data=st.none() | st.builds(DataSource, names, optional_names, optional_names),
    model=models,
    scope=texts,
    head=optional_names,
    detectors=lists,
    seed=st.integers(),
    notes=lists,
)
shares = st.none() | st.floats(0, 1)
summaries = st.builds(
    RunSummary,
    class_names=lists,
    kind=st.sampled_from(["image", "text", "features", "prompts"]),
    model=texts,
    model_source=texts,
    held_out_accuracy=shares,
    agreement=shares,
    scope=texts,
    head=optional_names,
    mapping=st.lists(st.builds(MappedClass, texts, st.integers(0, 9), texts), max_size=3).map(tuple),
    samples=st.integers(0),
    scored=st.integers(0),
    not_scored=st.integers(0),
    seconds=st.floats(0, 1e9),
    seed=st.integers(),
    detectors=lists,
    notes=lists,
    sketch_form=optional_counts,
    no_recommendation=texts,
    weights=st.none() | st.builds(Fingerprint, texts, st.integers(0), st.integers(0)),
)


@given(specs)
def test_a_spec_comes_back_from_its_json_as_it_was(spec: RunSpec) -> None:
    assert RunSpec.from_json(spec.to_json(), "settings") == spec
    assert json.loads(spec.to_json())["version"] == VERSION


@given(summaries)
def test_a_summary_comes_back_from_its_json_as_it_was(summary: RunSummary) -> None:
    assert RunSummary.from_json(summary.to_json(), "summary") == summary
    assert json.loads(summary.to_json())["version"] == VERSION


def test_what_is_written_has_the_keys_that_older_releases_read() -> None:
    starter = RunSpec.from_json(json.dumps(PREPARED), "settings")
    assert json.loads(starter.to_json()) == {**PREPARED, "version": VERSION}
    given = RunSpec.from_json(json.dumps(FROM_PYTHON), "settings")
    assert json.loads(given.to_json()) == {**FROM_PYTHON, "notes": [], "version": VERSION}
    summary = RunSummary.from_json(json.dumps(summary_of("0.7")), "summary")
    reason = {"no_recommendation": "there are too few samples", "version": VERSION}
    assert json.loads(summary.to_json()) == {**summary_of("0.7"), **reason}


# ---- earlier releases ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("named", "model"),
    [
        ({}, Starter(None, 5)),
        ({"epochs": 2, "folds": None}, Starter(2, None)),
        ({"weights": "/w.safetensors"}, Weights("/w.safetensors")),
        ({"weights": "/w.pt", "model": "resnet18"}, Weights("/w.pt", "resnet18")),
        ({"model": "own.module:make"}, Factory("own.module:make")),
    ],
)
def test_settings_of_earlier_releases_say_where_the_model_comes_from(named: dict[str, Any], model: ModelSource) -> None:
    assert read_spec(**named) == RunSpec(
        data=DataSource("/data/reviews.csv", None, "stars"),
        model=model,
        scope="head",
        head=None,
        detectors=("l1", "l2", "iforest"),
        seed=3,
        notes=("a note of the page",),
    )


def test_settings_of_earlier_releases_without_weights_are_those_of_a_model_given_from_python() -> None:
    spec = RunSpec.from_json(json.dumps(FROM_PYTHON), "settings")
    assert spec == RunSpec(DataSource("/data/digits.npz"), InMemory("Sequential"), "all", "fc", ("l1",), 0, ())
    before_the_data = {key: FROM_PYTHON[key] for key in ("scope", "head", "detectors", "seed")}
    assert RunSpec.from_json(json.dumps(before_the_data), "settings") == replace(spec, data=None, model=InMemory())


@pytest.mark.parametrize("release", OLD)
def test_a_summary_of_an_earlier_release_is_read_with_the_reason_that_is_in_its_notes(release: str) -> None:
    summary = RunSummary.from_json(json.dumps(summary_of(release)), "summary")
    assert summary == RunSummary(
        class_names=("cat", "dog"),
        kind="text",
        model="resnet18",
        model_source="weights w.safetensors",
        held_out_accuracy=None,
        agreement=0.75,
        scope="head",
        head="fc",
        mapping=(MappedClass("cat", 1, "a cat"), MappedClass("dog", 0, "a dog")),
        samples=12,
        scored=11,
        not_scored=1,
        seconds=1.5,
        seed=3,
        detectors=("l1", "loss"),
        notes=("a note of the page", "2 files were skipped", "no recommendation: there are too few samples"),
        sketch_form=None,
        no_recommendation="there are too few samples",
        weights=Fingerprint("ab" * 32, 10, 1_700_000_000_000_000_000),
    )


@pytest.mark.parametrize("release", OLD[1:])
def test_a_summary_of_a_language_model_of_an_earlier_release_is_read(release: str) -> None:
    summary = RunSummary.from_json(json.dumps({**summary_of(release), **LANGUAGE_MODEL}), "summary")
    assert (summary.kind, summary.agreement, summary.mapping, summary.sketch_form) == ("prompts", None, (), 2)


@pytest.mark.parametrize("release", OLD)
def test_a_run_in_a_workspace_of_an_earlier_release_opens(run: Run, release: str, tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"weights")
    were = vars(fingerprint(weights))
    enter(run, "settings", json.dumps({**PREPARED, "weights": str(weights)}))
    enter(run, "summary", json.dumps({**summary_of(release), "weights_were": were}))
    found = again(run)
    assert (found.class_names, [d.name for d in found.detectors], found.task.name) == (
        ["cat", "dog"],
        ["l1", "loss"],
        "classification",
    )
    with pytest.raises(InputError, match=r"has no recommendation: there are too few samples$"):
        recommend(found)
    assert stale(found) == ""
    weights.write_bytes(b"others")
    assert "scores are stale" in stale(found)


def test_only_in_records_without_a_version_a_note_is_the_reason_for_no_recommendation(run: Run) -> None:
    run.set_summary(make_summary(notes=("no recommendation: says a file name",)))
    assert run.summary.no_recommendation == ""
    old = {key: value for key, value in SUMMARY_0_5.items() if key != "notes"}
    assert RunSummary.from_json(json.dumps({**old, "notes": ["2 files"]}), "summary").no_recommendation == ""


def test_unknown_keys_are_ignored() -> None:
    assert read_spec(paint="red", data_options={"label": "stars", "paint": "red"}) == read_spec()


# ---- damage, and newer releases --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"seed": "3"}, "'seed' must be a whole number, not \"3\""),
        ({"seed": True}, "'seed' must be a whole number, not true"),
        ({"detectors": "l1"}, "'detectors' must be a list of texts, not \"l1\""),
        ({"notes": [1]}, r"'notes' must be a list of texts, not \[1\]"),
        ({"weights": 7}, "'weights' must be a text, not 7"),
        ({"folds": 2.5}, "'folds' must be a whole number, not 2.5"),
        ({"data_options": None}, "'data_options' must be an object, not null"),
        ({"data_options": {"label": 3}}, "'data_options': 'label' must be a text, not 3"),
        ({"version": "1"}, "'version' must be a whole number"),
    ],
)
def test_a_value_in_the_settings_that_cannot_be_is_refused_by_its_key(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=f"^settings: {reason}"):
        read_spec(**values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"samples": None}, "'samples' must be a whole number, not null"),
        ({"agreement": "most"}, "'agreement' must be a number, not \"most\""),
        ({"kind": "sound"}, "'kind' must be one of image, text, features, prompts, not \"sound\""),
        ({"mapping": [["cat", "1", "cat"]]}, "'mapping' must be a list of class, position and class of the model, not"),
        ({"weights_were": {"sha256": "ab"}}, "'weights_were': 'bytes' is missing"),
    ],
)
def test_a_value_in_the_summary_that_cannot_be_is_refused_by_its_key(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=f"^summary: {reason}"):
        RunSummary.from_json(json.dumps({**SUMMARY_0_5, **values}), "summary")


@pytest.mark.parametrize("key", sorted(SUMMARY_0_5.keys() - {"held_out_accuracy", "agreement", "head", "weights_were"}))
def test_a_summary_without_a_key_that_all_releases_wrote_is_refused(key: str) -> None:
    cut = {name: value for name, value in SUMMARY_0_5.items() if name != key}
    with pytest.raises(InputError, match=f"^summary: '{key}' is missing; score the data again$"):
        RunSummary.from_json(json.dumps(cut), "summary")


@pytest.mark.parametrize("read", [RunSpec.from_json, RunSummary.from_json])
@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000])
def test_a_record_that_is_no_json_object_is_refused(read: Callable[[str, str], object], text: str) -> None:
    with pytest.raises(InputError, match=r"^settings of run x: not (a )?JSON.*; score the data again$"):
        read(text, "settings of run x")


@pytest.mark.parametrize("column", ["settings", "summary"])
def test_a_damaged_record_names_the_run_and_the_file_and_the_run_stays_in_the_lists(run: Run, column: str) -> None:
    enter(run, column, json.dumps({**SUMMARY_0_5, "seed": "x"}))
    with pytest.raises(InputError, match=f"^{column} of run {run.id} in {run.workspace.database}: 'seed' must be"):
        again(run)
    assert [r.id for r in run.workspace.runs()] == [run.id]


@pytest.mark.parametrize("column", ["settings", "summary"])
def test_a_run_of_a_newer_release_is_listed_and_opening_it_says_to_update(run: Run, column: str) -> None:
    enter(run, column, json.dumps({"version": VERSION + 1, "seed": {"of": "another form"}}))
    with pytest.raises(InputError, match=rf"^{column} of run {run.id} in .*: written by a newer OGA .*: update OGA$"):
        again(run)
    workspace = run.workspace
    assert [r.title for r in workspace.runs()] == ["one"]
    assert [r.samples for r in measure_workspace(workspace).runs] == [None]
    workspace.delete([run.id])
    assert [r.id for r in workspace.undelete([run.id])] == [run.id]


# ---- on the run ------------------------------------------------------------------------------------------------------------
def test_the_spec_is_parsed_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = again(run)
    monkeypatch.setattr(RunSpec, "from_json", None)
    assert found.spec is found.spec


def test_the_summary_is_found_and_kept_once_the_run_is_done(run: Run) -> None:
    assert run.find_summary() is None
    for ask in (lambda: run.summary, run.require_done):
        with pytest.raises(InputError, match=rf"run {run.id} has no summary \(the run is absent\)"):
            ask()
    with run.job("score").doing(lambda *_: None):
        enter(run, "summary", make_summary(samples=1).to_json())
        assert run.summary.samples == 1
        enter(run, "summary", make_summary(samples=2).to_json())
        assert run.summary.samples == 2
    assert run.summary is run.find_summary() is run.summary
    run.require_done()
    run.set_summary(make_summary(samples=3))
    assert run.summary.samples == 3


def test_a_run_without_data_or_a_model_to_open_says_so(tmp_path: Path) -> None:
    run = Workspace(tmp_path).new_run("from Python")
    with pytest.raises(InputError, match=f"run {run.id} has no data yet"):
        run.open_dataset()
    with pytest.raises(InputError, match="was made from Python with a model that only its script has; run the script again"):
        run.require_model()
    run.set_spec(RunSpec(model=Factory("own:make")))
    assert run.require_model() == Factory("own:make")


@pytest.mark.parametrize(
    ("model", "own"),
    [
        (Starter(), False),
        (Weights("/a:b.pt"), False),
        (Weights("/w.pt", "resnet18"), False),
        (Weights("/w.pt", "own:make"), True),
        (Factory("own:make"), True),
        (InMemory("a:b"), False),
    ],
)
def test_only_a_function_of_the_owner_is_own_code(model: ModelSource, own: bool) -> None:
    assert RunSpec(model=model).has_own_code is own


def test_the_records_need_neither_torch_nor_streamlit() -> None:
    code = "import sys, oga_core.runs.records; print({'torch', 'streamlit'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
