"""The records of a run come back as they were written, also those of earlier releases; what cannot be read is refused by key."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
)
from oga_core.runs.records import VERSION, Fingerprint, MappedClass
from oga_core.runs.sizes import measure_workspace
from tests.runs.record_values import FROM_PYTHON, PREPARED, SUMMARY_0_5, again, enter, read_spec, run, summary_of
from tests.summaries import make_summary

__all__ = ["run"]


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
    with run.job("score").track(lambda *_: None):
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
