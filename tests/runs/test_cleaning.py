"""Deleted runs are removed for good with what only they needed."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from oga_core.review import Selection, name_view, save_view
from oga_core.runs import UnknownRun, Workspace, database
from oga_core.runs.cleaning import clean, plan_cleaning
from oga_core.runs.removal import aside_of, list_uploads, set_aside, size_of
from oga_core.runs.sizes import measure_workspace, own_uploads
from tests.faults.killed_reviews import made_run
from tests.runs.runs_on_files import age, dropped, rows_of, run_on, workspace

__all__ = ["workspace"]


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
    assert list_uploads(f'{{"data": "/a/{name}/x.zip", "weights": "/b/{name[::-1]}/{"0" * 32}/y"}}') == {
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
