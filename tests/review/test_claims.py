"""No sample is handed to two reviewers at once, and none is lost by one who goes away."""

from __future__ import annotations

import importlib
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from types import ModuleType
from typing import Any

import pytest

from oga_core.review import claim, decide, undo
from oga_core.runs import Run

IDS = [f"s{i}" for i in range(6)]
fork = multiprocessing.get_context("fork")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that claims are made at, in its one element."""
    now = [1_000_000.0]
    module: ModuleType = importlib.import_module("oga_core.review.claims")
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    return now


def test_the_next_ones_in_order_are_given_and_no_other_reviewer_gets_them(run: Run) -> None:
    assert claim(run, IDS, "ann", 2) == ["s0", "s1"]
    assert claim(run, IDS, "bob", 3) == ["s2", "s3", "s4"]
    assert claim(run, IDS[::-1], "cid", 4) == ["s5"]
    assert claim(run, IDS, "dan", 4) == []


def test_asking_again_gives_the_same_and_then_the_next(run: Run) -> None:
    assert claim(run, IDS, "ann", 2) == claim(run, IDS, "ann", 2) == ["s0", "s1"]
    decide(run, run.table.iloc[[0]], "keep", reviewer="ann")
    assert claim(run, IDS, "ann", 2) == ["s1", "s2"]
    assert claim(run, IDS, "bob", 1) == ["s3"]


def test_what_is_decided_is_not_handed_out_until_it_is_undone(run: Run) -> None:
    decide(run, run.table.iloc[[0, 2]], "keep", reviewer="ann")
    assert claim(run, IDS, "bob", 3) == ["s1", "s3", "s4"]
    undo(run, reviewer="ann")
    assert claim(run, IDS, "ann", 3) == ["s0", "s2", "s5"]


def test_a_claim_is_over_after_five_minutes_unless_it_is_renewed(run: Run, clock: list[float]) -> None:
    assert claim(run, IDS, "ann", 2) == ["s0", "s1"]
    clock[0] += 200
    assert claim(run, IDS, "ann", 1) == ["s0"]
    clock[0] += 99
    assert claim(run, IDS, "bob", 2) == ["s2", "s3"]
    clock[0] += 2
    assert claim(run, IDS, "bob", 2) == ["s1", "s2"]
    clock[0] += 200
    assert claim(run, IDS, "bob", 2) == ["s0", "s1"]


def test_a_clock_that_is_put_back_locks_nobody_out(run: Run, clock: list[float]) -> None:
    assert claim(run, IDS, "ann", 6) == IDS
    clock[0] -= 3600
    assert claim(run, IDS, "bob", 6) == IDS


def test_one_that_is_asked_for_twice_is_given_once_and_many_are_asked_for_in_parts(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("oga_core.review.claims"), "ASKED_AT_ONCE", 2)
    claim(run, ["s1"], "bob", 1)
    assert claim(run, ["s0", "s1", "s0", "s2", "s3"], "ann", 3) == ["s0", "s2", "s3"]
    assert claim(run, [], "ann", 3) == []
    assert claim(run, IDS, "ann", 0) == []


def work_through(run: Run, ids: list[str], reviewer: str, barrier: Barrier | threading.Barrier, got: Queue[Any]) -> None:
    """Claim some, decide on one, until nothing is left; report what was in front of the reviewer each time, and when."""
    barrier.wait()
    while mine := claim(run, ids, reviewer, 3):
        got.put((reviewer, mine[0]))
        samples = run.table.iloc[run.rows_of(mine[:1])]
        decide(run, samples, "keep", reviewer=reviewer)


def test_many_processes_at_once_are_never_given_the_same_sample(run: Run) -> None:
    barrier, got = fork.Barrier(4), fork.Queue()
    children = [fork.Process(target=work_through, args=(run, IDS, f"r{i}", barrier, got)) for i in range(4)]
    for child in children:
        child.start()
    handed = sorted(got.get(timeout=60)[1] for _ in IDS)
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert handed == IDS
    assert got.empty()


def test_many_threads_at_once_are_never_given_the_same_sample(run: Run) -> None:
    barrier = threading.Barrier(6)

    def ask(i: int) -> list[str]:
        barrier.wait()
        return claim(run, IDS, f"r{i}", 1)

    with ThreadPoolExecutor(6) as pool:
        given = list(pool.map(ask, range(6)))
    assert sorted(s for mine in given for s in mine) == IDS
