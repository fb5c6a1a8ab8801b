"""How much disk a workspace takes, and for what."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from oga_core.errors import InputError
from oga_core.runs import database
from oga_core.runs.cleaning import UPLOAD_NAME
from oga_core.runs.deleted import UnknownRun
from oga_core.runs.removal import Size, aside_of, entries, list_uploads, size_of
from oga_core.runs.run import Run
from oga_core.runs.workspace import DATABASE, UPLOADS, Workspace

IN_FORCE = (
    "undoes IS NULL AND NOT EXISTS (SELECT 1 FROM events AS undo WHERE undo.undoes = decision.seq AND NOT EXISTS ("
    "SELECT 1 FROM events AS redo WHERE redo.undoes = undo.seq))"
)
"""Of a row of ``events AS decision``: it decides, and was not taken back, or done again."""


@dataclass(frozen=True)
class RunSize:
    """A run and the size of its folder; `samples` are those of its data, None before it is done."""

    run: str
    title: str
    created: str
    deleted: str
    state: str
    samples: int | None
    bytes: int


@dataclass(frozen=True)
class WorkspaceSizes:
    """The sizes of a workspace's parts.

    Attributes
    ----------
    runs, trash
        The runs, newest first, and those that were deleted.
    used, unused
        Uploads that a run names, also one in the trash, and the others.
    database, copies
        The workspace's file with its journal, and its backup and other copies.
    other
        What is none of all these: caches, unfinished files.
    events, decided
        Entries in the log of decisions, and samples with a decision in force.
    free
        Bytes that are free on its disk.
    """

    path: str
    schema: int
    read_only: str
    runs: list[RunSize]
    trash: list[RunSize]
    used: Size
    unused: Size
    examples: Size
    database: Size
    copies: Size
    other: Size
    events: int
    decided: int
    total: Size
    free: int

    def to_dict(self) -> dict[str, object]:
        """All of it for JSON."""
        return {
            "path": self.path,
            "schema": self.schema,
            "read_only": self.read_only,
            "runs": _list_files(self.runs),
            "trash": _list_files(self.trash),
            "uploads": {"used": self.used._asdict(), "unused": self.unused._asdict()},
            "examples": self.examples._asdict(),
            "database": {**self.database._asdict(), "copies": self.copies._asdict()},
            "decisions": {"events": self.events, "samples": self.decided},
            "other": self.other._asdict(),
            "total": self.total._asdict(),
            "free": self.free,
        }


def _list_files(runs: list[RunSize]) -> dict[str, object]:
    return {"count": len(runs), "bytes": sum(run.bytes for run in runs), "list": [vars(run) for run in runs]}


def measure_workspace(workspace: Workspace) -> WorkspaceSizes:
    """Measure a workspace: every file's size, links not followed. It may change meanwhile."""
    with database.reading(workspace.database) as connection:
        schema = connection.execute("PRAGMA user_version").fetchone()[0]
        in_use = {name for row in connection.execute("SELECT settings FROM runs") for name in list_uploads(row["settings"])}
        events = connection.execute("SELECT count(*) FROM events").fetchone()[0]
        decided = connection.execute(f"SELECT count(DISTINCT sample_id) FROM events AS decision WHERE {IN_FORCE}").fetchone()[0]
    runs, trash = (list(filter(None, map(_size, some))) for some in (workspace.runs(), workspace.trash()))
    used, unused = Size(), Size()
    for path in entries(workspace.path / UPLOADS):
        name = path.name if UPLOAD_NAME.fullmatch(path.name) else path.name[1:].removesuffix(".removed")
        used, unused = (used + size_of(path), unused) if name in in_use else (used, unused + size_of(path))
    files = [path for path in entries(workspace.path) if path.name.startswith(DATABASE)]
    live = [path for path in files if path.name.removeprefix(DATABASE) in ("", "-journal", "-wal", "-shm")]
    copies = size_of(*(path for path in files if path not in live))
    examples, own, total = size_of(workspace.path / "examples"), size_of(*live), size_of(workspace.path)
    of_runs = size_of(*(place for run in (*runs, *trash) for place in _places(workspace, run.run)))
    known = of_runs + used + unused + examples + own + copies
    other = Size(max(0, total.files - known.files), max(0, total.bytes - known.bytes))
    return WorkspaceSizes(
        str(workspace.path),
        schema,
        workspace.read_only,
        runs,
        trash,
        used,
        unused,
        examples,
        own,
        copies,
        other,
        events,
        decided,
        total,
        shutil.disk_usage(workspace.path).free,
    )


def _places(workspace: Workspace, run_id: str) -> tuple[Path, ...]:
    path = workspace.path / "runs" / run_id
    return path, aside_of(path)


def _size(run: Run) -> RunSize | None:
    try:
        return RunSize(run.id, run.title, run.created, run.deleted, run.status().state, _samples(run), run_size(run).bytes)
    except UnknownRun:  # a moment ago
        return None


def _samples(run: Run) -> int | None:
    try:
        summary = run.find_summary()
    except UnknownRun:
        raise
    except InputError:  # of a newer OGA, or damaged: the run is listed nevertheless
        return None
    return None if summary is None else summary.samples


def run_size(run: Run) -> Size:
    """The size of a run's folder."""
    return size_of(run.path, aside_of(run.path))


def own_uploads(run: Run) -> Size:
    """The size of the uploads that no other run names; they are removed with the run."""
    with database.reading(run.workspace.database) as connection:
        uploads = {row["id"]: list_uploads(row["settings"]) for row in connection.execute("SELECT id, settings FROM runs")}
    own = uploads.pop(run.id, set()).difference(*uploads.values())
    return size_of(*(run.workspace.path / UPLOADS / name for name in own))
