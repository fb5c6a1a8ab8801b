"""One scoring: its settings and state in SQLite, its table and gradients as immutable files with their hashes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from oga_core import detectors
from oga_core.data import Dataset, open_dataset
from oga_core.errors import InputError
from oga_core.files import sha256, write_whole
from oga_core.gradients import Factors
from oga_core.runs import database
from oga_core.runs.deleted import UnknownRun
from oga_core.runs.job import Job, Status
from oga_core.runs.records import NO_SUMMARY, DataSource, Factory, InMemory, RunSpec, RunSummary, Starter, Weights
from oga_core.runs.sample_ids import SampleIds
from oga_core.task import Task, task_of

if TYPE_CHECKING:
    from oga_core.runs.workspace import Workspace

TABLE = "table.parquet"
SAVED_STATE = "parts"
"""Folder of what a scoring that is not done has kept."""
MODEL = "model.safetensors"
NOT_SCORED = "not_scored.parquet"
RECOMMENDATION = "recommendation.json"
FACTORS = ("residuals", "features", "residual_norms", "feature_norms")
SKETCHES = ("sketches", "sketch_norms")
"""Beside the head's features, where the scope is more than the head."""


class Run:
    """A run in a workspace. Cheap to make; files are read when they are first asked for.

    Attributes
    ----------
    kept
        What has been worked out of the run's files, by what it is; they never change, so it holds as long as this object.
    """

    def __init__(self, workspace: Workspace, run_id: str, row: Any = None) -> None:
        self.cached: dict[Any, Any] = {}
        self.workspace = workspace
        self.id = run_id
        self.path: Path = workspace.path / "runs" / run_id
        if row is not None:  # of the table of runs, where it was read already
            self.__dict__["_fixed"] = row

    def __repr__(self) -> str:
        try:
            return f"<oga run {self.id}: {self.title}, {self.status().state}>"
        except InputError:
            return f"<oga run {self.id}: removed>"

    def _row(self) -> Any:
        with database.reading(self.workspace.database) as connection:
            row = connection.execute("SELECT * FROM runs WHERE id = ?", (self.id,)).fetchone()
        if row is None:
            raise UnknownRun(f"run {self.id} was removed for good")
        return row

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
    def deleted(self) -> str:
        """When the run was deleted, in UTC, ISO 8601: it is in the trash since. Empty for a run that is not."""
        return str(self._row()["deleted"])

    @cached_property
    def spec(self) -> RunSpec:
        """The spec that the run was started with.

        Raises
        ------
        InputError
            If the record is damaged, or a newer OGA wrote it.
        """
        return RunSpec.from_json(self._fixed["settings"], f"settings of run {self.id} in {self.workspace.database}")

    @property
    def summary(self) -> RunSummary:
        """Counts, classes, model and notes.

        Raises
        ------
        InputError
            If the run is not done; else as `spec`.
        """
        found = self.find_summary()
        if found is None:
            raise InputError(f"run {self.id} has no summary (the run is {self.status().state}); score the data again")
        return found

    def find_summary(self) -> RunSummary | None:
        """Return `summary`, or None where the run is not done; InputError as `spec`."""
        if "summary" not in self.cached:
            is_done = self.status().state == "done"  # asked first: what is read after it is no longer changed
            text = self._row()["summary"]
            if text == NO_SUMMARY:
                return None
            found = RunSummary.from_json(text, f"summary of run {self.id} in {self.workspace.database}")
            if not is_done:
                return found
            self.cached["summary"] = found
        summary: RunSummary = self.cached["summary"]
        return summary

    def check_records(self) -> None:
        """InputError where `spec` or `summary` cannot be read."""
        _ = self.spec, self.find_summary()

    def require_done(self) -> None:
        """InputError where the scoring is not done, or its table is not what was written; a run that is done stays so."""
        if "done" not in self.cached:
            self.file(TABLE)
            _ = self.summary
            self.cached["done"] = True

    def require_model(self) -> Starter | Weights | Factory:
        """Return where the model comes from; InputError where only the script that made the run has it."""
        if isinstance(self.spec.model, InMemory):
            raise InputError(f"run {self.id} was made from Python with a model that only its script has; run the script again")
        return self.spec.model

    def job(self, kind: str) -> Job:
        """Return a job of this run: ``score``, ``map`` or ``features_map``."""
        return Job(self.workspace.database, self.id, kind)

    def status(self) -> Status:
        """State of the scoring."""
        return self.job("score").status()

    def _set(self, column: str, record: RunSpec | RunSummary) -> None:
        with database.writing(self.workspace.database) as connection:
            connection.execute(f"UPDATE runs SET {column} = ? WHERE id = ?", (record.to_json(), self.id))

    def set_spec(self, spec: RunSpec) -> None:
        """Enter a spec of which more became known while the run was being prepared."""
        self._set("settings", spec)
        for name in ("_fixed", "spec"):
            self.__dict__.pop(name, None)

    def set_summary(self, summary: RunSummary) -> None:
        """Enter what came of a finished scoring."""
        self._set("summary", summary)
        self.cached.pop("summary", None)

    def add_file(self, name: str, write: Callable[[Path], object]) -> None:
        """Write a file of the run whole, then enter it with its hash in the manifest."""
        write_whole(self.path / name, write, private=True)
        entry = (self.id, name, sha256(self.path / name), (self.path / name).stat().st_size)
        with database.writing(self.workspace.database) as connection:
            connection.execute("INSERT OR REPLACE INTO files (run, name, sha256, bytes) VALUES (?, ?, ?, ?)", entry)

    def has_file(self, name: str) -> bool:
        with database.reading(self.workspace.database) as connection:
            query = "SELECT 1 FROM files WHERE run = ? AND name = ?"
            return connection.execute(query, (self.id, name)).fetchone() is not None

    def file_names(self) -> list[str]:
        """The files in the manifest."""
        with database.reading(self.workspace.database) as connection:
            query = "SELECT name FROM files WHERE run = ? ORDER BY name"
            return [row["name"] for row in connection.execute(query, (self.id,))]

    @property
    def begun(self) -> bool:
        """Whether a scoring that did not end has kept something to resume from."""
        return any(name.startswith(f"{SAVED_STATE}/") for name in self.file_names())

    def intact(self, name: str) -> bool:
        """Whether a file is there and is what was written."""
        with database.reading(self.workspace.database) as connection:
            query = "SELECT sha256 FROM files WHERE run = ? AND name = ?"
            row = connection.execute(query, (self.id, name)).fetchone()
        try:
            return row is not None and sha256(self.path / name) == row["sha256"]
        except FileNotFoundError:
            return False

    def remove_files(self, names: list[str]) -> None:
        """Take files out of the manifest, then from the disk."""
        with database.writing(self.workspace.database) as connection:
            connection.executemany("DELETE FROM files WHERE run = ? AND name = ?", [(self.id, name) for name in names])
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def file(self, name: str) -> Path:
        """Path of a file of the run, after checking its hash against the manifest.

        Raises
        ------
        InputError
            If it is missing or is not what was written.
        """
        with database.reading(self.workspace.database) as connection:
            query = "SELECT sha256 FROM files WHERE run = ? AND name = ?"
            row = connection.execute(query, (self.id, name)).fetchone()
        path = self.path / name
        if row is None or not path.exists():
            state = self.status().state
            raise InputError(f"run {self.id} has no {name} (the run is {state}); score the data again")
        if sha256(path) != row["sha256"]:
            raise InputError(f"{name} of run {self.id} has changed since it was written; oga resume {self.id} makes it again")
        return path

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a scored sample: ``sample_id, index, source, label, predicted, loss, confidence``, a column a
        detector or control (higher = more suspicious), ``suggested_label, suggested_label_source``. The columns
        of predictions are those of the task (`Task.predictions`); where it has no classes, ``label`` is the group."""
        table = pd.read_parquet(self.file(TABLE))
        pa.default_memory_pool().release_unused()  # more than the table itself
        return table

    def ranked(self, detector: str) -> np.ndarray:
        """All rows of `table`, most suspicious first, int32, shape ``(n,)``; equal scores keep the order of the data."""
        key = ("ranked", detector)
        if key not in self.cached:
            score = self.table[detector].to_numpy()
            self.cached[key] = _freeze(detectors.flag_rows(score, len(score)).astype(np.int32))
        ranked: np.ndarray = self.cached[key]
        return ranked

    def flagged(self, detector: str, budget: float) -> np.ndarray:
        """The rows of `flag`, int32, without its check of the detector's name."""
        return self.ranked(detector)[: detectors.flag_count(budget, len(self.table))]

    def codes(self, column: str) -> np.ndarray:
        """Each row's class as its position in `class_names`, uint16 (int32 for more classes), shape ``(n,)``.

        Parameters
        ----------
        column
            ``label`` or ``predicted``. A class that only the model has is ``len(class_names)``.
        """
        key = ("codes", column)
        if key not in self.cached:
            found = pd.Index(self.class_names).get_indexer(pd.Index(self.table[column]))
            found[found < 0] = len(self.class_names)
            self.cached[key] = _freeze(found.astype(np.uint16 if len(self.class_names) < 1 << 16 else np.int32))
        codes: np.ndarray = self.cached[key]
        return codes

    def rows_of(self, sample_ids: Iterable[str]) -> np.ndarray:
        """Every row of `table` with one of these ids, int64, sorted; twins of one content and label are several rows."""
        return self._sample_ids.rows(sample_ids)

    @cached_property
    def _sample_ids(self) -> SampleIds:
        return SampleIds(self.table["sample_id"].to_numpy())

    @cached_property
    def not_scored(self) -> pd.DataFrame:
        """One row a sample that could not be scored: ``index, source, reason``."""
        return pd.read_parquet(self.file(NOT_SCORED))

    @cached_property
    def factors(self) -> Factors:
        """The gradients, memory-mapped, a row for each row of `table`; beyond the head their sketches."""
        if not self.has_file("sketches.npy"):
            return Factors(*(np.load(self.file(f"{name}.npy"), mmap_mode="r") for name in FACTORS))
        sketches, norms = (np.load(self.file(f"{name}.npy"), mmap_mode="r") for name in SKETCHES)
        return Factors.from_vectors(sketches, norms)

    @property
    def recommendation(self) -> detectors.Recommendation | None:
        """Which detector, how many labels are wrong, and how much to trim; None where the run has none."""
        return self._recommendation if self.has_file(RECOMMENDATION) else None

    @cached_property
    def _recommendation(self) -> detectors.Recommendation:
        return detectors.Recommendation.from_dict(json.loads(self.file(RECOMMENDATION).read_text("utf-8")))

    @cached_property
    def class_names(self) -> list[str]:
        """Names of the classes of the data; not known before the run is done."""
        return list(self.summary.class_names)

    @cached_property
    def task(self) -> Task:
        """The task that the model was trained for; not known before the run is done."""
        return task_of(self.summary.kind)

    @cached_property
    def detectors(self) -> list[detectors.Detector]:
        """The detectors that this run has a score of, in the order of its columns; InputError where it is not done."""
        self.require_done()
        return [detectors.make_detector(name) for name in self.summary.detectors]

    def flag(self, detector: str, budget: float) -> pd.DataFrame:
        """The rows of `table` that a detector finds most suspicious, most suspicious first.

        Parameters
        ----------
        detector
            A score of this run: ``recommended``, ``l1``, … or a control.
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
        return self.table.iloc[self.flagged(detector, budget)]

    @property
    def data_source(self) -> DataSource:
        """The location of the data; InputError where that is not known yet."""
        if self.spec.data is None:
            raise InputError(f"run {self.id} has no data yet (the run is {self.status().state}); score the data again")
        return self.spec.data

    def open_dataset(self) -> Dataset:
        """The data the run was made from.

        Raises
        ------
        InputError
            If the data are no longer found, or never were a file.
        """
        data = self.data_source
        return open_dataset(data.source, inputs=data.inputs, label=data.label)


def _freeze(values: np.ndarray) -> np.ndarray:
    """The same array, which nobody can change any more."""
    values.flags.writeable = False
    return values


def recommend(run: Run) -> detectors.Recommendation:
    """Which score to trust on a run's data, how many labels are wrong, and how much to trim, with the evidence.

    Raises
    ------
    InputError
        If the run has no recommendation, or is not done.

    Examples
    --------
    >>> found = oga.recommend(run)
    >>> 0 <= found.wrong.low <= found.wrong.value <= found.wrong.high <= 1
    True
    """
    if run.recommendation is None:
        run.require_done()
        reason = run.summary.no_recommendation or "it was made by an older version; score the data again"
        raise InputError(f"run {run.id} has no recommendation: {reason}")
    return run.recommendation
