"""Any series of decisions and undos by two reviewers leaves what a list in memory says it should."""

from __future__ import annotations

import tempfile

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from oga_core.review import decide, decisions, history, undo
from oga_core.runs import Workspace

SAMPLES = pd.DataFrame({"sample_id": ["s0", "s1", "s2"], "label": ["cat", "dog", "cat"]})
REVIEWERS = st.sampled_from(["ann", "bob"])
DECISION = st.tuples(
    REVIEWERS,
    st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=3, unique=True),
    st.sampled_from([("keep", ""), ("remove", ""), ("unsure", ""), ("relabel", "cat"), ("relabel", "dog")]),
)
STEPS = st.lists(st.one_of(DECISION, REVIEWERS), max_size=15)
"""A decision, or the name of a reviewer who takes one back."""


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_what_stands_is_each_samples_last_decision_that_was_not_taken_back(steps: list) -> None:  # type: ignore[type-arg]
    with tempfile.TemporaryDirectory() as folder:
        run = Workspace(folder).new_run("three", {})
        run.set_summary({"class_names": ["cat", "dog"]})
        in_force: list[tuple[str, list[int], tuple[str, str]]] = []
        touched = 0
        for step in steps:
            if isinstance(step, str):
                own = [i for i, (reviewer, _, _) in enumerate(in_force) if reviewer == step]
                expected = in_force.pop(own[-1])[1] if own else []
                assert undo(run, reviewer=step) == [f"s{i}" for i in expected]
                touched += len(expected)
            else:
                reviewer, rows, (action, new_label) = step
                decide(run, SAMPLES.iloc[rows], action, reviewer=reviewer, new_label=new_label)
                in_force.append(step)
                touched += len(rows)
        stands = {f"s{row}": (reviewer, *said) for reviewer, rows, said in in_force for row in rows}
        assert {s: (d.reviewer, d.action, d.new_label) for s, d in decisions(run).items()} == stands
        assert sum(len(history(run, f"s{i}")) for i in range(3)) == touched
