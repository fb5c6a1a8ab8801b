"""A workspace: a folder with ``oga.sqlite`` and ``runs/<id>/``."""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from oga_core.errors import InputError, one_line, shorten
from oga_core.files import PRIVATE_FOLDER, resolve_path
from oga_core.runs import database
from oga_core.runs.deleted import DeletedRun, UnknownRun
from oga_core.runs.job import check_idle
from oga_core.runs.records import RunSpec
from oga_core.runs.removal import list_uploads, put_back
from oga_core.runs.run import Run
from oga_core.runs.upload import Upload, plain

ENVIRONMENT = "OGA_WORKSPACE"
DATABASE = "oga.sqlite"
UPLOADS = "uploads"
ANOTHER = f"name another folder with --workspace or {ENVIRONMENT}"


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _choose(path: str | Path | None) -> Path:
    chosen = path or os.environ.get(ENVIRONMENT) or platformdirs.user_data_path("oga", appauthor=False)
    try:
        return resolve_path(chosen, "workspace")
    except InputError as error:
        raise InputError(f"{error}; {ANOTHER}") from error


def restore(path: str | Path | None = None) -> tuple[Path, int, int]:
    """Put the backup of a workspace's file in its place: see `database.restore`.

    Raises
    ------
    InputError
        As there, and if there is no workspace.
    """
    folder = _choose(path)
    _check_exists(folder, DATABASE, database.backup_of(folder / DATABASE).name)
    return database.restore(folder / DATABASE)


def _check_exists(folder: Path, *files: str) -> None:
    """InputError where a folder holds none of the files by which a workspace is known."""
    for name in files:
        with suppress(OSError):
            if (folder / name).is_file() and (folder / name).stat().st_size:
                return
    if database.backup_of(folder / DATABASE).is_file():
        raise InputError(f"{folder} has lost its {DATABASE} but has a backup of it: oga restore --workspace {folder}")
    raise InputError(f"no workspace at {shorten(folder)}; {ANOTHER}")


class Workspace:
    """The runs, decisions and uploads kept in one folder.

    Parameters
    ----------
    path
        The folder; by default ``OGA_WORKSPACE``, else ``oga`` in the user's data directory.
    create
        Whether to create a workspace where there is none; only its owner can look into it.

    Raises
    ------
    InputError
        If the folder cannot be created or holds something else; without ``create``, if it is no workspace.

    Examples
    --------
    >>> workspace = oga.Workspace("my runs")
    >>> len(workspace.runs())
    0
    """

    def __init__(self, path: str | Path | None = None, *, create: bool = True) -> None:
        self.path = _choose(path)
        if not create:
            _check_exists(self.path, DATABASE)
        try:
            for folder in (self.path, self.path / "runs"):
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir(PRIVATE_FOLDER, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the workspace {shorten(self.path)}: {error.strerror}; {ANOTHER}") from error
        self.database = self.path / DATABASE
        database.create(self.database)

    @property
    def read_only(self) -> str:
        """Why the workspace can be looked at and nothing be saved, for people; empty where things can be saved."""
        return database.read_only(self.database)

    def check_writable(self) -> None:
        """InputError where nothing can be saved, with the reason."""
        if self.read_only:
            raise InputError(self.read_only)

    def upload(self, name: str, announced: int = 0) -> Upload:
        """A file that is about to arrive, to be written chunk by chunk; InputError as `Upload` says."""
        return Upload(self.path / UPLOADS, name, announced)

    def uploaded(self, content: str, name: str) -> Path:
        """The file that was kept under this name, by the name of its folder.

        Raises
        ------
        InputError
            If there is none.
        """
        path = self.path / UPLOADS / plain(content) / plain(name)
        if not path.is_file():
            raise InputError(f"{name!r} was not found; drop it again")
        return path

    def new_run(self, title: str, spec: RunSpec | None = None) -> Run:
        """Enter a run that has not started, with all that is needed to do it again; InputError where nothing can be saved."""
        self.check_writable()
        run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        (self.path / "runs" / run_id).mkdir(PRIVATE_FOLDER)
        with database.writing(self.database) as connection:
            connection.execute(
                "INSERT INTO runs (id, created, title, settings) VALUES (?, ?, ?, ?)",
                (run_id, now(), one_line(title), (spec or RunSpec()).to_json()),
            )
        return Run(self, run_id)

    def run(self, run_id: str) -> Run:
        """A run by its id, or by the unique beginning of it.

        Raises
        ------
        InputError
            If several runs begin like that, or its records are damaged or those of a newer OGA; `UnknownRun` if there is none,
            `DeletedRun` if it is in the trash.
        """
        with database.reading(self.database) as connection:
            run = Run(self, self._found(connection, run_id))
        run.check_records()
        return run

    def runs(self) -> list[Run]:
        """All runs, newest first, without those in the trash."""
        return self._listed("deleted = '' ORDER BY rowid DESC")

    def trash(self) -> list[Run]:
        """The runs that were deleted and can be put back, the one deleted last first."""
        return self._listed("deleted != '' ORDER BY deleted DESC, rowid DESC")

    def delete(self, run_ids: Iterable[str]) -> list[Run]:
        """Move runs to the trash, all of them or none: they are in no list any more, and their files stay until `clean`.

        Decisions stay: they belong to a sample's content and given label, and may have been seen in other runs.

        Parameters
        ----------
        run_ids
            As `run` takes them.

        Raises
        ------
        InputError
            If one of them is not found, is in the trash already, or has a running job, or nothing can be saved.
        """
        self.check_writable()
        with database.writing(self.database) as connection:
            found = list(dict.fromkeys(self._found(connection, run_id) for run_id in run_ids))
            for run_id in found:
                check_idle(connection, run_id)
            time = now()
            connection.executemany("UPDATE runs SET deleted = ? WHERE id = ?", [(time, run_id) for run_id in found])
        return [Run(self, run_id) for run_id in found]

    def undelete(self, run_ids: Iterable[str]) -> list[Run]:
        """Put runs back from the trash, all of them or none.

        Parameters
        ----------
        run_ids
            Ids of runs in the trash, or unique beginnings of them.

        Raises
        ------
        InputError
            If one of them is not in the trash, or nothing can be saved.
        """
        self.check_writable()
        with database.writing(self.database) as connection:
            found = list(dict.fromkeys(self._found(connection, run_id, in_trash=True) for run_id in run_ids))
            for run_id in found:
                self._put_back_files(connection, run_id)
            connection.executemany("UPDATE runs SET deleted = '' WHERE id = ?", [(run_id,) for run_id in found])
        return [Run(self, run_id) for run_id in found]

    def present(self, run_ids: Iterable[str]) -> set[str]:
        """Return those of some full ids whose runs exist and are not in the trash."""
        wanted = set(run_ids)
        with database.reading(self.database) as connection:
            return wanted & {row["id"] for row in connection.execute("SELECT id FROM runs WHERE deleted = ''")}

    def _listed(self, condition: str) -> list[Run]:
        with database.reading(self.database) as connection:
            rows = connection.execute(f"SELECT * FROM runs WHERE {condition}").fetchall()
        return [Run(self, row["id"], row) for row in rows]

    def _found(self, connection: sqlite3.Connection, run_id: str, *, in_trash: bool = False) -> str:
        """The full id of a run, by its unique beginning among those that are in the trash or not."""
        query = "SELECT id, deleted FROM runs WHERE substr(id, 1, ?) = ?"
        rows = connection.execute(query, (len(run_id), run_id)).fetchall() if run_id else []
        rows = [row for row in rows if row["id"] == run_id] or rows
        found = [str(row["id"]) for row in rows if bool(row["deleted"]) == in_trash]
        others = [str(row["id"]) for row in rows if bool(row["deleted"]) != in_trash]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(f"{len(found)} runs begin with {run_id!r}: {', '.join(found[:5])}")
        if in_trash:
            there = f"run {others[0]} is not in the trash" if len(others) == 1 else f"no run {run_id!r} in the trash"
            raise InputError(f"{there}; 'oga runs --trash' lists those that are")
        if len(others) == 1:
            raise DeletedRun(others[0])
        raise UnknownRun(f"no run {run_id!r} in {self.path}; 'oga runs' lists them")

    def _put_back_files(self, connection: sqlite3.Connection, run_id: str) -> None:
        """Put back the files of a run that `clean` had set aside before it was killed."""
        settings = connection.execute("SELECT settings FROM runs WHERE id = ?", (run_id,)).fetchone()["settings"]
        for path in (self.path / "runs" / run_id, *(self.path / UPLOADS / name for name in list_uploads(settings))):
            put_back(path)
