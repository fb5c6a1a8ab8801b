"""The workspace's SQLite file: one connection a call, durable commits, one schema."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from oga_core.errors import InputError
from oga_core.files import open_private, write_whole

BUSY_SECONDS = 20.0
BACKUP_SECONDS = 24 * 3600.0
"""Age at which the backup is made anew, when the workspace is opened."""
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
NOT_WRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)

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
_VERSION_3 = """
ALTER TABLE runs ADD COLUMN deleted TEXT NOT NULL DEFAULT '';
ALTER TABLE reviewers RENAME COLUMN browser TO identity;
UPDATE reviewers SET identity = browser_identity(identity);
DROP TABLE claims;
CREATE TABLE claims (sample_id TEXT PRIMARY KEY, identity TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
ALTER TABLE events ADD COLUMN identity TEXT NOT NULL DEFAULT '';
DROP TRIGGER events_are_never_changed;
UPDATE events SET identity = coalesce(
    (SELECT min(identity) FROM reviewers WHERE name = events.reviewer GROUP BY name HAVING count(*) = 1), reviewer);
CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
DROP INDEX events_of_reviewer;
CREATE INDEX events_of_identity ON events (run, identity);
"""
_STEPS = (_VERSION_1, _VERSION_2, _VERSION_3)
"""SQL that makes each version of the one before. Version 3: a run has the time at which it was deleted, or ''; a reviewer is an
identity, to which older events belong by the name, or by the one browser in which that name was entered."""
SCHEMA_VERSION = len(_STEPS)
TABLES = ("runs", "jobs", "files", "views", "named_views", "reviewers", "events")
"""Tables that are saved from a damaged file."""

BROWSER = "browser:"
"""Prefix of the identity of a browser."""

_only_read: dict[Path, str] = {}
"""The files that this process only reads, and why."""


def browser_identity(cookie: str) -> str:
    """Return the identity of a browser: a hash of its cookie, which would let a reader of the log pose as that browser."""
    return BROWSER + hashlib.blake2b(cookie.encode(), digest_size=12).hexdigest()


def _wal_is_safe() -> bool:
    # Older releases can lose a commit when the write-ahead log is reset while another connection writes.
    version = sqlite3.sqlite_version_info
    return (
        version >= (3, 51, 3)
        or (version[:2] == (3, 44) and version >= (3, 44, 6))
        or (version[:2] == (3, 50) and version >= (3, 50, 7))
    )


def read_only(path: Path) -> str:
    """Why this process only reads a file, for people; empty where it writes, too."""
    return _only_read.get(path, "")


def backup_of(path: Path) -> Path:
    """The path of the backup of a file, which was whole when it was copied."""
    return path.with_name(f"{path.name}.backup")


def _open(path: Path) -> sqlite3.Connection:
    only_read = path in _only_read
    where = _for_reading(path) if only_read else str(path)
    connection = sqlite3.connect(where, timeout=BUSY_SECONDS, isolation_level=None, uri=only_read)
    connection.row_factory = sqlite3.Row
    if only_read:
        return connection
    try:
        if _wal_is_safe():
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
        else:
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("PRAGMA synchronous=EXTRA")
    except BaseException:
        connection.close()
        raise
    return connection


def _for_reading(path: Path) -> str:
    """The address under which a file is opened that must stay as it is."""
    with open(path, "rb") as handle:
        written_ahead = handle.read(20)[18:] == b"\2\2"
    # Such a file needs another one beside it, which cannot be made there.
    immutable = "&immutable=1" if written_ahead and not os.access(path.parent, os.W_OK) else ""
    return f"{path.absolute().as_uri()}?mode=ro{immutable}"


def create(path: Path) -> None:
    """Make the file and its tables where there are none; bring those of an older version up to date, a copy of them beside.

    A file that is damaged, or that cannot be written, is only read by this process: see `read_only`. Of one that is whole a
    backup is made, at most once a day.

    Raises
    ------
    InputError
        If the file was written by a newer version, is not an OGA workspace, or cannot be read at all.
    """
    _only_read.pop(path, None)
    try:
        if path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            raise _make_error("attempt to write a readonly database", sqlite3.SQLITE_READONLY)
        with suppress(OSError):  # SQLite says what is wrong
            os.close(open_private(path, os.O_RDWR | os.O_CREAT))  # its journal gets the same permissions
        _bring_up_to_date(path)
        _back_up(path)
    except sqlite3.DatabaseError as error:
        code = _code(error)
        if code in DAMAGED:
            _only_read[path] = _damage(path, error)
        elif code in NOT_WRITABLE and path.exists():
            _only_read[path] = f"{path} cannot be written: what is there can be looked at, and no decision can be saved"
        else:
            raise InputError(f"{path} is not a usable OGA workspace file: {error}") from error
        _check_that_it_can_be_read(path)


def _bring_up_to_date(path: Path) -> None:
    with closing(_open(path)) as connection:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise _make_error(found, sqlite3.SQLITE_CORRUPT)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise InputError(f"{path} has schema {version}; this OGA knows {SCHEMA_VERSION}: update OGA to open it")
        connection.execute("BEGIN IMMEDIATE")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise InputError(f"{path} is a database of something else; choose another workspace")
        if 0 < version < SCHEMA_VERSION:
            try:
                _copy(path, path.with_name(f"{path.name}.version-{version}"))
            except OSError as error:
                raise InputError(f"{path} cannot be brought up to date without a copy of it: {error.strerror}") from error
        if version < SCHEMA_VERSION:
            connection.create_function("browser_identity", 1, browser_identity, deterministic=True)
            for step in _STEPS[version:]:
                for statement in _statements(step):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")


def _back_up(path: Path) -> None:
    """Copy a file that was found to be whole, where something is decided in it and the last copy is old."""
    backup = backup_of(path)
    if backup.exists() and abs(time.time() - backup.stat().st_mtime) < BACKUP_SECONDS:  # a clock may have been put back
        return
    with reading(path) as connection:
        if connection.execute("SELECT 1 FROM events").fetchone() is None:
            return
    try:
        _copy(path, backup)
    except OSError:  # the disk is full: continue without a backup
        return


def _check_that_it_can_be_read(path: Path) -> None:
    try:
        with closing(_open(path)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            connection.execute("SELECT count(*) FROM runs").fetchone()
    except sqlite3.DatabaseError as error:
        raise InputError(_damage(path, error) if _code(error) in DAMAGED else f"cannot open {path}: {error}") from error
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path} cannot be written, and is of another version ({version}, not {SCHEMA_VERSION}): it cannot be opened"
        )


def _make_error(message: str, code: int) -> sqlite3.DatabaseError:
    """An error as SQLite raises it."""
    error = sqlite3.DatabaseError(message)
    error.sqlite_errorcode = code
    return error


def _code(error: sqlite3.Error) -> int:
    """The kind of an error, without its details."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _damage(path: Path, error: sqlite3.Error) -> str:
    found = " ".join(str(error).split())
    backup = backup_of(path)
    if backup.exists():
        made = datetime.fromtimestamp(backup.stat().st_mtime, UTC)
        way = f"a backup of {made:%Y-%m-%d %H:%M} UTC is there; stop OGA, then: oga restore --workspace {path.parent}"
    else:
        way = "there is no backup of it in the workspace; take one of your own"
    return f"{path} is damaged ({found}): it is only read, and left as it is; {way}"


def restore(path: Path) -> tuple[Path, int, int]:
    """Put the backup in the place of a damaged file, and into it what the damaged file has beyond it and can still be read.

    Returns
    -------
    Where the damaged file is now, how many decisions the backup had, and how many came from the damaged file.

    Raises
    ------
    InputError
        If the file is not damaged, there is no backup, or that is damaged too.
    """
    backup = backup_of(path)
    if not backup.exists():
        raise InputError(f"there is no backup of {path}")
    if path.exists() and _is_whole(path):
        raise InputError(f"{path} is not damaged; nothing is restored")
    made = path.with_name(f"{path.name}.restored")
    _only_read.pop(path, None)
    try:
        _copy(backup, made)
        _bring_up_to_date(made)
        before, after = _save_readable(made, path)
    except sqlite3.DatabaseError as error:
        made.unlink(missing_ok=True)
        raise InputError(f"the backup {backup} is damaged too ({error})") from error
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    for suffix in ("", "-journal", "-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    made.rename(path)
    return aside, before, after - before


def _is_whole(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(_for_reading(path), uri=True)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.DatabaseError:
        return False


def _save_readable(made: Path, damaged: Path) -> tuple[int, int]:
    """Enter the missing rows that can be read of a damaged file; returns events before and after."""
    with writing(made) as target:
        before = target.execute("SELECT count(*) FROM events").fetchone()[0]
        for table in TABLES if damaged.exists() else ():
            rows: list[dict[str, object]] = []
            try:
                with closing(sqlite3.connect(_for_reading(damaged), uri=True)) as source:
                    source.row_factory = sqlite3.Row
                    for found in source.execute(f"SELECT * FROM {table} ORDER BY rowid"):
                        rows.append(_of_this_version(table, dict(found)))
            except sqlite3.DatabaseError:  # so far, and no further
                pass
            for row in rows:
                places = ", ".join("?" * len(row))
                target.execute(f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) VALUES ({places})", tuple(row.values()))
        return before, target.execute("SELECT count(*) FROM events").fetchone()[0]


def _of_this_version(table: str, row: dict[str, object]) -> dict[str, object]:
    """Return a row of a damaged file, which may be of version 2, with the columns of today."""
    if table == "reviewers" and "browser" in row:
        return {"identity": browser_identity(str(row["browser"])), "name": row["name"]}
    if table == "events":
        return {"identity": row["reviewer"], **row}
    return row


def _copy(path: Path, to: Path) -> None:
    """A copy of the file as it was last committed, whole or not at all."""

    def write(temporary: Path) -> None:
        with closing(_open(path)) as source, closing(sqlite3.connect(temporary)) as target:
            source.backup(target)

    write_whole(to, write, private=True)


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
    """A connection for queries; InputError, with what can be done, where the file turns out to be damaged."""
    with _report_damage(path), closing(_open(path)) as connection:
        yield connection


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection inside ``BEGIN IMMEDIATE``; committed on leaving, rolled back on an exception.

    What was done inside is on disk only once the block has been left without an exception.

    Raises
    ------
    InputError
        If the file is only read, or turns out to be damaged.
    """
    if path in _only_read:
        raise InputError(_only_read[path])
    with _report_damage(path), closing(_open(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            if connection.in_transaction:  # SQLite has rolled back itself where the disk is full
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


@contextmanager
def _report_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if _code(error) not in DAMAGED:
            raise
        _only_read[path] = _damage(path, error)
        raise InputError(_only_read[path]) from error
