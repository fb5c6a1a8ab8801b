"""Emptying the trash: what was deleted is removed for good, and what nothing in the workspace needs any more.

A run's folder, and the uploads that only it names, are set aside by renames inside the transaction that removes its rows, and
removed after it. A kill before the commit leaves a run in the trash, whose files are put back with it; a kill after the commit
leaves files that are set aside and belong to no row, which the next `clean` removes.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from oga_core.errors import InputError
from oga_core.runs import database
from oga_core.runs.job import check_idle
from oga_core.runs.removal import (
    Size,
    aside_of,
    entries,
    find_last_change,
    format_bytes,
    list_uploads,
    names_set_aside,
    put_back,
    remove,
    set_aside,
    size_of,
)
from oga_core.runs.workspace import UPLOADS, Workspace

OLD = 24 * 3600.0
"""Seconds after which what no run names is no longer about to be used."""
RUN_NAME, UPLOAD_NAME = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}"), re.compile(r"[0-9a-f]{32}")
"""Names of the folders that this package makes; others are left alone."""
_UNFINISHED = re.compile(r"\..+\.part")
_TABLES = ("files", "jobs", "views", "named_views")
"""Tables with rows of a run, beside its own and the events, which stay."""


@dataclass(frozen=True)
class Removal:
    """Something that is removed.

    Attributes
    ----------
    kind
        ``run``, ``upload``, or ``rest``: folders of runs that the workspace does not know, and unfinished files.
    name
        Id of the run, name of the uploaded file, or path in the workspace.
    changed
        When an upload was dropped last, in seconds since 1970.
    """

    kind: str
    name: str
    path: Path
    size: Size
    title: str = ""
    changed: float = 0.0


@dataclass
class Cleaning:
    """Removals of a cleaning, planned or done, and those that failed, with the reason."""

    removed: list[Removal] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def of(self, kind: str) -> list[Removal]:
        """Return the removals of one kind."""
        return [one for one in self.removed if one.kind == kind]

    @property
    def size(self) -> Size:
        """Of all that is removed."""
        return sum((one.size for one in self.removed), Size())


class _Owner(NamedTuple):
    """The uploads that a run names, and when it was created, in seconds since 1970."""

    uploads: set[str]
    created: float


def plan_cleaning(workspace: Workspace, run_ids: Collection[str] | None = None) -> Cleaning:
    """Return what `clean` would remove; nothing is changed. Parameters as there."""
    with database.reading(workspace.database) as connection:
        owners = _owners(connection)
    runs = [run for run in workspace.trash() if run_ids is None or run.id in run_ids]
    going = {run.id for run in runs}
    plan = Cleaning([*_list_unfinished(workspace), *_unknown_runs(workspace, owners)])
    plan.removed += _uploads(workspace, owners, going)
    for run in runs:
        plan.removed.append(Removal("run", run.id, run.path, size_of(run.path, aside_of(run.path)), run.title))
    return plan


def clean(workspace: Workspace, run_ids: Collection[str] | None = None) -> Cleaning:
    """Empty the trash of a workspace, for good.

    Removed are the runs in the trash, with the uploads that no other run names; uploads that no run names, unless they were
    dropped within a day; folders of runs that the workspace does not know, and unfinished files, where older than a day.
    Decisions stay. Links are removed, never followed. After a kill at any moment, the next call finishes the removal.

    Parameters
    ----------
    run_ids
        Full ids of the runs to remove; by default all that are in the trash. One that was put back meanwhile stays.

    Raises
    ------
    InputError
        If the workspace cannot be written.
    """
    workspace.check_writable()
    plan, done = plan_cleaning(workspace, run_ids), Cleaning()
    uploads = {one.path.name: one for one in plan.of("upload")}
    steps = {
        "rest": lambda one: _remove_rest(workspace, one),
        "run": lambda one: _remove_run(workspace, one, uploads),
        "upload": lambda one: _remove_upload(workspace, one),
    }
    for kind, step in steps.items():
        for one in plan.of(kind):
            try:
                if step(one):
                    done.removed.append(one)
            except (OSError, sqlite3.OperationalError, InputError) as error:
                reason = getattr(error, "strerror", None) or error
                done.failed.append(f"{kind} {one.name} could not be removed: {reason}")
    with database.writing(workspace.database) as connection:  # a page that was open may have written some
        for table in _TABLES:
            connection.execute(f"DELETE FROM {table} WHERE run NOT IN (SELECT id FROM runs)")
    return done


def describe(cleaning: Cleaning) -> str:
    """Describe what is removed, counted, with its size: ``2 runs and 1 upload (12.3 MB)``."""
    counts = [(len(cleaning.of(kind)), noun) for kind, noun in (("run", "run"), ("upload", "upload"), ("rest", "unused path"))]
    counted = [f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count]
    return f"{' and '.join(filter(None, (', '.join(counted[:-1]), *counted[-1:])))} ({format_bytes(cleaning.size.bytes)})"


# ---- what is removed -------------------------------------------------------------------------------------------------------
def _owners(connection: sqlite3.Connection) -> dict[str, _Owner]:
    """The uploads of each run, those in the trash included."""
    rows = connection.execute("SELECT id, settings, created FROM runs")
    return {row["id"]: _Owner(list_uploads(row["settings"]), _seconds(row["created"])) for row in rows}


def _seconds(created: str) -> float:
    try:
        return datetime.fromisoformat(created).timestamp()
    except ValueError:
        return 0.0


def _uploads(workspace: Workspace, owners: dict[str, _Owner], going: set[str]) -> Iterator[Removal]:
    """The uploads that no run will name, without those that somebody may be about to use."""
    folder = workspace.path / UPLOADS
    needed = {name for run_id, owner in owners.items() if run_id not in going for name in owner.uploads}
    names = {path.name for path in entries(folder) if UPLOAD_NAME.fullmatch(path.name)}
    for name in sorted((names | names_set_aside(folder)) - needed):
        path = folder / name
        changed = path.lstat().st_mtime if os.path.lexists(path) else 0.0
        created = [owners[run_id].created for run_id in going if name in owners[run_id].uploads]
        # It was dropped for these runs, unless it was dropped again since; times of runs are whole seconds.
        if time.time() - changed > OLD or (created and changed < max(created) + 1):
            files = [file.name for place in (path, aside_of(path)) for file in entries(place)]
            yield Removal("upload", ", ".join(files) or name, path, size_of(path, aside_of(path)), changed=changed)


def _unknown_runs(workspace: Workspace, owners: dict[str, _Owner]) -> Iterator[Removal]:
    """Folders of runs that have no row: older than a day, for a run's folder is made before its row, or set aside."""
    folder = workspace.path / "runs"
    aside = names_set_aside(folder)
    names = {path.name for path in entries(folder) if RUN_NAME.fullmatch(path.name)}
    for name in sorted((names | aside) - set(owners)):
        path = folder / name
        if name in aside or time.time() - find_last_change(path) > OLD:
            yield Removal("rest", f"runs/{name}", path, size_of(path, aside_of(path)))


def _list_unfinished(workspace: Workspace) -> Iterator[Removal]:
    """Files and folders that were being written when a process was killed, older than a day."""
    for where, folders, files in os.walk(workspace.path):
        for name in [name for name in (*folders, *files) if _UNFINISHED.fullmatch(name)]:
            path = Path(where) / name
            if time.time() - find_last_change(path) > OLD:
                yield Removal("rest", str(path.relative_to(workspace.path)), path, size_of(path))
        folders[:] = [name for name in folders if not _UNFINISHED.fullmatch(name) and not name.endswith(".removed")]


# ---- removing it -----------------------------------------------------------------------------------------------------------
def _remove_run(workspace: Workspace, one: Removal, uploads: dict[str, Removal]) -> bool:
    """Remove a run and the planned uploads that only it names; returns whether it was still in the trash."""
    with database.writing(workspace.database) as connection:
        owners = _owners(connection)
        if connection.execute("SELECT 1 FROM runs WHERE id = ? AND deleted != ''", (one.name,)).fetchone() is None:
            return False
        check_idle(connection, one.name)
        others = {name for run_id, owner in owners.items() if run_id != one.name for name in owner.uploads}
        set_aside(one.path)
        for name in owners[one.name].uploads - others:
            if name in uploads:
                _set_aside_upload(uploads[name])
        for table in _TABLES:
            connection.execute(f"DELETE FROM {table} WHERE run = ?", (one.name,))
        connection.execute("DELETE FROM runs WHERE id = ?", (one.name,))
    remove(aside_of(one.path))
    return True


def _remove_upload(workspace: Workspace, one: Removal) -> bool:
    """Remove an upload; returns whether nobody needs it."""
    with database.writing(workspace.database) as connection:
        if any(one.path.name in owner.uploads for owner in _owners(connection).values()) or not _set_aside_upload(one):
            return False
    remove(aside_of(one.path))
    return True


def _set_aside_upload(one: Removal) -> bool:
    """Set an upload aside, unless it was dropped again since the cleaning was planned."""
    if os.path.lexists(one.path):
        if one.path.lstat().st_mtime != one.changed:
            return False
        if set_aside(one.path).lstat().st_mtime != one.changed:  # between the two
            put_back(one.path)
            return False
    return True


def _remove_rest(workspace: Workspace, one: Removal) -> bool:
    """Remove what no run owns; returns whether that is still so."""
    if not RUN_NAME.fullmatch(one.path.name):
        remove(one.path)
        return True
    with database.writing(workspace.database) as connection:
        if connection.execute("SELECT 1 FROM runs WHERE id = ?", (one.path.name,)).fetchone():
            return False
        set_aside(one.path)
    remove(aside_of(one.path))
    return True
