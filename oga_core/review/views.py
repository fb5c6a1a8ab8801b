"""Selections that are kept: of a run, after a refresh or under a name."""

from __future__ import annotations

import hashlib

from oga_core.errors import InputError
from oga_core.review.selection import Selection, default_selection, from_json, to_json
from oga_core.runs import Run, database

LONGEST_NAME = 80
"""Characters."""


def save_view(run: Run, selection: Selection) -> str:
    """Keep a selection in the workspace, if that can be written; returns its id, the same for equal selections of a run."""
    text = to_json(selection)
    view = hashlib.sha256(f"{run.id}\0{text}".encode()).hexdigest()[:12]
    if run.workspace.read_only:
        return view
    with database.writing(run.workspace.database) as connection:
        connection.execute(
            "INSERT OR REPLACE INTO views (id, run, state, seq) "
            "SELECT ?, id, ?, (SELECT coalesce(max(seq), 0) + 1 FROM views) FROM runs WHERE id = ?",  # which may be removed now
            (view, text, run.id),
        )
    return view


def load_view(run: Run, view: str | None) -> Selection:
    """A kept selection by its id; the run's latest where there is none of that id, and the default where none was kept."""
    with database.reading(run.workspace.database) as connection:
        row = connection.execute("SELECT state FROM views WHERE run = ? AND id = ?", (run.id, view)).fetchone()
        if row is None:
            row = connection.execute("SELECT state FROM views WHERE run = ? ORDER BY seq DESC LIMIT 1", (run.id,)).fetchone()
    return from_json(row["state"], run) if row is not None else default_selection(run)


def name_view(run: Run, name: str, selection: Selection) -> None:
    """Keep a selection under a name; one of the same name is replaced.

    Raises
    ------
    InputError
        If the name is empty or too long.
    """
    name = " ".join(name.split())
    if not name or len(name) > LONGEST_NAME:
        raise InputError(f"a view needs a name of 1 to {LONGEST_NAME} characters")
    with database.writing(run.workspace.database) as connection:
        connection.execute(
            "INSERT OR REPLACE INTO named_views (run, name, state) SELECT id, ?, ? FROM runs WHERE id = ?",
            (name, to_json(selection), run.id),
        )


def list_views(run: Run) -> dict[str, Selection]:
    """The selections that were kept under a name, in the order of the names."""
    with database.reading(run.workspace.database) as connection:
        rows = connection.execute("SELECT name, state FROM named_views WHERE run = ? ORDER BY name", (run.id,)).fetchall()
    return {row["name"]: from_json(row["state"], run) for row in rows}


def forget_view(run: Run, name: str) -> None:
    """Drop a named selection; nothing happens where there is none of that name."""
    with database.writing(run.workspace.database) as connection:
        connection.execute("DELETE FROM named_views WHERE run = ? AND name = ?", (run.id, name))
