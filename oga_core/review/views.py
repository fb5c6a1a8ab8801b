"""What a browser should find again after a refresh: the selection of a run, and the reviewer's name."""

from __future__ import annotations

import hashlib

from oga_core.review.selection import Selection, default_selection, from_json, to_json
from oga_core.runs import Run, Workspace, database


def save_view(run: Run, selection: Selection) -> str:
    """Keep a selection in the workspace; returns its id, the same for equal selections of a run."""
    text = to_json(selection)
    view = hashlib.sha256(f"{run.id}\0{text}".encode()).hexdigest()[:12]
    with database.writing(run.workspace.database) as connection:
        connection.execute(
            "INSERT OR REPLACE INTO views (id, run, state, seq) VALUES (?, ?, ?, (SELECT coalesce(max(seq), 0) + 1 FROM views))",
            (view, run.id, text),
        )
    return view


def load_view(run: Run, view: str | None) -> Selection:
    """A kept selection by its id; the run's latest where there is none of that id, and the default where none was kept."""
    with database.reading(run.workspace.database) as connection:
        row = connection.execute("SELECT state FROM views WHERE run = ? AND id = ?", (run.id, view)).fetchone()
        if row is None:
            row = connection.execute("SELECT state FROM views WHERE run = ? ORDER BY seq DESC LIMIT 1", (run.id,)).fetchone()
    return from_json(row["state"], run) if row is not None else default_selection(run)


def reviewer_of(workspace: Workspace, browser: str) -> str | None:
    """The name last entered in a browser."""
    with database.reading(workspace.database) as connection:
        row = connection.execute("SELECT name FROM reviewers WHERE browser = ?", (browser,)).fetchone()
    return str(row["name"]) if row is not None else None


def remember_reviewer(workspace: Workspace, browser: str, name: str) -> None:
    """Keep the name entered in a browser."""
    with database.writing(workspace.database) as connection:
        connection.execute("INSERT OR REPLACE INTO reviewers (browser, name) VALUES (?, ?)", (browser, name))
