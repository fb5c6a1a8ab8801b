"""The workspace's SQLite file: durable, all or nothing, and never one that is not ours."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from oga_core.errors import InputError
from oga_core.runs import database
from tests.summaries import make_summary


@pytest.fixture
def path(tmp_path: Path) -> Path:
    database.create(tmp_path / "oga.sqlite")
    return tmp_path / "oga.sqlite"


def insert(connection: sqlite3.Connection, run: str) -> None:
    connection.execute("INSERT INTO runs (id, created, title, settings) VALUES (?, '', '', '{}')", (run,))


def names(path: Path) -> list[str]:
    with database.reading(path) as connection:
        return [row["id"] for row in connection.execute("SELECT id FROM runs ORDER BY id")]


@pytest.mark.parametrize(
    ("version", "settings"),
    [
        ((3, 40, 1), ("delete", 3)),
        ((3, 44, 5), ("delete", 3)),
        ((3, 44, 6), ("wal", 2)),
        ((3, 45, 0), ("delete", 3)),
        ((3, 50, 6), ("delete", 3)),
        ((3, 50, 7), ("wal", 2)),
        ((3, 51, 2), ("delete", 3)),
        ((3, 51, 3), ("wal", 2)),
        ((3, 52, 0), ("wal", 2)),
    ],
)
def test_the_journal_is_written_ahead_only_where_sqlite_does_not_lose_commits(
    path: Path, version: tuple[int, int, int], settings: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    with database.reading(path) as connection:
        pragmas = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert tuple(pragmas) == settings


def test_what_was_written_is_there_once_the_block_has_been_left(path: Path) -> None:
    with database.writing(path) as connection:
        insert(connection, "a")
        assert names(path) == []
    assert names(path) == ["a"]


def test_a_writer_waits_for_another_and_sees_what_that_has_written(path: Path) -> None:
    inside = threading.Event()

    def first() -> None:
        with database.writing(path) as connection:
            inside.set()
            time.sleep(0.3)
            insert(connection, "a")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with database.writing(path) as connection:  # a plain BEGIN would read first, and fail at once when it comes to write
        assert connection.execute("SELECT id FROM runs").fetchone()["id"] == "a"
        insert(connection, "b")
    thread.join()
    assert names(path) == ["a", "b"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_rolls_everything_back(path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with database.writing(path) as connection:
            insert(connection, "a")
            raise error

    with pytest.raises(error):
        fail()
    assert names(path) == []


def test_the_error_that_made_sqlite_roll_back_is_the_one_that_is_told(path: Path) -> None:
    def fail() -> None:
        with database.writing(path) as connection:
            insert(connection, "a")
            connection.execute("INSERT OR ROLLBACK INTO runs (id, created, title, settings) VALUES ('a', '', '', '{}')")

    with pytest.raises(sqlite3.IntegrityError, match=r"runs\.id"):
        fail()
    assert names(path) == []


def test_opening_twice_keeps_what_is_there(path: Path) -> None:
    with database.writing(path) as connection:
        insert(connection, "a")
    database.create(path)
    assert names(path) == ["a"]


def refused(path: Path) -> str:
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        database.create(path)
    assert path.read_bytes() == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={database.SCHEMA_VERSION + 1}")
    connection.close()
    assert "update OGA" in refused(path)


@pytest.mark.parametrize("junk", [b"not a database" * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "oga.sqlite").write_bytes(junk)
    assert str(tmp_path / "oga.sqlite") in refused(tmp_path / "oga.sqlite")


def test_a_database_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "oga.sqlite")
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    assert "something else" in refused(tmp_path / "oga.sqlite")


VERSION_1 = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY, created TEXT NOT NULL, title TEXT NOT NULL, settings TEXT NOT NULL, summary TEXT NOT NULL DEFAULT '{}');
CREATE TABLE jobs (
    run TEXT NOT NULL REFERENCES runs(id), kind TEXT NOT NULL, state TEXT NOT NULL, stage TEXT NOT NULL DEFAULT '',
    done INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '', pid INTEGER,
    cancel INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (run, kind));
CREATE TABLE views (
    id TEXT PRIMARY KEY, run TEXT NOT NULL REFERENCES runs(id), state TEXT NOT NULL, seq INTEGER NOT NULL);
CREATE TABLE reviewers (browser TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE files (
    run TEXT NOT NULL REFERENCES runs(id), name TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (run, name));
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, op_id TEXT NOT NULL UNIQUE, batch TEXT NOT NULL, run TEXT NOT NULL,
    sample_id TEXT NOT NULL, reviewer TEXT NOT NULL, action TEXT NOT NULL, old_label TEXT NOT NULL,
    new_label TEXT NOT NULL, base_seq INTEGER NOT NULL, undoes INTEGER, time TEXT NOT NULL);
CREATE INDEX events_of_sample ON events (sample_id, seq);
CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
PRAGMA user_version=1;
INSERT INTO runs VALUES ('r', 'now', 'first', '{}', 'SUMMARY');
INSERT INTO jobs (run, kind, state) VALUES ('r', 'score', 'done');
INSERT INTO views VALUES ('v', 'r', '{}', 3);
INSERT INTO reviewers VALUES ('browser', 'ann');
INSERT INTO files VALUES ('r', 'table.parquet', 'abc', 7);
INSERT INTO events VALUES (1, 'a/0', 'a', 'r', 's0', 'ann', 'keep', 'cat', '', 0, NULL, '2026-01-01T00:00:00+00:00');
INSERT INTO events VALUES (4, 'b/0', 'b', 'r', 's0', 'ann', 'undo', 'cat', '', 1, 1, '2026-01-01T00:00:01+00:00');
INSERT INTO events VALUES (5, 'c/0', 'c', 'r', 's1', 'bob', 'relabel', 'cat', 'dog', 0, NULL, '2026-01-01T00:00:02+00:00');
"""
KEPT = {
    "runs": "id, created, title, settings, summary",
    "jobs": "*",
    "views": "*",
    "reviewers": "name",
    "files": "*",
    "events": "seq, op_id, batch, run, sample_id, reviewer, action, old_label, new_label, base_seq, undoes, time",
}
"""Columns that every version has, by table."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file as the first version wrote it."""
    connection = sqlite3.connect(tmp_path / "oga.sqlite")
    connection.executescript(VERSION_1.replace("SUMMARY", make_summary(class_names=("cat", "dog")).to_json()))
    connection.close()
    return tmp_path / "oga.sqlite"


def everything(path: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(path)
    found = {name: connection.execute(f"SELECT {columns} FROM {name}").fetchall() for name, columns in KEPT.items()}
    connection.close()
    return found


def schema(path: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
    connection.close()
    return [*found, sqlite3.connect(path).execute("PRAGMA user_version").fetchone()]


def test_a_file_of_the_first_version_becomes_one_of_this_version_with_all_that_was_in_it(old: Path, tmp_path: Path) -> None:
    before = everything(old)
    database.create(old)
    assert everything(old) == before
    database.create(tmp_path / "new.sqlite")
    assert schema(old) == schema(tmp_path / "new.sqlite")
    database.create(old)
    assert everything(old) == before


def test_before_that_a_copy_is_made_of_it(old: Path) -> None:
    before, as_it_was = everything(old), schema(old)
    database.create(old)
    copy = old.with_name("oga.sqlite.version-1")
    assert (everything(copy), schema(copy)) == (before, as_it_was)
    with database.writing(old) as connection:
        insert(connection, "later")
    database.create(old)
    assert everything(copy) == before
    assert sorted(p.name for p in old.parent.glob("*.version-*")) == ["oga.sqlite.version-1"]


def test_decisions_of_the_first_version_stand_and_can_be_taken_back(old: Path) -> None:
    from oga_core.review import browser_reviewer, decisions, redo, undo
    from oga_core.runs import Workspace

    run = Workspace(old.parent).run("r")
    ann = browser_reviewer(run.workspace, "browser")  # the one browser in which this name was entered
    assert ann.name == "ann"
    assert {s: (d.reviewer, d.action, d.new_label) for s, d in decisions(run).items()} == {"s1": ("bob", "relabel", "dog")}
    assert redo(run, reviewer="ann") == []
    assert redo(run, reviewer=ann) == ["s0"]
    assert undo(run, reviewer="bob") == ["s1"]
    assert set(decisions(run)) == {"s0"}


def test_old_decisions_under_a_name_of_several_browsers_belong_to_the_name(old: Path) -> None:
    from oga_core.review import Reviewer, browser_reviewer, redo
    from oga_core.runs import Workspace

    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("INSERT INTO reviewers VALUES ('another', 'ann')")
    run = Workspace(old.parent).run("r")
    assert redo(run, reviewer=browser_reviewer(run.workspace, "browser")) == []
    assert redo(run, reviewer=Reviewer("ann", "ann")) == ["s0"]


def test_no_cookie_of_a_browser_is_kept(old: Path) -> None:
    database.create(old)
    with closing(sqlite3.connect(old)) as connection:
        dumped = "".join(connection.iterdump())
    assert "'browser'" not in dumped
    assert database.browser_identity("browser") in dumped


@pytest.mark.parametrize(("step", "statement"), [(step, i) for step, last in ((1, 5), (2, 10)) for i in range(last)])
def test_one_that_stops_half_way_leaves_the_first_version(
    old: Path, step: int, statement: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, as_it_was = everything(old), schema(old)
    statements = list(database._statements(database._STEPS[step]))
    broken = "".join([*statements[:statement], "SELECT broken;\n"])
    monkeypatch.setattr(database, "_STEPS", (*database._STEPS[:step], broken, *database._STEPS[step + 1 :]))
    with pytest.raises(InputError, match="not a usable OGA workspace file"):
        database.create(old)
    assert (everything(old), schema(old)) == (before, as_it_was)
    monkeypatch.undo()
    database.create(old)
    assert everything(old) == before
    assert schema(old)[-1] == (database.SCHEMA_VERSION,)


def test_where_the_copy_cannot_be_made_nothing_is_changed(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, as_it_was = everything(old), schema(old)

    def full(path: Path, write: object, **_: bool) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(database, "write_whole", full)
    with pytest.raises(InputError, match="No space left on device"):
        database.create(old)
    assert (everything(old), schema(old)) == (before, as_it_was)


def test_two_servers_that_open_an_old_file_at_once_bring_it_up_to_date_once(old: Path) -> None:
    before = everything(old)
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=database.create, args=(old,)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert everything(old) == before


def test_a_backup_is_made_once_there_is_something_in_it_and_again_a_day_later(path: Path) -> None:
    backup = database.backup_of(path)
    database.create(path)
    assert not backup.exists()
    decide(path, "a")
    database.create(path)
    assert decided(backup) == ["a"]
    decide(path, "b")
    database.create(path)
    assert decided(backup) == ["a"]
    old = backup.stat().st_mtime - database.BACKUP_SECONDS
    os.utime(backup, (old, old))
    database.create(path)
    assert decided(backup) == ["a", "b"]


def test_where_there_is_no_room_for_a_backup_work_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, write: object, **_: bool) -> None:
        raise OSError(28, "No space left on device")

    decide(path, "a")
    monkeypatch.setattr(database, "write_whole", full)
    database.create(path)
    assert not database.read_only(path)


def decide(path: Path, op_id: str) -> None:
    values = {
        "op_id": op_id,
        "batch": op_id,
        "run": "r",
        "sample_id": "s",
        "reviewer": "ann",
        "action": "keep",
        "old_label": "cat",
        "new_label": "",
        "base_seq": 0,
        "time": "now",
    }
    with database.writing(path) as connection:
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO events ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))


def decided(path: Path) -> list[str]:
    with database.reading(path) as connection:
        return [row["op_id"] for row in connection.execute("SELECT op_id FROM events ORDER BY seq")]
