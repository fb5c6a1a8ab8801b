"""Claims of reviewers on the samples that they look at; no two reviewers are given the same one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from oga_core.review.reviewers import Reviewer, as_identity
from oga_core.review.standing import standing_of
from oga_core.runs import Run, database

LEASE = 300.0
"""Seconds after which a claim that is not renewed is over."""
ASKED_AT_ONCE = 500


def claim(run: Run, sample_ids: Sequence[str], reviewer: str | Reviewer, count: int) -> list[str]:
    """The next samples for a reviewer: undecided ones that no other reviewer has claimed; they are claimed for 5 minutes.

    Asking again, even before they are decided, gives the same samples and renews their claims.

    Parameters
    ----------
    sample_ids
        In the order in which they are to be handed out.
    count
        How many at most.
    """
    identity, standing = as_identity(reviewer), standing_of(run)
    with database.writing(run.workspace.database) as connection:
        standing.update()  # nothing is decided while we write
        undecided = [sample_id for sample_id in dict.fromkeys(sample_ids) if sample_id not in standing.by_id]
        now = time.time()
        connection.execute("DELETE FROM claims WHERE until NOT BETWEEN ? AND ?", (now, now + LEASE))  # a clock was put back
        mine: list[str] = []
        for start in range(0, len(undecided), ASKED_AT_ONCE):
            asked = undecided[start : start + ASKED_AT_ONCE]
            query = f"SELECT sample_id FROM claims WHERE identity != ? AND sample_id IN ({', '.join('?' * len(asked))})"
            taken = {row["sample_id"] for row in connection.execute(query, (identity, *asked))}
            mine += [sample_id for sample_id in asked if sample_id not in taken]
            if len(mine) >= count:
                break
        mine = mine[:count]
        connection.executemany(
            "INSERT OR REPLACE INTO claims (sample_id, identity, until) VALUES (?, ?, ?)",
            [(sample_id, identity, now + LEASE) for sample_id in mine],
        )
    return mine
