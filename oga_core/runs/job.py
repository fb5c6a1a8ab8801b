"""Jobs of a run, in any process: state and progress are in the workspace, and so is a request to cancel."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from oga_core.errors import InputError, one_line
from oga_core.progress import Cancelled, Progress
from oga_core.runs import database
from oga_core.runs.deleted import DeletedRun, UnknownRun

PROGRESS_SECONDS = 0.25
STOPPED = "stopped by the user"


@dataclass(frozen=True)
class Status:
    """State of a job: ``state`` is absent, running, done, failed or cancelled."""

    state: str
    stage: str = ""
    done: int = 0
    total: int = 0
    message: str = ""

    @property
    def finished(self) -> bool:
        return self.state in ("done", "failed", "cancelled")


class Job:
    """One kind of work on one run."""

    def __init__(self, path: Path, run_id: str, kind: str) -> None:
        self.path, self.run_id, self.kind = path, run_id, kind

    def status(self) -> Status:
        """The state now; a job whose process has vanished does not run for ever: it has failed, or was cancelled."""
        row = self._row()
        if row is None:
            return Status("absent")
        state, message = row["state"], row["message"]
        if state == "running" and row["pid"] and not _alive(row["pid"]):
            if row["cancel"]:
                state, message = "cancelled", STOPPED
            else:
                state, message = (
                    "failed",
                    "the process of this job ended unexpectedly: OGA was stopped, it was killed, or memory ran out; start again",
                )
        return Status(state, row["stage"], row["done"], row["total"], message)

    def entered(self, pid: int | None = None) -> None:
        """Enter the job as running in a process, this one where none is given, before its first step.

        Raises
        ------
        InputError
            If the run was deleted: `DeletedRun` where it is in the trash, else `UnknownRun`.
        """
        columns = {
            "state": "running",
            "stage": "starting",
            "done": 0,
            "total": 0,
            "message": "",
            "pid": os.getpid() if pid is None else pid,
            "cancel": 0,
        }
        with database.writing(self.path) as connection:
            run = connection.execute("SELECT deleted FROM runs WHERE id = ?", (self.run_id,)).fetchone()
            if run is None or run["deleted"]:
                raise UnknownRun(f"run {self.run_id} was removed for good") if run is None else DeletedRun(self.run_id)
            connection.execute(
                f"INSERT OR REPLACE INTO jobs (run, kind, {', '.join(columns)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (self.run_id, self.kind, *columns.values()),
            )

    def died(self, pid: int, message: str) -> None:
        """Enter how the process of a job ended that could not do so itself; one that has entered its end, or was asked to stop,
        keeps what is there."""
        with database.writing(self.path) as connection:
            connection.execute(
                "UPDATE jobs SET state = 'failed', message = ?, pid = NULL "
                "WHERE run = ? AND kind = ? AND pid = ? AND state = 'running' AND cancel = 0",
                (message, self.run_id, self.kind, pid),
            )

    def cancel(self) -> None:
        """Ask the process to stop; it does at its next step."""
        self._set(cancel=1)

    @property
    def cancel_asked(self) -> bool:
        """Whether the job that runs now should stop; what was asked of an earlier try is over."""
        row = self._row()
        return row is not None and row["state"] == "running" and bool(row["cancel"])

    @contextmanager
    def track(self, progress: Progress) -> Iterator[Progress]:
        """Do the job in this process, and enter how it ends: done, failed or cancelled.

        Yields a `Progress` that writes to the workspace a few times a second, passes on to ``progress``, and raises
        `Cancelled` once the user has asked for it.
        """
        row = self._row()
        if row is None or row["state"] != "running" or row["pid"] != os.getpid():  # else a cancel may be waiting already
            self.entered()
        try:
            yield self._reporting(progress)
        except (Cancelled, KeyboardInterrupt):
            self._ended("cancelled", STOPPED)
            raise
        except InputError as error:
            self._ended("failed", str(error))
            raise
        except BaseException as error:  # that of a library in Rust, or SystemExit, is no Exception
            self._ended("failed", one_line(f"unexpected {type(error).__name__}: {error}"))
            raise
        self._set(state="done", pid=None)

    def _ended(self, state: str, message: str) -> None:
        with suppress(sqlite3.Error, InputError):  # the error that ended the job is raised, even where it cannot be written down
            self._set(state=state, message=message, pid=None)

    def _reporting(self, also: Progress) -> Progress:
        last_stage, last_time = "", 0.0

        def report(stage: str, done: int, total: int) -> None:
            nonlocal last_stage, last_time
            also(stage, done, total)
            if stage == last_stage and done < total and time.monotonic() - last_time < PROGRESS_SECONDS:
                return
            last_stage, last_time = stage, time.monotonic()
            self._set(stage=stage, done=done, total=total)
            if self.cancel_asked:
                raise Cancelled

        return report

    def _row(self) -> Any:
        with database.reading(self.path) as connection:
            query = "SELECT * FROM jobs WHERE run = ? AND kind = ?"
            return connection.execute(query, (self.run_id, self.kind)).fetchone()

    def _set(self, **columns: Any) -> None:
        assignments = ", ".join(f"{name} = ?" for name in columns)
        with database.writing(self.path) as connection:
            connection.execute(
                f"UPDATE jobs SET {assignments} WHERE run = ? AND kind = ?", (*columns.values(), self.run_id, self.kind)
            )


def check_idle(connection: sqlite3.Connection, run_id: str) -> None:
    """InputError where a job of a run is running."""
    for row in connection.execute("SELECT kind, pid, cancel FROM jobs WHERE run = ? AND state = 'running'", (run_id,)):
        if not row["pid"] or _alive(row["pid"]):
            activity = "is being scored" if row["kind"] == "score" else "has a map that is being computed"
            then = "it was cancelled and is about to stop, try again then" if row["cancel"] else "cancel it first"
            raise InputError(f"run {run_id} {activity}: {then}")


def fail_jobs(path: Path, pid: int, message: str) -> None:
    """Enter how the jobs of a process ended that could not do so itself, as `Job.died` does, for jobs of every kind."""
    with suppress(sqlite3.Error, InputError), database.writing(path) as connection:
        connection.execute(
            "UPDATE jobs SET state = 'failed', message = ?, pid = NULL WHERE pid = ? AND state = 'running' AND cancel = 0",
            (message, pid),
        )


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
