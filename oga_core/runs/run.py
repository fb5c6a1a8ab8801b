"""One scoring: its settings and state in SQLite, its table and gradients as immutable files with their hashes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from oga_core import detectors
from oga_core.data import Dataset, open_dataset
from oga_core.errors import InputError
from oga_core.gradients import Factors
from oga_core.progress import Cancelled, Progress
from oga_core.runs import database
from oga_core.runs.files import sha256, write_whole

if TYPE_CHECKING:
    from oga_core.runs.workspace import Workspace

TABLE = "table.parquet"
NOT_SCORED = "not_scored.parquet"
FACTORS = ("residuals", "features", "residual_norms", "feature_norms")
PROGRESS_SECONDS = 0.25


@dataclass(frozen=True)
class Status:
    """Where a run stands: ``state`` is queued, running, done, failed or cancelled."""

    state: str
    stage: str
    done: int
    total: int
    message: str

    @property
    def finished(self) -> bool:
        return self.state in ("done", "failed", "cancelled")


class Run:
    """A run in a workspace. Cheap to make; files are read when they are first asked for."""

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self.workspace = workspace
        self.id = run_id
        self.path: Path = workspace.path / "runs" / run_id

    def __repr__(self) -> str:
        return f"<oga run {self.id}: {self.title}, {self.status().state}>"

    def _row(self) -> Any:
        with database.reading(self.workspace.database) as connection:
            return connection.execute("SELECT * FROM runs WHERE id = ?", (self.id,)).fetchone()

    @cached_property
    def _fixed(self) -> Any:
        return self._row()

    @property
    def title(self) -> str:
        return str(self._fixed["title"])

    @property
    def created(self) -> str:
        return str(self._fixed["created"])

    @property
    def settings(self) -> dict[str, Any]:
        """What the run was started with."""
        return dict(json.loads(self._fixed["settings"]))

    @property
    def summary(self) -> dict[str, Any]:
        """Counts, classes, model and notes, known once the run is done."""
        return dict(json.loads(self._row()["summary"]))

    def status(self) -> Status:
        """The state now; a run whose process has vanished is failed, not for ever running."""
        row = self._row()
        state, message = row["status"], row["message"]
        if state == "running" and row["pid"] and not _alive(row["pid"]):
            state, message = "failed", "the process doing this run ended unexpectedly; start it again"
        return Status(state, row["stage"], row["done"], row["total"], message)

    def _set(self, **columns: Any) -> None:
        assignments = ", ".join(f"{name} = ?" for name in columns)
        with database.writing(self.workspace.database) as connection:
            connection.execute(f"UPDATE runs SET {assignments} WHERE id = ?", (*columns.values(), self.id))

    def set_settings(self, settings: dict[str, Any]) -> None:
        """Enter settings that only became known while the run was being prepared."""
        self._set(settings=json.dumps(settings))
        self.__dict__.pop("_fixed", None)

    def start(self) -> None:
        """Enter that this process does the run."""
        self._set(status="running", pid=os.getpid(), message="")

    def started_as(self, pid: int) -> None:
        """Enter the process that will do the run, before it has come up itself."""
        self._set(pid=pid, status="running", stage="starting")

    def finish(self, state: str, message: str = "", summary: dict[str, Any] | None = None) -> None:
        columns: dict[str, Any] = {"status": state, "message": message, "pid": None}
        if summary is not None:
            columns["summary"] = json.dumps(summary)
        self._set(**columns)

    def cancel(self) -> None:
        """Ask the process that does this run to stop; it does at its next step."""
        self._set(cancel=1)

    def progress(self, also: Progress) -> Progress:
        """Progress that is written to the workspace a few times a second and notices a cancel.

        Raises
        ------
        Cancelled
            From the returned function, once the user has asked for it.
        """
        last = ["", 0.0]

        def report(stage: str, done: int, total: int) -> None:
            also(stage, done, total)
            if stage == last[0] and done < total and time.monotonic() - float(last[1]) < PROGRESS_SECONDS:
                return
            last[:] = [stage, time.monotonic()]
            self._set(stage=stage, done=done, total=total)
            if self._row()["cancel"]:
                raise Cancelled

        return report

    def add_file(self, name: str, write: Callable[[Path], None]) -> None:
        """Write a file of the run whole, then enter it with its hash in the manifest."""
        write_whole(self.path / name, write)
        entry = (self.id, name, sha256(self.path / name), (self.path / name).stat().st_size)
        with database.writing(self.workspace.database) as connection:
            connection.execute("INSERT OR REPLACE INTO files (run, name, sha256, bytes) VALUES (?, ?, ?, ?)", entry)

    def has_file(self, name: str) -> bool:
        with database.reading(self.workspace.database) as connection:
            query = "SELECT 1 FROM files WHERE run = ? AND name = ?"
            return connection.execute(query, (self.id, name)).fetchone() is not None

    def file(self, name: str) -> Path:
        """Path of a file of the run, after checking its hash against the manifest.

        Raises
        ------
        InputError
            If it is not there or is not what was written.
        """
        with database.reading(self.workspace.database) as connection:
            query = "SELECT sha256 FROM files WHERE run = ? AND name = ?"
            row = connection.execute(query, (self.id, name)).fetchone()
        path = self.path / name
        if row is None or not path.exists():
            state = self.status().state
            raise InputError(f"run {self.id} has no {name} (the run is {state}); score the data again")
        if sha256(path) != row["sha256"]:
            raise InputError(f"{name} of run {self.id} has changed since it was written; score the data again")
        return path

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a scored sample: ``sample_id, index, source, label, predicted, loss, confidence``, a column a
        detector or control (higher = more suspicious), ``suggested_label, suggested_label_source``."""
        return pd.read_parquet(self.file(TABLE))

    @cached_property
    def not_scored(self) -> pd.DataFrame:
        """One row a sample that could not be scored: ``index, source, reason``."""
        return pd.read_parquet(self.file(NOT_SCORED))

    @cached_property
    def factors(self) -> Factors:
        """The gradients, memory-mapped, a row for each row of `table`."""
        return Factors(*(np.load(self.file(f"{name}.npy"), mmap_mode="r") for name in FACTORS))

    @property
    def class_names(self) -> list[str]:
        return list(self.summary["class_names"])

    @property
    def detectors(self) -> list[detectors.Detector]:
        """Detectors and controls that this run has a score of."""
        return [d for name, d in detectors.ALL.items() if name in self.table.columns]

    def flag(self, detector: str, budget: float) -> pd.DataFrame:
        """The rows of `table` that a detector finds most suspicious, most suspicious first.

        Parameters
        ----------
        detector
            A score of this run: ``l1``, ``l2``, ``iforest`` or a control.
        budget
            Share of the scored samples in (0, 1), or a number of samples.

        Raises
        ------
        InputError
            For an unknown detector or a budget that is no such number.
        """
        names = [d.name for d in self.detectors]
        if detector not in names:
            raise InputError(f"run {self.id} has no score {detector!r}; it has: {', '.join(names)}")
        rows = detectors.flagged(self.table[detector].to_numpy(), budget)
        return self.table.iloc[rows]

    def open_dataset(self) -> Dataset:
        """The data the run was made from.

        Raises
        ------
        InputError
            If the data are no longer there, or never were a file.
        """
        return open_dataset(self.settings["data"], **self.settings.get("data_options", {}))


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as handle:
            return handle.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return False
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
