"""What was acknowledged is on disk, with many reviewers at once and on a full disk; tests/faults kills those who decide."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sqlite3
from multiprocessing.synchronize import Barrier

import pandas as pd

from oga_core.review import decide, decisions
from oga_core.runs import Run, database

PROCESSES, EACH = 4, 20
NOT_SAVED = 77
fork = multiprocessing.get_context("fork")


def logged(run: Run) -> dict[str, int]:
    """Events of each operation."""
    with database.reading(run.workspace.database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        rows = connection.execute("SELECT batch, count(*) FROM events GROUP BY batch").fetchall()
    return {row[0]: row[1] for row in rows}


def decide_some(run: Run, reviewer: str, barrier: Barrier) -> None:
    barrier.wait()
    for i in range(EACH):
        decide(run, run.table.iloc[[i % 6]], "remove", reviewer=reviewer, op_id=f"{reviewer}-{i}")


def test_many_reviewers_at_once_lose_nothing(run: Run) -> None:
    barrier = fork.Barrier(PROCESSES)
    children = [fork.Process(target=decide_some, args=(run, f"r{p}", barrier)) for p in range(PROCESSES)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * PROCESSES
    assert logged(run) == {f"r{p}-{i}": 1 for p in range(PROCESSES) for i in range(EACH)}
    with database.reading(run.workspace.database) as connection:
        numbers = [row["seq"] for row in connection.execute("SELECT seq FROM events")]
    assert sorted(numbers) == list(range(1, PROCESSES * EACH + 1))
    assert len(decisions(run)) == 6


def decide_on_a_full_disk(run: Run) -> None:
    size = run.workspace.database.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    many = pd.DataFrame({"sample_id": [f"s{i}" for i in range(10_000)], "label": "cat"})
    try:
        decide(run, many, "remove", reviewer="bob")
    except sqlite3.Error:
        os._exit(NOT_SAVED)


def test_a_decision_that_finds_the_disk_full_raises_and_leaves_the_log_as_it_was(run: Run) -> None:
    decide(run, run.table, "keep", reviewer="ann", op_id="before")
    child = fork.Process(target=decide_on_a_full_disk, args=(run,))
    child.start()
    child.join()
    assert child.exitcode == NOT_SAVED
    assert logged(run) == {"before": 6}
    decide(run, run.table.iloc[:1], "remove", reviewer="bob", op_id="after")
    assert logged(run) == {"before": 6, "after": 1}
