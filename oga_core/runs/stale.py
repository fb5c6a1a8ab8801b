"""Whether the weights that a run was scored with are still those in their file."""

from __future__ import annotations

from pathlib import Path

from oga_core.files import sha256
from oga_core.runs.records import Fingerprint, Weights
from oga_core.runs.run import Run


def fingerprint(path: Path) -> Fingerprint:
    """Take the fingerprint of a file of weights."""
    found = path.stat()
    return Fingerprint(sha256(path), found.st_size, found.st_mtime_ns)


def stale(run: Run) -> str:
    """A line that says that the scores are of other weights than those in the file now; empty where they are not.

    Decisions belong to samples and stay. A file that is gone says nothing about the scores. It is read only where its size or
    time has changed.
    """
    summary, model = run.find_summary(), run.spec.model
    if summary is None or summary.weights is None or not isinstance(model, Weights):
        return ""
    were, path = summary.weights, Path(model.path)
    if not path.is_file():
        return ""
    found = path.stat()
    if (found.st_size, found.st_mtime_ns) == (were.bytes, were.changed) or sha256(path) == were.sha256:
        return ""
    return f"the weights in {path.name} have changed since run {run.id} was scored: its scores are stale; score the data again"
