"""How far reviewers agree, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from oga_core.review import agreement, decide, others_decide, undo
from oga_core.runs import Run

SAID = [("keep", ""), ("remove", ""), ("relabel", "cat"), ("relabel", "owl"), ("unsure", "")]


def test_nobody_and_one_reviewer_agree_with_nobody(run: Run) -> None:
    assert agreement(run).empty
    decide(run, run.table, "keep", reviewer="ann")
    found = agreement(run)
    assert list(found.columns) == ["reviewer", "other", "both", "same", "kappa"]
    assert found.empty


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_scikit_learn_finds_in_their_last_words(run: Run, seed: int) -> None:
    rng = np.random.default_rng(seed)
    words: dict[str, dict[int, str]] = {"ann": {}, "bob": {}, "cid": {}}
    for _ in range(40):
        reviewer, row, which = rng.choice(list(words)), int(rng.integers(6)), int(rng.integers(len(SAID)))
        action, new_label = SAID[which]
        decide(run, run.table.iloc[[row]], action, reviewer=reviewer, new_label=new_label)
        words[reviewer][row] = f"{action} {new_label}"
    found = agreement(run)
    assert len(found) == 3
    assert found["both"].is_monotonic_decreasing
    for pair in found.to_dict("records"):
        one, other = words[pair["reviewer"]], words[pair["other"]]
        both = sorted(one.keys() & other.keys())
        assert pair["both"] == len(both)
        assert pair["same"] == sum(one[row] == other[row] for row in both)
        assert pair["kappa"] == pytest.approx(cohen_kappa_score([one[r] for r in both], [other[r] for r in both]))


def test_where_all_say_the_same_of_everything_chance_explains_it(run: Run) -> None:
    for reviewer in ("ann", "bob"):
        decide(run, run.table, "keep", reviewer=reviewer)
    (pair,) = agreement(run).to_dict("records")
    assert (pair["both"], pair["same"]) == (6, 6)
    assert np.isnan(pair["kappa"])


def test_what_was_taken_back_and_samples_of_other_data_do_not_count(run: Run) -> None:
    elsewhere = pd.DataFrame({"sample_id": ["x", "y"], "label": "cat"})
    for reviewer in ("ann", "bob"):
        decide(run, elsewhere, "keep", reviewer=reviewer)
        decide(run, run.table.iloc[:2], "remove", reviewer=reviewer)
    undo(run, reviewer="bob")
    assert agreement(run).empty


def test_whether_somebody_else_decides_in_this_run(run: Run) -> None:
    decide(run.workspace.new_run("other"), run.table, "keep", reviewer="bob")
    for reviewer in ("ann", "zoe"):
        assert not others_decide(run, reviewer)
    decide(run, run.table.iloc[:1], "keep", reviewer="mia")
    assert others_decide(run, "ann")
    assert others_decide(run, "zoe")
    assert not others_decide(run, " mia ")
