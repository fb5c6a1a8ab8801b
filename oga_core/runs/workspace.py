"""A workspace: a folder with ``oga.sqlite`` and ``runs/<id>/``."""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs

from oga_core.errors import InputError, one_line, shorten
from oga_core.files import PRIVATE_FOLDER, resolve_path
from oga_core.runs import database
from oga_core.runs.run import Run
from oga_core.runs.upload import Upload, plain

ENVIRONMENT = "OGA_WORKSPACE"
DATABASE = "oga.sqlite"
ANOTHER = f"name another folder with --workspace or {ENVIRONMENT}"


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _chosen(path: str | Path | None) -> Path:
    named = path or os.environ.get(ENVIRONMENT) or platformdirs.user_data_path("oga", appauthor=False)
    try:
        return resolve_path(named, "workspace")
    except InputError as error:
        raise InputError(f"{error}; {ANOTHER}") from error


def restore(path: str | Path | None = None) -> tuple[Path, int, int]:
    """Put the backup of a workspace's file in its place: see `database.restore`.

    Raises
    ------
    InputError
        As there, and if there is no workspace.
    """
    folder = _chosen(path)
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
    """

    def __init__(self, path: str | Path | None = None, *, create: bool = True) -> None:
        self.path = _chosen(path)
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
        """A file that is about to arrive, to be written part by part; InputError as `Upload` says."""
        return Upload(self.path / "uploads", name, announced)

    def uploaded(self, content: str, name: str) -> Path:
        """The file that was kept under this name, by the name of its folder.

        Raises
        ------
        InputError
            If there is none.
        """
        path = self.path / "uploads" / plain(content) / plain(name)
        if not path.is_file():
            raise InputError(f"{name!r} is no longer there; drop it again")
        return path

    def new_run(self, title: str, settings: dict[str, Any]) -> Run:
        """Enter a run that has not started, with all that is needed to do it again; InputError where nothing can be saved."""
        self.check_writable()
        run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        (self.path / "runs" / run_id).mkdir(PRIVATE_FOLDER)
        with database.writing(self.database) as connection:
            connection.execute(
                "INSERT INTO runs (id, created, title, settings) VALUES (?, ?, ?, ?)",
                (run_id, now(), one_line(title), json.dumps(settings)),
            )
        return Run(self, run_id)

    def run(self, run_id: str) -> Run:
        """A run by its id, or by the unique beginning of it.

        Raises
        ------
        InputError
            If there is no such run, or several begin like that.
        """
        with database.reading(self.database) as connection:
            rows = connection.execute("SELECT id FROM runs WHERE substr(id, 1, ?) = ?", (len(run_id), run_id)).fetchall()
        found = [row["id"] for row in rows]
        if run_id in found:
            return Run(self, run_id)
        if not run_id or not found:
            raise InputError(f"no run {run_id!r} in {self.path}; 'oga runs' lists them")
        if len(found) > 1:
            raise InputError(f"{len(found)} runs begin with {run_id!r}: {', '.join(found[:5])}")
        return Run(self, found[0])

    def runs(self) -> list[Run]:
        """All runs, newest first."""
        with database.reading(self.database) as connection:
            rows = connection.execute("SELECT id FROM runs ORDER BY rowid DESC").fetchall()
        return [Run(self, row["id"]) for row in rows]
