"""How fast a reviewer decides."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from oga_core.review.reviewers import Reviewer, as_identity
from oga_core.runs import Run, database

LATELY = 50
"""Actions that are looked at."""
STEPS = 200
"""Actions and what took them back or did them again that are gone through to find these."""
PAUSE = 120.0
"""Seconds between two actions from which on the reviewer counts as away."""


@dataclass(frozen=True)
class Pace:
    """Actions a minute, of so many that it was taken from."""

    per_minute: float
    actions: int


def pace(run: Run, reviewer: str | Reviewer) -> Pace:
    """How fast a reviewer has decided lately in a run, pauses left out; 0 a minute before the second action.

    A bulk action counts once, as it is one look.
    """
    with database.reading(run.workspace.database) as connection:
        times = _times(connection, run, as_identity(reviewer))
    moments = np.array([datetime.fromisoformat(time).timestamp() for time in reversed(times)])
    gaps = np.diff(moments).clip(min=0)  # a clock may have been put back
    gaps = gaps[gaps <= PAUSE]
    if not len(gaps):
        return Pace(0.0, len(times))
    return Pace(60 * len(gaps) / max(float(gaps.sum()), 1.0), len(gaps))


def _times(connection: sqlite3.Connection, run: Run, identity: str) -> list[str]:
    """When the latest actions were decided, latest first; step by step, so that a bulk of a million events is one step."""
    last = "SELECT seq, batch, undoes, time FROM events WHERE run = ? AND identity = ? AND seq < ? ORDER BY seq DESC LIMIT 1"
    times: list[str] = []
    before = 1 << 62
    for _ in range(STEPS):
        event = connection.execute(last, (run.id, identity, before)).fetchone()
        if event is None or len(times) == LATELY:
            break
        if event["undoes"] is None:
            times.append(event["time"])
        before = connection.execute("SELECT min(seq) FROM events WHERE batch = ?", (event["batch"],)).fetchone()[0]
    return times
