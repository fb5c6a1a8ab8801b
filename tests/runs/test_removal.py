"""Runs are deleted to a trash and put back from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oga_core import from_arrays, score
from oga_core.errors import InputError
from oga_core.review import STATES, count_decisions, decide, redo, standing_of, undo
from oga_core.runs import DeletedRun, UnknownRun, Workspace, database
from oga_core.runs.cleaning import clean, plan_cleaning
from oga_core.runs.removal import format_bytes
from tests.runs.runs_on_files import rows_of, workspace

__all__ = ["workspace"]


# ---- delete and undelete -------------------------------------------------------------------------------------------------------
def test_a_deleted_run_is_in_no_list_and_its_files_stay(workspace: Workspace) -> None:
    run, other = (workspace.new_run(title) for title in ("a", "b"))
    (run.path / "table").write_bytes(b"x")
    assert [r.id for r in workspace.delete([run.id])] == [run.id]
    assert [r.id for r in workspace.runs()] == [other.id]
    assert [r.id for r in workspace.trash()] == [run.id]
    assert (run.path / "table").read_bytes() == b"x"
    assert run.deleted.startswith("20")
    for chosen in (run.id, run.id[:-1]):
        with pytest.raises(DeletedRun, match=f"run {run.id} is in the trash; oga undelete {run.id} puts it back"):
            workspace.run(chosen)
    assert workspace.run("2").id == other.id  # its beginning is unique now


def test_undelete_puts_a_run_back_by_its_unique_beginning(workspace: Workspace) -> None:
    run, other = (workspace.new_run(title) for title in ("a", "b"))
    workspace.delete([run.id, other.id])
    with pytest.raises(InputError, match="2 runs begin with '2'"):
        workspace.undelete(["2"])
    assert [r.id for r in workspace.undelete([run.id[:-2]])] == [run.id]
    assert (workspace.run(run.id).deleted, [r.id for r in workspace.trash()]) == ("", [other.id])


@pytest.mark.parametrize(("bad", "message"), [("nope", "no run 'nope' in"), ("", "no run ''"), ("TRASHED", "is in the trash")])
def test_of_several_runs_all_are_deleted_or_none(workspace: Workspace, bad: str, message: str) -> None:
    run, trashed = (workspace.new_run(title) for title in ("a", "b"))
    workspace.delete([trashed.id])
    with pytest.raises(InputError, match=message):
        workspace.delete([run.id, bad.replace("TRASHED", trashed.id)])
    assert [r.id for r in workspace.runs()] == [run.id]


@pytest.mark.parametrize("bad", ["nope", "", "PRESENT"])
def test_of_several_runs_all_are_put_back_or_none(workspace: Workspace, bad: str) -> None:
    run, present = (workspace.new_run(title) for title in ("a", "b"))
    workspace.delete([run.id])
    with pytest.raises(InputError, match="in the trash; 'oga runs --trash' lists those that are"):
        workspace.undelete([run.id, bad.replace("PRESENT", present.id)])
    assert [r.id for r in workspace.trash()] == [run.id]


def test_a_run_that_is_named_twice_is_deleted_once(workspace: Workspace) -> None:
    run = workspace.new_run("a")
    assert len(workspace.delete([run.id, run.id[:-1], run.id])) == 1


@pytest.mark.parametrize(("kind", "message"), [("score", "is being scored"), ("map", "has a map that is being computed")])
def test_a_run_with_a_running_job_is_not_deleted(workspace: Workspace, kind: str, message: str) -> None:
    run, other = (workspace.new_run(title) for title in ("a", "b"))
    run.job(kind).entered()
    with pytest.raises(InputError, match=f"run {run.id} {message}: cancel it first"):
        workspace.delete([other.id, run.id])
    run.job(kind).cancel()
    with pytest.raises(InputError, match="it was cancelled and is about to stop"):
        workspace.delete([run.id])
    assert len(workspace.runs()) == 2
    run.job(kind).entered(pid=2**22 + 1)  # of a process that has vanished
    workspace.delete([run.id])


def test_no_job_begins_in_a_deleted_run(workspace: Workspace) -> None:
    run = workspace.new_run("a")
    workspace.delete([run.id])
    with pytest.raises(DeletedRun), run.job("score").track(lambda *_: None):
        pytest.fail("begun")
    clean(workspace)
    with pytest.raises(UnknownRun, match="was removed for good"), run.job("score").track(lambda *_: None):
        pytest.fail("begun")
    assert rows_of(workspace, "jobs") == []


def test_a_workspace_that_is_only_read_deletes_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    run, trashed = (workspace.new_run(title) for title in ("a", "b"))
    workspace.delete([trashed.id])
    monkeypatch.setitem(database._only_read, workspace.database, "it is only read")
    for act in (lambda: workspace.delete([run.id]), lambda: workspace.undelete([trashed.id]), lambda: clean(workspace)):
        with pytest.raises(InputError, match="it is only read"):
            act()
    assert len(plan_cleaning(workspace).of("run")) == 1
    assert trashed.path.is_dir()


def test_decisions_made_in_a_deleted_run_stay_and_hold_in_the_next(workspace: Workspace) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    data = from_arrays(np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32), np.arange(60) % 2)
    run = score(model, data, detectors="l1", workspace=workspace)
    decide(run, run.table.iloc[:5], "remove", reviewer="ann")
    decide(run, run.table.iloc[5:7], "keep", reviewer="bob")
    undo(run, reviewer="bob")
    assert count_decisions(run) == (5, 1)
    redo(run, reviewer="bob")
    assert count_decisions(run) == (7, 2)
    workspace.delete([run.id])
    clean(workspace)
    other = score(model, data, detectors="l1", workspace=workspace)
    assert standing_of(other).codes.tolist() == [STATES.index("remove")] * 5 + [STATES.index("keep")] * 2 + [0] * 53
    assert count_decisions(other) == (0, 0)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (99_949, "99.9 kB"),
        (99_951, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (10**12, "1.0 TB"),
        (5 * 10**15, "5,000 TB"),
    ],
)
def test_bytes_for_people(count: int, shown: str) -> None:
    assert format_bytes(count) == shown
