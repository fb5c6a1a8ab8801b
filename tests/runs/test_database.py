"""The workspace's SQLite file: durable, all or nothing, and never one that is not ours."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from oga_core.errors import InputError
from oga_core.runs import database


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
