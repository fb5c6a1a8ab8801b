"""Record of the exports of a run, and whether its decisions have changed since."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass

from oga_core.files import PRIVATE_FILE
from oga_core.review.standing import standing_of
from oga_core.runs import Run
from oga_core.runs.workspace import now

RECORD = "exports.jsonl"
"""File in the run's folder: a line an export, only ever added to."""


@dataclass(frozen=True)
class Exported:
    """An export that was written.

    Attributes
    ----------
    what, format, rows, to
        What it holds, in which format, how many rows, and the path or name of the file.
    time
        When, ISO 8601.
    decisions
        Hash of the decisions that stood then.
    superseded
        Whether other decisions stand now.
    """

    what: str
    format: str
    rows: int
    to: str
    time: str
    decisions: str
    superseded: bool = False


def remember(run: Run, what: str, fmt: str, rows: int, to: str) -> None:
    """Enter an export that has just been written; OSError where the run's folder cannot be written to."""
    entry = Exported(what, fmt, rows, to, now(), _decisions(run))
    line = json.dumps({k: v for k, v in asdict(entry).items() if k != "superseded"}) + "\n"
    handle = os.open(run.path / RECORD, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
    try:
        os.write(handle, line.encode())  # one write: two processes do not mix their lines
        os.fsync(handle)
    finally:
        os.close(handle)


def list_exports(run: Run) -> list[Exported]:
    """The exports of a run, newest first; a line that a power cut has left half is left out."""
    try:
        lines = (run.path / RECORD).read_text("utf-8").split("\n")
    except FileNotFoundError:
        return []
    now = _decisions(run)
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
            found.append(Exported(**entry, superseded=entry["decisions"] != now))
        except (ValueError, TypeError, KeyError):
            continue
    return found[::-1]


def _decisions(run: Run) -> str:
    """Hash of the current decisions on the run's samples: an export depends on these, not on reviewer or time."""
    ids = set(run.table["sample_id"])
    decided = sorted((i, d.action, d.new_label) for i, d in standing_of(run).by_id.items() if i in ids)
    return hashlib.sha256(json.dumps(decided).encode()).hexdigest()
