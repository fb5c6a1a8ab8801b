"""Kill -9 while the trash is emptied: the workspace opens, and cleaning again finishes the work."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from oga_core.review import decide, decisions
from oga_core.runs import DataSource, Run, RunSpec, Weights, Workspace, database
from oga_core.runs.cleaning import OLD, clean
from oga_core.runs.run import TABLE
from tests.faults.killed import killed_after
from tests.faults.killed_reviews import made_run

STEPS = ("os.rename", "os.remove", "os.rmdir")
"""Of the file system, as Python's audit events name them."""


def dropped(workspace: Workspace, name: str) -> Path:
    with workspace.upload(name) as upload:
        upload.write(name.encode())
        return upload.keep()


def made_workspace(folder: Path) -> tuple[Workspace, list[Run]]:
    """A workspace with two decided runs in the trash, one with an upload that a third run uses too, and with an orphan."""
    kept = made_run(folder)
    workspace = kept.workspace
    own, shared = dropped(workspace, "own"), dropped(workspace, "shared")
    kept.set_spec(RunSpec(DataSource(str(shared))))
    runs = [workspace.new_run("own", RunSpec(DataSource(str(own)), Weights(str(shared)))), workspace.new_run("another")]
    for run in runs:
        for name in ("a", "parts/b"):
            (run.path / name).parent.mkdir(exist_ok=True)
            run.add_file(name, lambda path: path.write_bytes(b"1234"))
    decide(kept, kept.table.iloc[:5], "remove", reviewer="ann")
    orphan = workspace.path / "runs" / "20200101-000000-abcdef"
    orphan.mkdir()
    os.utime(orphan, (time.time() - OLD - 60,) * 2)
    workspace.delete([run.id for run in runs])
    return workspace, [kept, *runs]


def files(path: Path) -> list[str]:
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if not p.name.startswith("oga.sqlite"))


def check_usable(workspace: Workspace, runs: list[Run]) -> None:
    """What a kill has left opens; each run is whole in the trash, from which it can be put back, or gone."""
    opened = Workspace(workspace.path)
    assert not opened.read_only
    kept, *deleted = runs
    assert [run.id for run in opened.runs()] == [kept.id]
    assert opened.run(kept.id).file(TABLE).is_file()
    assert kept.spec.data is not None
    assert Path(kept.spec.data.source).read_bytes() == b"shared"
    assert len(decisions(opened.run(kept.id))) == 5
    for run in opened.trash():
        (again,) = opened.undelete([run.id])
        assert again.file("a").read_bytes() == again.file("parts/b").read_bytes() == b"1234"
        if data := again.spec.data:
            assert Path(data.source).read_bytes() == b"own"
        opened.delete([run.id])
    assert {run.id for run in opened.trash()} <= {run.id for run in deleted}


def check_finished(workspace: Workspace, runs: list[Run], expected: list[str]) -> None:
    """Cleaning again leaves what a cleaning leaves that nothing has broken."""
    assert clean(Workspace(workspace.path)).failed == []
    assert Workspace(workspace.path).trash() == []
    assert files(workspace.path) == [name.replace("KEPT", runs[0].id) for name in expected]
    with database.reading(workspace.database) as connection:
        for table in ("files", "jobs", "views", "named_views"):
            assert {row["run"] for row in connection.execute(f"SELECT run FROM {table}")} <= {runs[0].id}
    assert len(decisions(runs[0])) == 5


def killed_at(workspace: Workspace, number: int) -> bool:
    """Clean in a process that kills itself before a step: a rename, a removal or a statement; whether there was such a step."""

    def work(pipe: int) -> None:
        numbers, cleaning, open_ = itertools.count(), [True], database._open

        def step(*_: object) -> None:
            if cleaning[0] and next(numbers) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        def traced(path: Path) -> sqlite3.Connection:
            connection = open_(path)
            connection.set_trace_callback(step)
            return connection

        opened = Workspace(workspace.path)
        database._open = traced
        sys.addaudithook(lambda event, _: step() if event in STEPS else None)
        clean(opened)
        cleaning[0] = False
        os.write(pipe, b"done\n")

    return killed_after(60, work) == []


@pytest.fixture
def expected(tmp_path: Path) -> list[str]:
    """The files after a cleaning that nothing has broken."""
    workspace, runs = made_workspace(tmp_path / "unbroken")
    clean(workspace)
    found = [name.replace(runs[0].id, "KEPT") for name in files(workspace.path)]
    assert runs[0].spec.data is not None
    shared = Path(runs[0].spec.data.source).relative_to(workspace.path)
    assert found == ["runs", "runs/KEPT", f"runs/KEPT/{TABLE}", "uploads", str(shared.parent), str(shared)]
    return found


@pytest.mark.parametrize("put_back", [False, True])
def test_a_kill_before_any_step_of_a_cleaning_leaves_what_the_next_one_finishes(
    tmp_path: Path, expected: list[str], put_back: bool
) -> None:
    for number in itertools.count():
        workspace, runs = made_workspace(tmp_path / str(number))
        killed = killed_at(workspace, number)
        if put_back:
            check_usable(workspace, runs)
        check_finished(workspace, runs, expected)
        if not killed:
            break
    assert number > 30


def test_two_kills_and_a_put_back_between_them_lose_nothing(tmp_path: Path, expected: list[str]) -> None:
    chance = random.Random(0)
    for number in range(15):
        workspace, runs = made_workspace(tmp_path / str(number))
        for _ in range(2):
            killed_at(workspace, chance.randrange(45))
            check_usable(workspace, runs)
        check_finished(workspace, runs, expected)


def test_a_kill_at_any_moment_of_deleting_and_cleaning_loses_nothing(tmp_path: Path, expected: list[str]) -> None:
    chance = random.Random(1)
    for number in range(15):
        workspace, runs = made_workspace(tmp_path / str(number))

        def work(pipe: int, path: Path = workspace.path) -> None:
            opened = Workspace(path)
            os.write(pipe, b"begun\n")
            clean(opened)

        killed_after(chance.uniform(0, 0.08), work, begun=True)
        check_usable(workspace, runs)
        check_finished(workspace, runs, expected)


@pytest.mark.parametrize("act", ["delete", "undelete"])
def test_a_kill_before_any_statement_of_deleting_moves_all_runs_or_none(tmp_path: Path, act: str) -> None:
    for number in itertools.count():
        workspace, (kept, *runs) = made_workspace(tmp_path / str(number))
        if act == "delete":
            workspace.undelete([run.id for run in runs])

        def work(pipe: int, number: int = number, workspace: Workspace = workspace, runs: list[Run] = runs) -> None:
            numbers, open_ = itertools.count(), database._open

            def traced(path: Path) -> sqlite3.Connection:
                connection = open_(path)
                connection.set_trace_callback(lambda _: None if next(numbers) != number else os.kill(os.getpid(), signal.SIGKILL))
                return connection

            database._open = traced
            getattr(workspace, act)([run.id for run in runs])
            os.write(pipe, b"done\n")

        done = killed_after(60, work) == ["done"]
        assert len(Workspace(workspace.path).trash()) == (2 if (act == "delete") == done else 0)
        assert len(decisions(kept)) == 5
        if done:
            break
    assert number > 5
