"""Whether the weights that a run was scored with are still those in their file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oga_core.files import sha256
from oga_core.runs.run import Run

WEIGHTS = "weights_were"
"""Key in the summary."""


def fingerprint(path: Path) -> dict[str, Any]:
    """What a file of weights is known by: hash, size and time of its last change."""
    found = path.stat()
    return {"sha256": sha256(path), "bytes": found.st_size, "changed": found.st_mtime_ns}


def stale(run: Run) -> str:
    """A line that says that the scores are of other weights than those in the file now; empty where they are not.

    Decisions belong to samples and stay. A file that is gone says nothing about the scores. It is read only where its size or
    time has changed.
    """
    were, path = run.summary.get(WEIGHTS), Path(run.settings.get("weights") or "")
    if not were or not path.is_file():
        return ""
    found = path.stat()
    if (found.st_size, found.st_mtime_ns) == (were["bytes"], were["changed"]) or sha256(path) == were["sha256"]:
        return ""
    return f"the weights in {path.name} have changed since run {run.id} was scored: its scores are stale; score the data again"
