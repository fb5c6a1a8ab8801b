"""Faults 6, 8, 9, 12, 15, 16: the workspace's file cannot be written, is damaged, is shared, or is killed in a migration."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from oga_core import worker
from oga_core.cli import main
from oga_core.errors import InputError
from oga_core.review import decide, decisions, history, standing_of, undo
from oga_core.runs import Run, Workspace, database
from oga_core.scoring import do_run, prepare_example
from tests.faults.disks import read_only
from tests.faults.killed import fork, killed_after
from tests.faults.killed_reviews import made_run
from tests.runs.test_database import VERSION_1, everything, schema

OpenPage = Callable[..., AppTest]


@pytest.fixture
def reviewed(tmp_path: Path) -> Run:
    """A run on which 25 single decisions were made before the backup of today, and 3 after it."""
    run = made_run(tmp_path / "reviewed")
    for row in range(25):
        decide(run, run.table.iloc[[row]], "remove", reviewer="ann")
    Workspace(run.workspace.path)
    for row in range(25, 28):
        decide(run, run.table.iloc[[row]], "keep", reviewer="ann")
    return run


def standing(run: Run) -> dict[str, str]:
    return {sample: d.action for sample, d in decisions(run).items()}


# ---- 12: a damaged file --------------------------------------------------------------------------------------------------------
def root_page(path: Path, name: str) -> int:
    with sqlite3.connect(path) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    return int(page)


def damage_page(path: Path, page: int) -> bytes:
    """Overwrite a page with noise; the bytes of the file then."""
    size = int.from_bytes(path.read_bytes()[16:18], "big")
    with open(path, "r+b") as handle:
        handle.seek((page - 1) * size)
        handle.write(random.Random(0).randbytes(size))
    return path.read_bytes()


def test_a_damaged_file_is_only_read_and_left_as_it_is_and_the_backup_is_offered(reviewed: Run) -> None:
    path = reviewed.workspace.database
    damaged = damage_page(path, root_page(path, "events_of_identity"))
    opened = Workspace(path.parent)
    assert f"{path} is damaged" in opened.read_only
    assert "a backup of 20" in opened.read_only
    assert f"oga restore --workspace {path.parent}" in opened.read_only
    run = opened.run(reviewed.id)
    assert len(run.table) == 40
    for write in (
        lambda: decide(run, run.table.iloc[:1], "keep", reviewer="ann"),
        lambda: undo(run, reviewer="ann"),
        lambda: opened.new_run("another"),
        run.job("map").entered,
    ):
        with pytest.raises(InputError, match="is damaged"):
            write()
    assert path.read_bytes() == damaged
    assert not list(path.parent.glob("*-journal"))


def test_restoring_brings_back_the_backup_and_what_can_still_be_read_beside_it(
    reviewed: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    path = reviewed.workspace.database
    wanted = standing(reviewed)
    damaged = damage_page(path, root_page(path, "events_of_identity"))
    assert main(["restore", "--workspace", str(path.parent)]) == 0
    assert "25 events are back, and 3 more that could still be read" in capsys.readouterr().out
    opened = Workspace(path.parent)
    assert not opened.read_only
    run = opened.run(reviewed.id)
    assert standing(run) == wanted
    (aside,) = path.parent.glob("oga.sqlite.damaged-*")
    assert aside.read_bytes() == damaged
    decide(run, run.table.iloc[[0]], "unsure", reviewer="ann")
    assert main(["restore", "--workspace", str(path.parent)]) == 2
    assert "is not damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "junk", [b"", b"not a database" * 500, b"SQLite format 3\0" + b"\xff" * 5000], ids=["empty", "text", "noise"]
)
def test_where_nothing_can_be_read_the_backup_comes_back(reviewed: Run, junk: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    path = reviewed.workspace.database
    if junk:
        path.write_bytes(junk)
        with pytest.raises(InputError, match=r"is damaged .*oga restore"):
            Workspace(path.parent)
        assert path.read_bytes() == junk
    else:
        path.unlink()
    assert main(["restore", "--workspace", str(path.parent)]) == 0
    assert "25 events are back" in capsys.readouterr().out
    assert set(standing(Workspace(path.parent).run(reviewed.id)).values()) == {"remove"}


def test_a_damage_that_comes_while_it_is_open_is_found_when_it_is_met(reviewed: Run) -> None:
    path = reviewed.workspace.database
    damaged = damage_page(path, root_page(path, "events"))
    with pytest.raises(InputError, match=r"is damaged .*oga restore"):
        decisions(reviewed)
    with pytest.raises(InputError, match="is damaged"):
        decide(reviewed, reviewed.table.iloc[:1], "keep", reviewer="ann")
    assert path.read_bytes() == damaged
    assert reviewed.workspace.read_only


def test_a_damaged_file_never_takes_the_place_of_the_backup(reviewed: Run) -> None:
    path, backup = reviewed.workspace.database, database.backup_of(reviewed.workspace.database)
    before = backup.read_bytes()
    os.utime(backup, (1, 1))
    damage_page(path, root_page(path, "events_of_identity"))
    Workspace(path.parent)
    assert backup.read_bytes() == before
    damage_page(backup, 1)
    path.unlink()
    assert main(["restore", "--workspace", str(path.parent)]) == 2
    assert not path.exists()


# ---- 6: a folder that cannot be written ----------------------------------------------------------------------------------------
def test_a_folder_that_cannot_be_written_is_told_at_the_start_and_can_be_looked_at(
    scored: Run, tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with read_only(tmp_path / "disk", 64, scored.workspace.path) as folder:
        monkeypatch.setenv("OGA_WORKSPACE", str(folder))
        opened = Workspace()
        told = f"{opened.database} cannot be written: what is there can be looked at, and no decision can be saved"
        assert opened.read_only == told
        for name in ("start", "scores", "review", "export"):
            at = open_page(name, run=scored.id)
            assert [w.value.replace("\\", "") for w in at.warning][:1] == [told]
        run = opened.run(scored.id)
        for write in (
            lambda: decide(run, scored.table.iloc[:1], "keep", reviewer="ann"),
            lambda: opened.new_run("another"),
            lambda: do_run(run),
            lambda: prepare_example(opened, "digits"),
        ):
            with pytest.raises(InputError, match="no decision can be saved"):
                write()
        worker.start(run, "map")
        assert run.job("map").status().state == "absent"


def test_a_journal_that_is_written_ahead_can_be_looked_at_too(reviewed: Run, tmp_path: Path) -> None:
    with sqlite3.connect(reviewed.workspace.database) as connection:
        assert connection.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
    connection.close()
    with read_only(tmp_path / "disk", 8, reviewed.workspace.path) as folder:
        opened = Workspace(folder)
        assert "cannot be written" in opened.read_only
        assert len(decisions(opened.run(reviewed.id))) == 28


# ---- 8 and 15: order and what was seen -----------------------------------------------------------------------------------------
def test_a_clock_that_goes_back_an_hour_changes_no_order(reviewed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["oga_core.review.decisions"]
    one = reviewed.table.iloc[[0]]
    times = iter(["2026-03-29T03:10:00+00:00", "2026-03-29T02:10:00+00:00", "2026-03-29T02:10:01+00:00"])
    monkeypatch.setattr(module, "now", lambda: next(times))
    decide(reviewed, one, "keep", reviewer="ann")
    decide(reviewed, one, "unsure", reviewer="ann")
    assert standing(reviewed)["s0"] == standing_of(reviewed).by_id["s0"].action == "unsure"
    assert history(reviewed, "s0")["action"].tolist() == ["remove", "keep", "unsure"]
    undo(reviewed, reviewer="ann")
    assert standing(reviewed)["s0"] == standing_of(reviewed).by_id["s0"].action == "keep"


def test_a_decision_from_a_page_that_had_not_seen_the_last_one_is_found(reviewed: Run) -> None:
    one = reviewed.table.iloc[[30]]
    first = {"s30": 0}
    decide(reviewed, one, "keep", reviewer="bob", seen=first)
    decide(reviewed, one, "remove", reviewer="ann", seen=first)
    assert decisions(reviewed)["s30"].conflict
    assert [w.action for w in decisions(reviewed)["s30"].others] == ["keep"]
    assert len(history(reviewed, "s30")) == 2


# ---- 9: two servers ------------------------------------------------------------------------------------------------------------
def test_two_servers_on_one_workspace_lose_nothing_and_see_one_another(reviewed: Run) -> None:
    path, each = reviewed.workspace.path, 40

    def serve(reviewer: str, barrier: object) -> None:
        run = Workspace(path).run(reviewed.id)
        standing_of(run)
        barrier.wait()  # type: ignore[attr-defined]
        for i in range(each):
            decide(run, run.table.iloc[[i % 40]], "unsure", reviewer=reviewer, op_id=f"{reviewer}-{i}")
            if i % 4 == 3:
                undo(run, reviewer=reviewer, op_id=f"{reviewer}-undo-{i}")
        assert standing_of(run).version >= each

    barrier = fork.Barrier(2)
    servers = [fork.Process(target=serve, args=(name, barrier)) for name in ("bob", "cid")]
    for server in servers:
        server.start()
    for server in servers:
        server.join()
    assert [server.exitcode for server in servers] == [0, 0]
    with database.reading(reviewed.workspace.database) as connection:
        ops = [row[0] for row in connection.execute("SELECT batch FROM events WHERE reviewer != 'ann' ORDER BY seq")]
    assert len(ops) == len(set(ops)) == 2 * (each + each // 4)
    for name in ("bob", "cid"):  # each in its own order
        own = [op for op in ops if op.startswith(name) and "undo" not in op]
        assert own == [f"{name}-{i}" for i in range(each)]
    assert standing_of(reviewed).by_id == decisions(reviewed)


# ---- 16: a kill in a migration -------------------------------------------------------------------------------------------------
def old_file(folder: Path) -> Path:
    folder.mkdir()
    connection = sqlite3.connect(folder / "oga.sqlite")
    connection.executescript(VERSION_1)
    connection.close()
    return folder / "oga.sqlite"


def killed_at_statement(path: Path, number: int) -> None:
    """Bring a file up to date in a process that kills itself before a statement of the steps, or before the version is set."""

    def work(pipe: int) -> None:
        statements, last = database._statements, database._STEPS[-1]
        numbers = itertools.count()

        def cut(script: str) -> object:
            for statement in statements(script):
                if next(numbers) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield statement
            if script == last:
                os.kill(os.getpid(), signal.SIGKILL)

        database._statements = cut  # type: ignore[assignment]
        database.create(path)

    killed_after(60, work)


def test_a_kill_at_any_statement_of_a_migration_leaves_the_old_version_whole(tmp_path: Path) -> None:
    new = tmp_path / "new.sqlite"
    database.create(new)
    steps = sum(len(list(database._statements(step))) for step in database._STEPS[1:])
    for number in range(steps + 1):
        path = old_file(tmp_path / str(number))
        before, old = everything(path), schema(path)
        killed_at_statement(path, number)
        assert (everything(path), schema(path)) == (before, old)
        database.create(path)
        assert (everything(path), schema(path)) == (before, schema(new))


def test_a_kill_at_any_moment_of_a_migration_leaves_the_old_version_or_the_new(tmp_path: Path) -> None:
    new, moments = tmp_path / "new.sqlite", random.Random(0)
    database.create(new)
    began = time.monotonic()
    killed_after(60, lambda pipe: database.create(old_file(tmp_path / "timed")))
    takes = time.monotonic() - began
    for number in range(16):
        path = old_file(tmp_path / str(number))
        before, old = everything(path), schema(path)
        killed_after(moments.uniform(0, takes), lambda pipe, path=path: database.create(path))  # type: ignore[misc]
        assert schema(path) in (old, schema(new))
        assert everything(path) == before
        database.create(path)
        assert (everything(path), schema(path)) == (before, schema(new))
