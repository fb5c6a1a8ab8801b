"""The workspace's SQLite file: one connection a call, durable commits, one schema."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from oga_core.errors import InputError
from oga_core.files import write_whole

BUSY_SECONDS = 20.0

_VERSION_1 = """
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
"""
_VERSION_2 = """
CREATE TABLE claims (sample_id TEXT PRIMARY KEY, reviewer TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE named_views (
    run TEXT NOT NULL REFERENCES runs(id), name TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (run, name));
CREATE INDEX events_of_batch ON events (batch);
CREATE INDEX events_of_reviewer ON events (run, reviewer);
CREATE INDEX events_that_undo ON events (undoes) WHERE undoes IS NOT NULL;
"""
_STEPS = (_VERSION_1, _VERSION_2)
"""What makes each version of the one before."""
SCHEMA_VERSION = len(_STEPS)


def _wal_is_safe() -> bool:
    # Older releases can lose a commit when the write-ahead log is reset while another connection writes.
    version = sqlite3.sqlite_version_info
    return (
        version >= (3, 51, 3)
        or (version[:2] == (3, 44) and version >= (3, 44, 6))
        or (version[:2] == (3, 50) and version >= (3, 50, 7))
    )


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    connection.row_factory = sqlite3.Row
    if _wal_is_safe():
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
    else:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA synchronous=EXTRA")
    return connection


def create(path: Path) -> None:
    """Make the file and its tables where there are none; bring those of an older version up to date, a copy of them beside.

    Raises
    ------
    InputError
        If the file was written by a newer version, or is not an OGA workspace.
    """
    try:
        connection = _open(path)
    except sqlite3.DatabaseError as error:
        raise InputError(f"cannot open the workspace file {path}: {error}") from error
    try:
        connection.execute("BEGIN IMMEDIATE")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise InputError(f"{path} is a database of something else; choose another workspace")
        if 0 < version < SCHEMA_VERSION:
            _copy(path, path.with_name(f"{path.name}.version-{version}"))
        if version < SCHEMA_VERSION:
            for step in _STEPS[version:]:
                for statement in _statements(step):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path} is not a usable OGA workspace file: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be brought up to date without a copy of it: {error.strerror}") from error
    finally:
        connection.close()
    if version > SCHEMA_VERSION:
        raise InputError(f"{path} has schema {version}; this OGA knows {SCHEMA_VERSION}: update OGA to open it")


def _copy(path: Path, to: Path) -> None:
    """A copy of the file as it was last committed, whole or not at all."""

    def write(temporary: Path) -> None:
        with closing(_open(path)) as source, closing(sqlite3.connect(temporary)) as target:
            source.backup(target)

    write_whole(to, write)


def _statements(script: str) -> Iterator[str]:
    """Single statements, so that all of them fit in one transaction (``executescript`` would commit first)."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for queries."""
    connection = _open(path)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection inside ``BEGIN IMMEDIATE``; committed on leaving, rolled back on an exception.

    What was done inside is on disk only once the block has been left without an exception.
    """
    connection = _open(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            if connection.in_transaction:  # SQLite has rolled back itself where the disk is full
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    finally:
        connection.close()
