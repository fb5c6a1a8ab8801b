"""The list of runs on the start page: a run is deleted, put back, and removed for good."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import state
from oga_core import Run, Workspace, worker
from oga_core.review import decide, decisions
from oga_core.runs import database
from oga_core.runs.cleaning import clean
from tests.app.conftest import browser

OpenPage = Callable[..., AppTest]


def keys(at: AppTest) -> set[str]:
    return {str(b.key) for b in at.button}


def texts(at: AppTest) -> list[str]:
    return [t.value for t in at.text]


def warnings(at: AppTest) -> str:
    return " ".join(w.value for w in at.warning).replace("\\", "")


def delete(at: AppTest, run: Run) -> None:
    at.button(key=f"delete_{run.id}").click().run()
    at.button(key="confirm_delete").click().run()
    assert not at.exception


def test_a_run_is_deleted_after_a_question_that_names_it_its_size_and_its_decisions(
    open_page: OpenPage, workspace: Workspace, run: Run
) -> None:
    decide(run, run.table.iloc[:3], "remove", reviewer="ann")
    decide(run, run.table.iloc[3:4], "keep", reviewer="bob")
    at = open_page("start")
    at.button(key=f"delete_{run.id}").click().run()
    assert "4 decisions by 2 reviewers were made in it; they stay, for they belong to the samples." in texts(at)
    assert texts(at).count(run.title) == 2
    assert any(t.endswith("kB on disk. It can be put back until the trash is emptied.") for t in texts(at))
    assert workspace.runs()
    at.button(key="confirm_delete").click().run()
    assert (workspace.runs(), [r.id for r in workspace.trash()]) == ([], [run.id])
    assert f"open_{run.id}" not in keys(at)
    assert "confirm_delete" not in keys(at)


def test_a_question_that_is_cancelled_deletes_nothing(open_page: OpenPage, workspace: Workspace, run: Run) -> None:
    at = open_page("start")
    at.button(key=f"delete_{run.id}").click().run()
    at.button(key="cancel_delete").click().run()
    assert [r.id for r in workspace.runs()] == [run.id]
    assert "confirm_delete" not in keys(at)


def test_undo_puts_the_run_back_and_it_opens_with_its_decisions(open_page: OpenPage, workspace: Workspace, run: Run) -> None:
    decide(run, run.table.iloc[:3], "remove", reviewer="ann")
    at = open_page("start")
    delete(at, run)
    assert f"“{run.title}” is in the trash. Its decisions stay." in texts(at)
    at.button(key="undo_delete").click().run()
    assert [r.id for r in workspace.runs()] == [run.id]
    assert "undo_delete" not in keys(at)
    at.button(key=f"open_{run.id}").click().run()
    assert [m.value for m in at.metric if m.label == "Scored"] == ["90"]
    assert len(decisions(run)) == 3


def test_the_trash_is_listed_with_its_size_put_back_one_by_one_and_emptied_after_a_question(
    open_page: OpenPage, workspace: Workspace, run: Run
) -> None:
    other = workspace.new_run("another")
    workspace.delete([run.id, other.id])
    at = open_page("start")
    assert at.expander[-1].label.startswith("Trash (2 runs, ")
    at.button(key=f"put_back_{other.id}").click().run()
    assert [r.id for r in workspace.runs()] == [other.id]
    at.button(key="empty_trash").click().run()
    assert any(t.startswith("This removes 1 run (") and "for good" in t for t in texts(at))
    assert run.path.is_dir()
    at.button(key="confirm_empty").click().run()
    assert not at.exception
    assert not run.path.exists()
    assert workspace.trash() == []
    assert "empty_trash" not in keys(at)


def test_what_is_deleted_while_the_question_is_open_stays_in_the_trash(
    open_page: OpenPage, workspace: Workspace, run: Run
) -> None:
    late = workspace.new_run("late")
    workspace.delete([run.id])
    at = open_page("start")
    at.button(key="empty_trash").click().run()
    workspace.delete([late.id])
    at.button(key="confirm_empty").click().run()
    assert not run.path.exists()
    assert [r.id for r in workspace.trash()] == [late.id]
    assert late.path.is_dir()


def test_a_run_that_is_being_scored_is_not_deleted_and_the_page_says_what_to_do(
    open_page: OpenPage, workspace: Workspace, run: Run
) -> None:
    running = workspace.new_run("still *scored*")
    running.job("score").entered()
    at = open_page("start")
    delete(at, running)
    assert "is being scored: cancel it first" in at.error[0].value.replace("\\", "")
    assert [r.id for r in workspace.runs()] == [running.id, run.id]


def test_the_run_that_is_open_is_closed_when_it_is_deleted(open_page: OpenPage, run: Run) -> None:
    at = open_page("start", run=run.id)
    delete(at, run)
    assert at.title[0].value == "Find the training samples that hurt your model"
    assert "run" not in at.query_params
    assert not at.warning


@pytest.mark.parametrize("name", ["start", "scores", "map", "review", "export"])
@pytest.mark.parametrize("cleaned", [False, True])
def test_a_page_on_a_run_that_another_tab_deletes_says_so(
    open_page: OpenPage, workspace: Workspace, run: Run, name: str, cleaned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oga_core.worker.start", lambda run, kind: None)  # the map's job
    at = open_page(name, run=run.id)
    assert not at.warning
    workspace.delete([run.id])
    if cleaned:
        clean(workspace)
    at.run()
    assert not at.exception
    assert ("was not found" if cleaned else "is in the trash") in warnings(at)
    if not cleaned:
        workspace.undelete([run.id])
        at.run()
        assert not at.warning
        assert not at.exception


def test_a_button_of_a_tab_on_a_run_that_is_gone_does_nothing(open_page: OpenPage, workspace: Workspace, run: Run) -> None:
    failed = workspace.new_run("failed")
    failed.job("score").entered(pid=2**22 + 1)  # of a process that has vanished
    at = open_page("start", run=failed.id)
    workspace.delete([failed.id])
    clean(workspace)
    at.button(key="again_score").click().run()
    assert not at.exception
    assert "was not found" in warnings(at)
    assert failed.job("score").status().state == "absent"


def test_a_page_whose_run_vanishes_while_it_is_drawn_says_so(
    open_page: OpenPage, workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = open_page("scores", run=run.id)

    def vanish(*_: object) -> None:
        workspace.delete([run.id])
        clean(workspace)
        raise FileNotFoundError(run.path)

    monkeypatch.setattr("app.components.histogram.draw", vanish)
    at.run()
    assert not at.exception
    assert "was not found" in warnings(at)


@pytest.mark.parametrize("cleaned", [False, True])
def test_routes_on_a_run_that_was_deleted_refuse_in_words(workspace: Workspace, run: Run, cleaned: bool) -> None:
    asking = browser("ann")
    sent: dict[str, Any] = {"run": run.id, "op": "1", "action": "keep", "samples": [[0, 0]]}
    assert asking.get(f"/oga/classes/{run.id}").status_code == 200
    assert asking.post("/oga/decide", json=sent).status_code == 200
    workspace.delete([run.id])
    if cleaned:
        clean(workspace)
    for answer in (
        asking.get(f"/oga/classes/{run.id}"),
        asking.post("/oga/decide", json=sent | {"op": "2"}),
        asking.get(f"/oga/image/{run.id}/0/160"),
        asking.post("/oga/undo", json=sent | {"op": "3"}),
    ):
        assert answer.status_code == 404
        assert ("was not found" if cleaned else "is in the trash") in answer.json()["error"]
        assert "oga " not in answer.json()["error"]
    assert len(decisions(run)) == 1


def readers() -> set[int]:
    """The processes that this one has started to read data."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if (
                b"oga_core.sandbox.server" in path.read_bytes()
                and f"PPid:\t{os.getpid()}\n" in (path.parent / "status").read_text()
            ):
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("where", ["this page", "another process"])
def test_a_deleted_run_is_let_go_of_with_the_process_that_reads_its_data(
    open_page: OpenPage, workspace: Workspace, run: Run, where: str
) -> None:
    before = readers()
    asking = browser("ann")
    assert asking.get(f"/oga/image/{run.id}/0/160").status_code == 200
    assert len(readers() - before) == 1
    at = open_page("start")
    if where == "this page":
        delete(at, run)
    else:
        Workspace(workspace.path).delete([run.id])
        at.run()
    for _ in range(100):
        if not readers() - before:
            break
        time.sleep(0.05)
    assert readers() - before == set()
    workspace.undelete([run.id])
    assert asking.get(f"/oga/image/{run.id}/0/160").status_code == 200
    state.load_run.clear()


def test_no_get_deletes(workspace: Workspace, run: Run) -> None:
    asking = browser("ann")
    for path in (f"/oga/delete/{run.id}", f"/oga/delete?run={run.id}", "/oga/clean"):
        assert asking.get(path).status_code in (404, 405)
    assert [r.id for r in workspace.runs()] == [run.id]


def test_a_job_of_a_deleted_run_is_not_started(workspace: Workspace, run: Run) -> None:
    workspace.delete([run.id])
    with pytest.raises(ValueError, match="is in the trash"):
        worker.start(run, "map")
    with pytest.raises(ValueError, match="is in the trash"):
        run.job("map").entered()
    assert not (run.path / "map.log").exists()


def test_a_run_of_a_newer_release_is_listed_and_says_to_update(open_page: OpenPage, workspace: Workspace, run: Run) -> None:
    with database.writing(workspace.database) as connection:
        connection.execute("UPDATE runs SET summary = '{\"version\": 99}' WHERE id = ?", (run.id,))
    assert any("update OGA" in caption.value for caption in open_page("start").caption)
    at = open_page("scores", run=run.id)
    assert not at.exception
    assert "update OGA" in warnings(at)
