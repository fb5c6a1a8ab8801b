"""The decisions that stand, kept up to date event by event, are those that the whole log gives."""

from __future__ import annotations

import multiprocessing
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from oga_core.review import STATES, Standing, decide, decisions, redo, standing, standing_of, undo, version
from oga_core.runs import Run, Workspace
from oga_core.runs.run import TABLE
from tests.summaries import make_summary

REVIEWERS = st.sampled_from(["ann", "bob", "cid"])
ROWS = st.lists(st.integers(0, 6), min_size=1, max_size=4)
SAID = st.sampled_from([("keep", ""), ("remove", ""), ("unsure", ""), ("relabel", "cat"), ("relabel", "dog")])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), REVIEWERS, ROWS, SAID, st.booleans()),
        st.tuples(st.sampled_from(["undo", "redo"]), REVIEWERS),
        st.just(("update",)),
    ),
    max_size=25,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run of samples ``s0`` … ``s5``, and ``s0`` a second time."""
    folder = tmp_path_factory.mktemp("made")
    run = Workspace(folder).new_run("seven")
    ids = [f"s{i}" for i in range(6)] + ["s0"]
    table = pd.DataFrame({"sample_id": ids, "index": range(7), "label": "cat", "predicted": "dog", "l1": 1.0})
    run.add_file(TABLE, lambda path: table.to_parquet(path, index=False))
    run.set_summary(make_summary(class_names=("cat", "dog"), detectors=("l1",)))
    return folder


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_it_is_what_the_whole_log_gives_whenever_it_is_updated(steps: list, made: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path)
    shutil.copytree(made, tmp_path)
    run = Workspace(tmp_path).runs()[0]
    stands = Standing(run)
    for step in steps:
        if step[0] == "decide":
            _, reviewer, rows, (action, new_label), looked = step
            seen = {s: d.seq for s, d in stands.by_id.items()} if looked else None
            decide(run, run.table.iloc[rows], action, reviewer=reviewer, new_label=new_label, seen=seen)
        elif step[0] == "update":
            check(run, stands)
        else:
            {"undo": undo, "redo": redo}[step[0]](run, reviewer=step[1])
    check(run, stands)


def check(run: Run, stands: Standing) -> None:
    assert stands.update() == stands.version == version(run)
    expected = decisions(run)
    assert dict(stands.by_id) == expected
    ids = run.table["sample_id"].tolist()
    assert [STATES[c] for c in stands.codes] == [expected[s].action if s in expected else "undecided" for s in ids]
    assert stands.disputed.tolist() == [s in expected and expected[s].disputed for s in ids]
    assert (stands.codes.dtype, stands.disputed.dtype) == (np.uint8, bool)


def test_an_update_reads_only_what_is_new_and_the_past_of_what_was_taken_back(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    whole = standing.events_where

    def counted(*arguments: Any) -> list[Any]:
        found = whole(*arguments)
        read.append(len(found))
        return found

    monkeypatch.setattr(standing, "events_where", counted)
    decide(run, run.table, "keep", reviewer="ann")
    stands = Standing(run)
    stands.update()
    decide(run, run.table.iloc[:2], "remove", reviewer="ann")
    stands.update()
    undo(run, reviewer="ann")
    stands.update()
    stands.update()
    assert read == [6, 2, 2, 4, 0]
    check(run, stands)


def test_decisions_of_other_runs_and_samples_that_are_not_here_are_known_too(run: Run) -> None:
    other = run.workspace.new_run("other")
    decide(other, pd.DataFrame({"sample_id": ["s3", "elsewhere"], "label": "dog"}), "remove", reviewer="ann")
    stands = Standing(run)
    check(run, stands)
    assert set(stands.by_id) == {"s3", "elsewhere"}
    assert np.flatnonzero(stands.codes).tolist() == [3]


def test_arrays_that_were_taken_before_an_update_do_not_change_under_their_reader(run: Run) -> None:
    stands = Standing(run)
    codes, disputed = stands.codes, stands.disputed
    decide(run, run.table, "keep", reviewer="ann")
    decide(run, run.table, "remove", reviewer="bob")
    stands.update()
    assert not codes.any()
    assert not disputed.any()
    assert stands.disputed.all()


def test_there_is_one_for_a_run_and_it_is_up_to_date(run: Run) -> None:
    first = standing_of(run)
    decide(run, run.table.iloc[:1], "keep", reviewer="ann")
    assert standing_of(run) is first
    assert set(first.by_id) == {"s0"}


def decide_some(run: Run, reviewer: str) -> None:
    for i in range(30):
        decide(run, run.table.iloc[[i % 6]], ("keep", "remove")[i % 2], reviewer=reviewer)
        if i % 5 == 4:
            undo(run, reviewer=reviewer)
        if i % 10 == 9:
            redo(run, reviewer=reviewer)


def test_while_others_decide_in_other_processes_and_threads_update_it_it_stays_right(run: Run) -> None:
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=decide_some, args=(run, name)) for name in ("ann", "bob", "cid")]
    stands = Standing(run)
    over = threading.Event()

    def keep_updating() -> None:
        while not over.is_set():
            stands.update()

    threads = [threading.Thread(target=keep_updating) for _ in range(3)]
    for child in children:
        child.start()
    for thread in threads:
        thread.start()
    for child in children:
        child.join()
    over.set()
    for thread in threads:
        thread.join()
    assert [child.exitcode for child in children] == [0] * 3
    check(run, stands)
