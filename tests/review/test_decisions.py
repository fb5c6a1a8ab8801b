"""Decisions are events: counted once, never changed, taken back without limit, and true to the sample's content."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torch import nn

import oga_core as oga
from oga_core.errors import InputError
from oga_core.review import DECISIONS, decide, decisions, history, redo, undo, version
from oga_core.runs import Run, database
from oga_core.runs.run import TABLE


def said(run: Run) -> dict[str, tuple[str, str, str]]:
    return {s: (d.reviewer, d.action, d.new_label) for s, d in decisions(run).items()}


def seqs(run: Run) -> dict[str, int]:
    return {s: d.seq for s, d in decisions(run).items()}


def conflicts(run: Run) -> list[str]:
    return [s for s, d in decisions(run).items() if d.conflict]


def test_a_decision_stands_with_all_that_belongs_to_it(run: Run) -> None:
    assert decisions(run) == {}
    assert decide(run, run.table.iloc[[1]], "relabel", reviewer=" ann ", new_label="owl") == 1
    decision = decisions(run)["s1"]
    assert (decision.reviewer, decision.action, decision.old_label, decision.new_label) == ("ann", "relabel", "dog", "owl")
    assert not decision.conflict
    assert decision.time.endswith("+00:00")


@pytest.mark.parametrize("action", DECISIONS)
def test_the_last_decision_of_a_sample_is_the_one_that_stands(run: Run, action: str) -> None:
    for earlier in DECISIONS:
        decide(run, run.table.iloc[:2], earlier, reviewer="ann", new_label="owl")
    assert decide(run, run.table.iloc[:1], action, reviewer="ann", new_label="cat") == 1
    assert said(run)["s0"] == ("ann", action, "cat" if action == "relabel" else "")
    assert said(run)["s1"] == ("ann", "unsure", "")


def test_a_label_beside_another_action_than_relabel_is_dropped(run: Run) -> None:
    decide(run, run.table.iloc[:1], "keep", reviewer="ann", new_label="no class at all")
    assert said(run) == {"s0": ("ann", "keep", "")}


def test_a_bulk_action_can_relabel_each_sample_to_a_label_of_its_own(run: Run) -> None:
    assert decide(run, run.table.iloc[[4, 1, 4]], "relabel", reviewer="ann", new_label=["owl", "cat", "owl"]) == 2
    assert said(run) == {"s4": ("ann", "relabel", "owl"), "s1": ("ann", "relabel", "cat")}
    with pytest.raises(InputError, match="cannot relabel to 'bird'"):
        decide(run, run.table.iloc[:2], "relabel", reviewer="ann", new_label=["owl", "bird"])
    assert undo(run, reviewer="ann") == ["s4", "s1"]
    assert decisions(run) == {}


@pytest.mark.parametrize(
    ("action", "reviewer", "new_label", "message"),
    [
        ("delete", "ann", "", "unknown decision 'delete'; there are: keep, remove, relabel, unsure"),
        ("undo", "ann", "", "unknown decision 'undo'"),
        ("keep", "", "", "needs a reviewer"),
        ("keep", " \t", "", "needs a reviewer"),
        ("relabel", "ann", "", "cannot relabel to ''"),
        ("relabel", "ann", "bird", "cannot relabel to 'bird': not a class of this data; there are: cat, dog, owl"),
        ("relabel", "ann", "Cat", "cannot relabel to 'Cat'"),
    ],
)
def test_what_is_no_decision_is_refused_and_leaves_no_event(
    run: Run, action: str, reviewer: str, new_label: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        decide(run, run.table, action, reviewer=reviewer, new_label=new_label)
    assert version(run) == 0


@pytest.mark.parametrize("statement", ["UPDATE events SET action = 'keep'", "DELETE FROM events"])
def test_sqlite_itself_refuses_to_change_an_event(run: Run, statement: str) -> None:
    decide(run, run.table.iloc[:1], "remove", reviewer="ann")
    with (
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
        database.writing(run.workspace.database) as connection,
    ):
        connection.execute(statement)
    assert said(run) == {"s0": ("ann", "remove", "")}


def test_the_same_operation_twice_counts_once(run: Run) -> None:
    assert decide(run, run.table, "remove", reviewer="ann", op_id="click") == 6
    assert decide(run, run.table, "remove", reviewer="ann", op_id="click") == 0
    assert version(run) == 6
    assert len(undo(run, reviewer="ann", op_id="key")) == 6
    assert undo(run, reviewer="ann", op_id="key") == []
    assert decisions(run) == {}


def test_a_repeated_undo_does_not_take_back_another_step(run: Run) -> None:
    decide(run, run.table.iloc[:1], "keep", reviewer="ann")
    decide(run, run.table.iloc[1:2], "keep", reviewer="ann")
    assert undo(run, reviewer="ann", op_id="held key") == ["s1"]
    assert undo(run, reviewer="ann", op_id="held key") == []
    assert list(decisions(run)) == ["s0"]


def test_a_sample_that_is_there_twice_is_decided_once(run: Run) -> None:
    assert decide(run, pd.concat([run.table, run.table]), "remove", reviewer="ann") == 6
    assert version(run) == 6


def test_undo_goes_back_step_by_step_to_the_beginning_and_a_bulk_action_is_one_step(run: Run) -> None:
    decide(run, run.table.iloc[:1], "keep", reviewer="ann")
    decide(run, run.table, "remove", reviewer="ann")
    decide(run, run.table.iloc[:1], "unsure", reviewer="ann")
    assert undo(run, reviewer="ann") == ["s0"]
    assert said(run) == {f"s{i}": ("ann", "remove", "") for i in range(6)}
    assert undo(run, reviewer=" ann") == [f"s{i}" for i in range(6)]
    assert said(run) == {"s0": ("ann", "keep", "")}
    assert undo(run, reviewer="ann") == ["s0"]
    assert decisions(run) == {}
    assert undo(run, reviewer="ann") == []


def test_after_an_undo_one_can_decide_and_undo_again(run: Run) -> None:
    for action in ("keep", "remove"):
        decide(run, run.table.iloc[:1], action, reviewer="ann")
        assert said(run) == {"s0": ("ann", action, "")}
        assert undo(run, reviewer="ann") == ["s0"]
        assert decisions(run) == {}


def test_redo_does_again_step_by_step_all_that_was_undone_and_a_bulk_action_is_one_step(run: Run) -> None:
    decide(run, run.table.iloc[:1], "keep", reviewer="ann")
    decide(run, run.table, "remove", reviewer="ann")
    decide(run, run.table.iloc[:1], "unsure", reviewer="ann")
    before = decisions(run)
    for _ in range(2):
        for _ in range(3):
            undo(run, reviewer="ann")
        assert decisions(run) == {}
        assert redo(run, reviewer="ann") == ["s0"]
        assert said(run) == {"s0": ("ann", "keep", "")}
        assert redo(run, reviewer=" ann") == [f"s{i}" for i in range(6)]
        assert redo(run, reviewer="ann") == ["s0"]
        assert decisions(run) == before
        assert redo(run, reviewer="ann") == []


def test_a_new_decision_of_the_reviewer_empties_what_can_be_done_again(run: Run) -> None:
    decide(run, run.table.iloc[:1], "keep", reviewer="ann")
    undo(run, reviewer="ann")
    decide(run, run.table.iloc[1:2], "keep", reviewer="bob")
    decide(run, run.table.iloc[2:3], "keep", reviewer="ann")
    assert redo(run, reviewer="ann") == []
    assert undo(run, reviewer="ann") == ["s2"]
    assert redo(run, reviewer="ann") == ["s2"]
    assert set(decisions(run)) == {"s1", "s2"}


def test_a_decision_of_somebody_else_or_in_another_run_leaves_what_can_be_done_again(run: Run) -> None:
    other = run.workspace.new_run("other")
    decide(run, run.table.iloc[:1], "keep", reviewer="ann")
    undo(run, reviewer="ann")
    decide(run, run.table.iloc[1:2], "keep", reviewer="bob")
    decide(other, run.table.iloc[2:3], "keep", reviewer="ann")
    assert redo(run, reviewer="bob") == redo(other, reviewer="ann") == []
    assert redo(run, reviewer="ann") == ["s0"]


def test_a_repeated_redo_counts_once(run: Run) -> None:
    for row in (0, 1):
        decide(run, run.table.iloc[[row]], "keep", reviewer="ann")
    for _ in range(2):
        undo(run, reviewer="ann")
    assert redo(run, reviewer="ann", op_id="held key") == ["s0"]
    assert redo(run, reviewer="ann", op_id="held key") == []
    assert list(decisions(run)) == ["s0"]


def test_redo_is_an_event_that_names_the_undo(run: Run) -> None:
    decide(run, run.table.iloc[:1], "relabel", reviewer="ann", new_label="owl")
    undo(run, reviewer="ann")
    redo(run, reviewer="ann")
    events = history(run, "s0")
    assert events["action"].tolist() == ["relabel", "undo", "redo"]
    assert events["undoes"].iloc[1:].tolist() == events["seq"].iloc[:2].tolist()
    assert events["new_label"].tolist() == ["owl"] * 3


def test_undo_is_an_event_and_the_history_keeps_all_of_them(run: Run) -> None:
    decide(run, run.table.iloc[:2], "relabel", reviewer="ann", new_label="owl")
    undo(run, reviewer="ann")
    decide(run, run.table.iloc[:1], "keep", reviewer="bob")
    events = history(run, "s0")
    assert events["action"].tolist() == ["relabel", "undo", "keep"]
    assert events["reviewer"].tolist() == ["ann", "ann", "bob"]
    assert events["old_label"].tolist() == ["cat"] * 3
    assert events["new_label"].tolist() == ["owl", "owl", ""]
    assert events["seq"].is_monotonic_increasing
    assert events["undoes"].iloc[1] == events["seq"].iloc[0]
    assert events["undoes"].isna().tolist() == [True, False, True]
    assert list(history(run, "s1")["action"]) == ["relabel", "undo"]
    assert history(run, "s5").empty


def test_undo_leaves_the_decisions_of_others_and_of_other_runs(run: Run) -> None:
    other = run.workspace.new_run("other")
    decide(run, run.table.iloc[[0]], "keep", reviewer="ann")
    decide(run, run.table.iloc[[0, 1]], "remove", reviewer="bob")
    decide(other, run.table.iloc[[2]], "remove", reviewer="ann")
    assert undo(run, reviewer="ann") == ["s0"]
    assert undo(run, reviewer="ann") == []
    assert said(run) == {"s0": ("bob", "remove", ""), "s1": ("bob", "remove", ""), "s2": ("ann", "remove", "")}
    assert undo(run, reviewer="bob") == ["s0", "s1"]
    assert list(decisions(run)) == ["s2"]


def test_when_a_decision_that_overtook_another_is_undone_the_other_stands_again(run: Run) -> None:
    decide(run, run.table.iloc[:1], "keep", reviewer="ann")
    decide(run, run.table.iloc[:1], "remove", reviewer="bob")
    assert conflicts(run) == ["s0"]
    undo(run, reviewer="bob")
    assert said(run) == {"s0": ("ann", "keep", "")}
    assert conflicts(run) == []


def test_overtaking_an_unseen_decision_of_another_reviewer_is_a_conflict(run: Run) -> None:
    seen = seqs(run)
    decide(run, run.table.iloc[:3], "keep", reviewer="ann", seen=seen)
    decide(run, run.table.iloc[2:4], "remove", reviewer="bob", seen=seen)
    assert conflicts(run) == ["s2"]
    assert said(run)["s2"] == ("bob", "remove", "")


def test_overtaking_a_decision_that_was_seen_is_none(run: Run) -> None:
    decide(run, run.table.iloc[:3], "keep", reviewer="ann")
    decide(run, run.table.iloc[:3], "remove", reviewer="bob", seen=seqs(run))
    assert conflicts(run) == []


def test_a_decision_that_changed_after_it_was_seen_was_not_seen(run: Run) -> None:
    decide(run, run.table.iloc[:1], "keep", reviewer="ann")
    seen = seqs(run)
    decide(run, run.table.iloc[:1], "unsure", reviewer="ann", seen=seen)
    decide(run, run.table.iloc[:1], "remove", reviewer="bob", seen=seen)
    assert conflicts(run) == ["s0"]


def test_agreeing_without_having_seen_is_none_but_another_new_label_is_a_conflict(run: Run) -> None:
    decide(run, run.table.iloc[:2], "relabel", reviewer="ann", new_label="dog")
    decide(run, run.table.iloc[:1], "relabel", reviewer="bob", new_label="dog")
    decide(run, run.table.iloc[1:2], "relabel", reviewer="bob", new_label="owl")
    assert conflicts(run) == ["s1"]


def test_changing_ones_own_decision_is_none(run: Run) -> None:
    decide(run, run.table.iloc[:1], "keep", reviewer="ann")
    decide(run, run.table.iloc[:1], "remove", reviewer="ann")
    assert conflicts(run) == []


@pytest.mark.parametrize("third", ["bob", "cid"])
def test_a_conflict_stays_until_somebody_who_has_seen_it_decides(run: Run, third: str) -> None:
    decide(run, run.table.iloc[:1], "keep", reviewer="ann")
    decide(run, run.table.iloc[:1], "remove", reviewer="bob")
    decide(run, run.table.iloc[:1], "remove", reviewer=third)
    assert conflicts(run) == ["s0"]
    decide(run, run.table.iloc[:1], "remove", reviewer=third, seen=seqs(run))
    assert conflicts(run) == []


def test_the_version_grows_with_every_event_and_only_then(run: Run) -> None:
    versions = [version(run), version(run)]
    decide(run, run.table.iloc[:1], "keep", reviewer="ann", op_id="a")
    versions.append(version(run))
    decide(run, run.table.iloc[:1], "keep", reviewer="ann", op_id="a")
    versions.append(version(run))
    undo(run, reviewer="ann")
    versions.append(version(run))
    assert versions == [0, 0, 1, 1, 2]


def test_decisions_follow_the_content_into_a_run_over_the_data_in_another_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples, labels = rng.normal(size=(12, 4)), np.array(["cat", "dog", "owl"] * 4)
    order = rng.permutation(12)
    model = nn.Linear(4, 3)
    workspace = oga.Workspace(tmp_path)
    first = oga.score(model, oga.from_arrays(samples, labels), detectors="l1", workspace=workspace)
    second = oga.score(model, oga.from_arrays(samples[order], labels[order]), detectors="l1", workspace=workspace)
    rows = first.table[first.table["index"].isin([3, 7])]
    decide(first, rows, "remove", reviewer="ann")
    standing = second.table[second.table["sample_id"].isin(decisions(second))]
    assert sorted(order[standing["index"]]) == [3, 7]


def test_a_sample_whose_given_label_was_changed_is_another_sample(tmp_path: Path) -> None:
    samples, labels = np.random.default_rng(0).normal(size=(6, 4)), ["cat", "dog"] * 3
    workspace = oga.Workspace(tmp_path)
    first = oga.score(nn.Linear(4, 2), oga.from_arrays(samples, labels), detectors="l1", workspace=workspace)
    decide(first, first.table, "keep", reviewer="ann")
    second = oga.score(nn.Linear(4, 2), oga.from_arrays(samples, ["dog", *labels[1:]]), detectors="l1", workspace=workspace)
    undecided = second.table[~second.table["sample_id"].isin(decisions(second))]
    assert undecided["index"].tolist() == [0]


def test_decisions_are_there_although_the_table_is_damaged(run: Run) -> None:
    decide(run, run.table, "remove", reviewer="ann")
    (run.path / TABLE).write_bytes(b"")
    assert len(decisions(oga.Workspace(run.workspace.path).run(run.id))) == 6
