"""The start page: examples, uploads, paths, what it will cost, earlier runs."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app.components import start_form
from app.components.upload import session_key
from oga_core import InputError, Run, Workspace
from oga_core.runs import Starter
from oga_core.scoring import prepare

OpenPage = Callable[..., AppTest]


def texts(at: AppTest) -> list[str]:
    return [t.value for t in at.text]


def table() -> bytes:
    out = io.StringIO()
    rows = [(f"the {word} number {i} was seen", word) for i in range(30) for word in ("cat", "dog")]
    csv.writer(out).writerows([("text", "label"), *rows])
    return out.getvalue().encode()


def some_file(folder: Path) -> Path:
    path = folder / "some.csv"
    path.write_bytes(table())
    return path


def drop(at: AppTest, workspace: Workspace, key: str, name: str, data: bytes) -> None:
    """Drop a file, as far as the page hears of it."""
    with workspace.upload(name) as upload:
        upload.write(data)
        at.session_state[session_key(key)] = upload.keep()
    at.run()


def test_a_newcomer_is_offered_both_examples_and_told_that_labels_were_flipped(open_page: OpenPage) -> None:
    at = open_page("start")
    assert {b.key for b in at.button} >= {"example_digits", "example_docstrings"}
    assert sum("10 % of the labels were flipped" in t for t in texts(at)) == 2


def test_an_uploaded_table_shows_its_facts_and_cost_before_anything_is_scored(open_page: OpenPage, workspace: Workspace) -> None:
    at = open_page("start")
    at.segmented_control(key="way").set_value(start_form.WAYS[1]).run()
    drop(at, workspace, "data_file", "animals.csv", table())
    assert not at.exception
    shown = texts(at)
    assert {"60", "2", "text"} <= set(shown)
    assert any(t.startswith("about") and t.endswith("MB") for t in shown)
    assert not workspace.runs()


def test_scoring_an_upload_starts_a_process_of_its_own_and_opens_the_run(
    open_page: OpenPage, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, str]] = []
    monkeypatch.setattr("oga_core.worker.start", lambda run, kind: started.append((run.id, kind)))
    at = open_page("start")
    at.segmented_control(key="way").set_value(start_form.WAYS[1]).run()
    drop(at, workspace, "data_file", "animals.csv", table())
    at.button(key="score").click().run()
    (run,) = workspace.runs()
    assert started == [(run.id, "score")]
    assert run.spec.detectors == ("l1", "l2", "iforest")
    assert run.spec.data is not None
    assert Path(run.spec.data.source).read_bytes() == table()
    assert at.query_params["run"] in (run.id, [run.id])


def folds_of(at: AppTest) -> Any:
    return next(n for n in at.number_input if n.label.startswith("More starter models"))


@pytest.mark.parametrize("folds", [None, 0, 3])
def test_as_many_starters_are_trained_for_the_recommendation_as_are_asked_for(
    open_page: OpenPage, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, folds: int | None
) -> None:
    monkeypatch.setattr("oga_core.worker.start", lambda run, kind: None)
    at = open_page("start")
    at.segmented_control(key="way").set_value(start_form.WAYS[1]).run()
    drop(at, workspace, "data_file", "animals.csv", table())
    if folds is not None:
        folds_of(at).set_value(folds).run()
    at.button(key="score").click().run()
    assert not at.exception
    assert [run.spec.model for run in workspace.runs()] == [Starter(folds=folds)]


def test_one_more_starter_is_an_error_box_and_no_run(open_page: OpenPage, workspace: Workspace) -> None:
    at = open_page("start")
    at.segmented_control(key="way").set_value(start_form.WAYS[1]).run()
    drop(at, workspace, "data_file", "animals.csv", table())
    folds_of(at).set_value(1).run()
    at.button(key="score").click().run()
    assert "at least two are needed" in at.error[0].value
    assert not at.exception
    assert not workspace.runs()


def test_each_scope_shows_its_size_and_cost_and_the_one_chosen_is_scored(
    open_page: OpenPage, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oga_core.worker.start", lambda run, kind: None)
    at = open_page("start")
    at.segmented_control(key="way").set_value(start_form.WAYS[1]).run()
    drop(at, workspace, "data_file", "animals.csv", table())
    assert at.radio(key="scope").options == ["head", "all", "pattern"]
    captions = at.radio(key="scope").proto.captions
    assert [re.sub(r"[\d,.]*\d", "#", c) for c in captions[:2]] == [
        "The last linear layer: # parameters, about # s",
        "Every parameter: # parameters, about # s",
    ]
    at.radio(key="scope").set_value("pattern").run()
    assert "names of some parameters" in at.error[0].value
    at.text_input(key="pattern").set_value("layer4.*").run()
    assert "does it match a parameter" in at.error[0].value
    at.text_input(key="pattern").set_value("head.*").run()
    assert not at.error
    assert any(t.endswith(" parameters") for t in texts(at))
    at.button(key="score").click().run()
    assert [run.spec.scope for run in workspace.runs()] == ["head.*"]


def test_a_bad_upload_is_an_error_box_with_its_line_and_no_run(open_page: OpenPage, workspace: Workspace) -> None:
    at = open_page("start")
    at.segmented_control(key="way").set_value(start_form.WAYS[1]).run()
    drop(at, workspace, "data_file", "bad.csv", b"text,label\na,b\nc,d,e\n")
    assert "line 3" in at.error[0].value
    assert not at.exception
    assert not workspace.runs()


def test_data_that_need_more_than_the_process_may_take_are_told_and_the_page_lives_on(
    open_page: OpenPage, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = io.BytesIO()
    np.savez_compressed(large, x=np.zeros((200, 1_000_000), np.uint8), y=np.arange(200) % 2)
    monkeypatch.setenv("OGA_LIMIT_READER_BYTES", "150M")
    at = open_page("start")
    at.segmented_control(key="way").set_value(start_form.WAYS[1]).run()
    drop(at, workspace, "data_file", "large.npz", large.getvalue())
    told = at.error[0].value.replace("\\", "")
    assert told.startswith("large.npz: the sandbox process ran out of memory: the limit reader_bytes is 157,286,400 bytes")
    assert not at.exception
    monkeypatch.delenv("OGA_LIMIT_READER_BYTES")
    drop(at, workspace, "data_file", "animals.csv", table())
    assert not at.error
    assert {"60", "2", "text"} <= set(texts(at))


def test_weights_that_do_not_fit_stop_before_scoring(open_page: OpenPage, workspace: Workspace) -> None:
    at = open_page("start")
    at.segmented_control(key="way").set_value(start_form.WAYS[1]).run()
    drop(at, workspace, "data_file", "animals.csv", table())
    at.segmented_control(key="model").set_value(start_form.OWN).run()
    drop(at, workspace, "weights_file", "w.safetensors", b"<!doctype html><html></html>")
    assert "web page" in at.error[0].value
    assert "score" not in {b.key for b in at.button}


def test_a_path_opens_only_below_the_roots(open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed, outside = tmp_path / "allowed", tmp_path / "outside"
    for folder in (allowed, outside):
        folder.mkdir()
        (folder / "animals.csv").write_bytes(table())
    os.symlink(outside / "animals.csv", allowed / "link.csv")
    monkeypatch.setenv("OGA_ROOTS", str(allowed))
    at = open_page("start")
    at.segmented_control(key="way").set_value(start_form.WAYS[2]).run()
    at.text_input(key="data_path").set_value("animals.csv").run()
    assert "60" in texts(at)
    for bad in (str(outside / "animals.csv"), "link.csv", "../outside/animals.csv", "/etc"):
        at.text_input(key="data_path").set_value(bad).run()
        assert "outside the folders" in at.error[0].value
        assert not at.exception


def test_earlier_runs_are_listed_and_opened_from_the_list(open_page: OpenPage, run: Run) -> None:
    at = open_page("start")
    assert run.title in texts(at)
    at.button(key=f"open_{run.id}").click().run()
    assert at.query_params["run"] in (run.id, [run.id])
    assert [m.value for m in at.metric if m.label == "Scored"] == ["90"]


def test_a_failed_run_tells_its_reason_and_can_be_started_again(
    open_page: OpenPage, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepare(workspace, some_file(tmp_path))
    with pytest.raises(InputError), run.job("score").track(lambda *_: None):
        raise InputError("not found: nowhere.csv")
    started: list[str] = []
    monkeypatch.setattr("oga_core.worker.start", lambda run, kind: started.append(run.id))
    at = open_page("start", run=run.id)
    assert "not found: nowhere.csv" in at.error[0].value.replace("\\", "")
    at.button(key="again_score").click().run()
    assert started == [run.id]


def test_a_running_job_shows_its_progress_and_a_cancel_reaches_it(
    open_page: OpenPage, workspace: Workspace, tmp_path: Path
) -> None:
    run = prepare(workspace, some_file(tmp_path))
    run.job("score").entered()
    at = open_page("start", run=run.id)
    at.button(key="cancel_score").click().run()
    assert run.job("score").cancel_asked


@pytest.mark.parametrize("allowed", [True, False])
def test_a_name_on_the_hub_is_taken_where_the_owner_allows_the_network(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, allowed: bool
) -> None:
    fetched = Mock(return_value=tmp_path / "fetched")
    monkeypatch.setattr("oga_core.hub.download_model", fetched)
    monkeypatch.setenv("OGA_ALLOW_HUB", str(int(allowed)))
    (tmp_path / "fetched").mkdir()
    at = open_page("start")
    at.segmented_control(key="way").set_value(start_form.WAYS[2]).run()
    at.segmented_control(key="model").set_value(start_form.OWN).run()
    for given in ("../model", "some/model"):
        at.text_input(key="weights_path").set_value(given).run()
    assert fetched.call_args_list == [call("some/model")] * allowed
    assert len(at.error) == (not allowed)
