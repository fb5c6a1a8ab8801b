"""Runs are deleted to a trash, put back from it, and removed for good with what only they needed."""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from oga_core import from_arrays, score
from oga_core.errors import InputError
from oga_core.review import STATES, Selection, count_decisions, decide, decisions, name_view, redo, save_view, standing_of, undo
from oga_core.runs import DataSource, DeletedRun, Run, RunSpec, Starter, UnknownRun, Weights, Workspace, database
from oga_core.runs.cleaning import OLD, clean, plan_cleaning
from oga_core.runs.removal import aside_of, format_bytes, named_uploads, set_aside, size_of
from oga_core.runs.sizes import measure_workspace, own_uploads
from tests.faults.killed_reviews import made_run

DAY = OLD + 60


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def dropped(workspace: Workspace, data: bytes, name: str = "data.csv") -> Path:
    with workspace.upload(name) as upload:
        upload.write(data)
        return upload.keep()


def run_on(workspace: Workspace, title: str, data: Path, weights: Path | None = None) -> Run:
    model = Starter() if weights is None else Weights(str(weights))
    run = workspace.new_run(title, RunSpec(DataSource(str(data)), model))
    (run.path / "table").write_bytes(bytes(1000))
    return run


def age(path: Path, seconds: float = DAY) -> None:
    then = time.time() - seconds
    for below in [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]:
        os.utime(below, (then, then), follow_symlinks=False)


def rows_of(workspace: Workspace, table: str) -> list[str]:
    with database.reading(workspace.database) as connection:
        return [row["run"] for row in connection.execute(f"SELECT run FROM {table}")]


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
    with pytest.raises(DeletedRun), run.job("score").doing(lambda *_: None):
        pytest.fail("begun")
    clean(workspace)
    with pytest.raises(UnknownRun, match="was removed for good"), run.job("score").doing(lambda *_: None):
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


# ---- clean ---------------------------------------------------------------------------------------------------------------------
def test_clean_removes_folders_rows_and_uploads_of_what_is_in_the_trash_and_nothing_else(workspace: Workspace) -> None:
    mine, shared, theirs = (dropped(workspace, data, f"{data.decode()}.csv") for data in (b"mine", b"shared", b"theirs"))
    run, other = run_on(workspace, "mine", mine, weights=shared), run_on(workspace, "theirs", theirs, weights=shared)
    for each in (run, other):
        each.add_file("scores", lambda path: path.write_bytes(bytes(500)))
        each.job("map").entered(pid=2**22 + 1)
        with database.writing(workspace.database) as connection:
            connection.execute("INSERT INTO views VALUES (?, ?, '{}', 1)", (each.id, each.id))
            connection.execute("INSERT INTO named_views VALUES (?, 'name', '{}')", (each.id,))
    workspace.delete([run.id])
    plan = plan_cleaning(workspace)
    assert run.path.is_dir()
    assert [(one.kind, one.name, one.size.bytes) for one in plan.removed] == [("upload", "mine.csv", 4), ("run", run.id, 1500)]
    done = clean(workspace)
    assert (sorted(one.name for one in done.removed), done.size.bytes, done.failed) == (sorted(["mine.csv", run.id]), 1504, [])
    assert not run.path.exists()
    assert not mine.exists()
    assert shared.read_bytes() == b"shared"
    assert theirs.read_bytes() == b"theirs"
    assert other.file("scores").stat().st_size == 500
    for table in ("files", "jobs", "views", "named_views"):
        assert rows_of(workspace, table) == [other.id]
    assert repr(run) == f"<oga run {run.id}: removed>"
    for read in (lambda: run.title, lambda: run.summary, lambda: run.deleted):
        with pytest.raises(UnknownRun, match=f"run {run.id} was removed for good"):
            read()
    with pytest.raises(UnknownRun):
        workspace.run(run.id)
    assert clean(workspace).removed == []


def test_an_upload_of_two_runs_goes_with_the_last_of_them(workspace: Workspace) -> None:
    path = dropped(workspace, b"data")
    first, second = run_on(workspace, "a", path), run_on(workspace, "b", path)
    assert own_uploads(first).files == 0
    workspace.delete([first.id])
    clean(workspace)
    assert path.exists()
    assert own_uploads(second).bytes == 4
    workspace.delete([second.id])
    assert [one.kind for one in clean(workspace).removed] == ["run", "upload"]
    assert list((workspace.path / "uploads").iterdir()) == []


def test_an_upload_that_nobody_has_scored_yet_stays_for_a_day(workspace: Workspace) -> None:
    path = dropped(workspace, b"data")
    assert clean(workspace).removed == []
    age(path.parent)
    assert [one.name for one in clean(workspace).removed] == ["data.csv"]
    assert not path.parent.exists()


def test_an_upload_that_is_dropped_again_stays_though_its_run_is_removed(workspace: Workspace) -> None:
    path = dropped(workspace, b"data")
    run = run_on(workspace, "a", path)
    with database.writing(workspace.database) as connection:
        connection.execute("UPDATE runs SET created = '2020-01-01T00:00:00+00:00'")
    age(path.parent, 3600)
    assert dropped(workspace, b"data") == path
    workspace.delete([run.id])
    assert [one.kind for one in clean(workspace).removed] == ["run"]
    assert path.read_bytes() == b"data"


def test_an_upload_is_known_wherever_the_workspace_was(workspace: Workspace, tmp_path: Path) -> None:
    path = dropped(workspace, b"data")
    run_on(workspace, "a", path)
    age(path.parent)
    workspace.path.rename(tmp_path / "moved")
    moved = Workspace(tmp_path / "moved")
    assert clean(moved).removed == []
    name = path.parent.name
    assert named_uploads(f'{{"data": "/a/{name}/x.zip", "weights": "/b/{name[::-1]}/{"0" * 32}/y"}}') == {
        name,
        name[::-1],
        "0" * 32,
    }


def test_links_are_removed_and_never_followed(workspace: Workspace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(bytes(5000))
    run, linked = workspace.new_run("a"), workspace.new_run("b")
    (run.path / "folder").symlink_to(outside)
    (run.path / "file").symlink_to(outside / "precious")
    (run.path / "nowhere").symlink_to(tmp_path / "nowhere")
    (run.path / "round").symlink_to(run.path)
    linked.path.rmdir()
    linked.path.symlink_to(outside)
    assert size_of(run.path).bytes < 1000
    upload = workspace.path / "uploads" / ("0" * 32)
    upload.parent.mkdir()
    upload.symlink_to(outside)
    age(upload)
    workspace.delete([run.id, linked.id])
    assert clean(workspace).failed == []
    assert (outside / "precious").stat().st_size == 5000
    assert not run.path.exists()
    assert not os.path.lexists(linked.path)
    assert not os.path.lexists(upload)


def test_orphans_are_removed_a_day_later_and_what_others_have_put_there_stays(workspace: Workspace) -> None:
    run = workspace.new_run("a")
    orphan, foreign = workspace.path / "runs" / "20200101-000000-abcdef", workspace.path / "runs" / "my notes"
    own = workspace.path / "uploads" / "my data"
    parts = [run.path / ".0123.part", workspace.path / ".4567.part", workspace.path / "examples" / ".89.part"]
    for folder in (orphan, foreign, own, workspace.path / "examples"):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"12345")
    for part in parts:
        part.write_bytes(b"123")
    folder_part = workspace.path / ".writing.part"
    folder_part.mkdir()
    (folder_part / "file").write_bytes(b"1")
    assert clean(workspace).removed == []
    for path in (orphan, foreign, own, *parts, folder_part, run.path):
        age(path)
    done = clean(workspace)
    assert sorted(one.name for one in done.removed) == sorted(
        [f"runs/{orphan.name}", f"runs/{run.id}/.0123.part", ".4567.part", "examples/.89.part", ".writing.part"]
    )
    assert done.size.bytes == 5 + 3 * 3 + 1
    assert (foreign / "file").exists()
    assert (own / "file").exists()
    assert run.path.is_dir()


def test_a_run_that_was_put_back_after_the_plan_stays(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_on(workspace, "a", dropped(workspace, b"data"))
    workspace.delete([run.id])
    plan = plan_cleaning(workspace)
    workspace.undelete([run.id])
    monkeypatch.setattr("oga_core.runs.cleaning.plan_cleaning", lambda *_: plan)
    assert clean(workspace).removed == []
    assert (run.path / "table").exists()
    assert run.spec.data is not None
    assert Path(run.spec.data.source).exists()


def test_only_the_runs_that_are_named_are_removed(workspace: Workspace) -> None:
    runs = [run_on(workspace, title, dropped(workspace, title.encode())) for title in ("a", "b")]
    workspace.delete([run.id for run in runs])
    clean(workspace, [runs[0].id])
    assert [run.id for run in workspace.trash()] == [runs[1].id]
    assert runs[1].spec.data is not None
    assert Path(runs[1].spec.data.source).exists()


def test_what_cannot_be_removed_is_named_and_removed_the_next_time(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [workspace.new_run(title) for title in ("a", "b")]
    workspace.delete([run.id for run in runs])

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("oga_core.runs.removal.shutil.rmtree", refuse)
        done = clean(workspace)
    assert done.removed == []
    assert done.failed == [f"run {run.id} could not be removed: Permission denied" for run in reversed(runs)]
    assert workspace.trash() == []
    assert len(clean(workspace).of("rest")) == 2
    assert list((workspace.path / "runs").iterdir()) == []


def test_two_that_clean_at_once_remove_everything_once(workspace: Workspace) -> None:
    runs = [run_on(workspace, str(number), dropped(workspace, str(number).encode())) for number in range(12)]
    for run in runs:
        for number in range(20):
            (run.path / f"{number}").mkdir()
            (run.path / f"{number}" / "file").write_bytes(b"1")
    workspace.delete([run.id for run in runs])
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: clean(Workspace(workspace.path)), range(2)))
    assert [one.failed for one in done] == [[], []]
    assert sorted(one.name for each in done for one in each.of("run")) == sorted(run.id for run in runs)
    assert list((workspace.path / "runs").iterdir()) == list((workspace.path / "uploads").iterdir()) == []


def test_a_page_that_writes_after_the_removal_leaves_no_row(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    run.workspace.delete([run.id])
    clean(run.workspace)
    save_view(run, Selection("l1", 0.1))
    name_view(run, "a name", Selection("l1", 0.1))
    assert rows_of(run.workspace, "views") == rows_of(run.workspace, "named_views") == []


def test_put_back_brings_files_that_a_killed_cleaning_had_set_aside(workspace: Workspace) -> None:
    run = run_on(workspace, "a", dropped(workspace, b"data"))
    workspace.delete([run.id])
    set_aside(run.path)
    assert run.spec.data is not None
    set_aside(Path(run.spec.data.source).parent)
    assert measure_workspace(workspace).trash[0].bytes == 1000
    workspace.undelete([run.id])
    assert (run.path / "table").stat().st_size == 1000
    assert Path(run.spec.data.source).read_bytes() == b"data"
    assert not aside_of(run.path).exists()


# ---- sizes ---------------------------------------------------------------------------------------------------------------------
def test_the_sizes_of_a_workspace_add_up(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    workspace = run.workspace
    chance = random.Random(0)
    for _ in range(40):
        act = chance.choice((None, None, undo, redo))
        if act is None:
            decide(run, run.table.sample(3, random_state=chance.randrange(99)), "remove", reviewer=chance.choice("ab"))
        else:
            act(run, reviewer=chance.choice("ab"))
    other = run_on(workspace, "another", dropped(workspace, b"12345"))
    dropped(workspace, b"123", "unused.csv")
    workspace.delete([other.id])
    (workspace.path / "examples").mkdir()
    (workspace.path / "examples" / "a.csv").write_bytes(bytes(70))
    (workspace.path / "oga.sqlite.backup").write_bytes(bytes(90))
    (workspace.path / "numba").mkdir()
    (workspace.path / "numba" / "cache").write_bytes(bytes(11))
    sizes = measure_workspace(workspace)
    in_run = sum(p.stat().st_size for p in run.path.rglob("*") if p.is_file())
    assert [(r.run, r.bytes, r.deleted) for r in sizes.runs] == [(run.id, in_run, "")]
    assert [(r.run, r.bytes, r.samples, r.state) for r in sizes.trash] == [(other.id, 1000, None, "absent")]
    assert (sizes.used.bytes, sizes.unused.bytes, sizes.examples.bytes, sizes.copies.bytes) == (5, 3, 70, 90)
    assert sizes.database.bytes == workspace.database.stat().st_size
    assert (sizes.other.bytes, sizes.schema) == (11, 3)
    assert sizes.total.bytes == sum(p.stat().st_size for p in workspace.path.rglob("*") if p.is_file())
    assert (sizes.events, sizes.decided) == (len(rows_of(workspace, "events")), len(decisions(run)))
    assert sizes.free > 0
    assert sizes.to_dict()["uploads"] == {"used": {"files": 1, "bytes": 5}, "unused": {"files": 1, "bytes": 3}}


def test_a_workspace_that_must_exist_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no workspace at {tmp_path / 'none'}; .* --workspace or OGA_WORKSPACE"):
        Workspace(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()
    Workspace(tmp_path / "some")
    assert Workspace(tmp_path / "some", create=False).runs() == []


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
