"""Any series of decisions, undos and redos by two reviewers leaves what a list in memory says it should."""

from __future__ import annotations

import tempfile

import pandas as pd
from hypothesis import given, settings, strategies as st

from oga_core.review import decide, decisions, history, redo, undo
from oga_core.runs import Workspace
from tests.summaries import make_summary

SAMPLES = pd.DataFrame({"sample_id": ["s0", "s1", "s2"], "label": ["cat", "dog", "cat"]})
REVIEWERS = st.sampled_from(["ann", "bob"])
DECISION = st.tuples(
    REVIEWERS,
    st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=3, unique=True),
    st.sampled_from([("keep", ""), ("remove", ""), ("unsure", ""), ("relabel", "cat"), ("relabel", "dog")]),
)
TURN = st.tuples(REVIEWERS, st.sampled_from(["undo", "redo"]))
STEPS = st.lists(st.one_of(DECISION, TURN), max_size=15)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_what_stands_is_each_samples_last_decision_that_was_not_taken_back(steps: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Workspace(folder).new_run("three")
        run.set_summary(make_summary(class_names=("cat", "dog")))
        made: list[tuple[str, list[int], tuple[str, str]]] = []
        done: dict[str, list[int]] = {"ann": [], "bob": []}
        undone: dict[str, list[int]] = {"ann": [], "bob": []}
        touched = 0
        for step in steps:
            reviewer = step[0]
            if len(step) == 2:
                turn, taken, given_to = (undo, done, undone) if step[1] == "undo" else (redo, undone, done)
                concerned = made[taken[reviewer][-1]][1] if taken[reviewer] else []
                assert turn(run, reviewer=reviewer) == [f"s{i}" for i in concerned]
                if concerned:
                    given_to[reviewer].append(taken[reviewer].pop())
                touched += len(concerned)
            else:
                _, rows, (action, new_label) = step
                decide(run, SAMPLES.iloc[rows], action, reviewer=reviewer, new_label=new_label)
                done[reviewer].append(len(made))
                undone[reviewer].clear()
                made.append(step)
                touched += len(rows)
        in_force = [made[i] for i in sorted(done["ann"] + done["bob"])]
        stands = {f"s{row}": (reviewer, *said) for reviewer, rows, said in in_force for row in rows}
        assert {s: (d.reviewer, d.action, d.new_label) for s, d in decisions(run).items()} == stands
        assert sum(len(history(run, f"s{i}")) for i in range(3)) == touched
