"""A workspace: a folder with ``oga.sqlite`` and ``runs/<id>/``."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs

from oga_core.errors import InputError
from oga_core.files import write_whole
from oga_core.runs import database
from oga_core.runs.run import Run

ENVIRONMENT = "OGA_WORKSPACE"
MAX_NAME_BYTES = 200


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Workspace:
    """The runs, decisions and uploads kept in one folder.

    Parameters
    ----------
    path
        The folder; by default ``OGA_WORKSPACE``, else ``oga`` in the user's data directory. It is made if absent.

    Raises
    ------
    InputError
        If the folder cannot be written or holds something else.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        chosen = path or os.environ.get(ENVIRONMENT) or platformdirs.user_data_path("oga", appauthor=False)
        self.path = Path(chosen).expanduser().resolve()
        try:
            (self.path / "runs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the workspace {self.path}: {error.strerror}") from error
        self.database = self.path / "oga.sqlite"
        database.create(self.database)

    def keep_upload(self, name: str, data: bytes) -> Path:
        """Keep an uploaded file under its own name, in a folder named by its content: the same file is kept once.

        Raises
        ------
        InputError
            If the name is no plain file name.
        """
        if not name or name != Path(name).name or len(os.fsencode(name)) > MAX_NAME_BYTES or "\0" in name or name in (".", ".."):
            raise InputError(f"{name!r} is no plain file name; rename the file")
        path = self.path / "uploads" / hashlib.sha256(data).hexdigest()[:16] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_whole(path, lambda temporary: temporary.write_bytes(data))
        return path

    def new_run(self, title: str, settings: dict[str, Any]) -> Run:
        """Enter a run that has not started, with all that is needed to do it again."""
        run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        (self.path / "runs" / run_id).mkdir()
        with database.writing(self.database) as connection:
            connection.execute(
                "INSERT INTO runs (id, created, title, settings) VALUES (?, ?, ?, ?)",
                (run_id, now(), title.encode("utf-8", "backslashreplace").decode(), json.dumps(settings)),
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
