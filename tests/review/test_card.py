"""What is said about one sample is true, and a reviewer's name is found again."""

from __future__ import annotations

import pytest

from oga_core.review import neighbours, remember_reviewer, reviewer_of, scores
from oga_core.runs import Run, Workspace


def test_each_score_comes_with_its_rank_within_the_class(run: Run) -> None:
    found = {s.detector.name: (s.value, s.percentile) for s in scores(run, 1)}
    assert found == {"l1": (6.0, 100.0), "loss": (0.0, 50.0)}


def test_neighbours_are_the_nearest_by_cosine_without_the_sample_itself(run: Run) -> None:
    found = neighbours(run, 1, 3)
    assert [n.row for n in found] == [0, 2, 3]
    assert [n.cosine for n in found] == pytest.approx([0.985, 0.985, 0.174], abs=2e-3)
    assert len(neighbours(run, 0)) == 5


def test_a_browser_finds_its_reviewers_name_again_after_a_restart(run: Run) -> None:
    assert reviewer_of(run.workspace, "browser") is None
    for name in ("ann", "béa"):
        remember_reviewer(run.workspace, "browser", name)
    remember_reviewer(run.workspace, "another", "bob")
    again = Workspace(run.workspace.path)
    assert (reviewer_of(again, "browser"), reviewer_of(again, "another")) == ("béa", "bob")
