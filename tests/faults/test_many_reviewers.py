"""Several people at once: what one of them decides another does not take, overtake unseen or get too."""

from __future__ import annotations

from pathlib import Path

import pytest

from oga_core.review import decide
from oga_core.runs import Workspace
from tests.app.conftest import CLASSES, tinted_run
from tests.faults import many_reviewers
from tests.faults.many_reviewers import Acknowledged, Review, Told


def test_several_reviewers_lose_nothing_and_are_given_different_samples_when_the_server_is_killed(tmp_path: Path) -> None:
    told = many_reviewers.review(reviewers=3, decisions=12, kills=1, folder=tmp_path)
    assert told.failed == []
    assert told.acknowledged == 36
    assert told.asked_for_a_name == many_reviewers.UNNAMED


@pytest.mark.parametrize("kind", ["lost", "twice", "unseen"])
def test_each_of_them_would_be_found(kind: str, tmp_path: Path) -> None:
    run = tinted_run(Workspace(tmp_path), CLASSES, 90, 9, 8)
    told = Told(2, 0)
    work = Review(told, run, None, 1, 0)  # type: ignore[arg-type]
    first = run.table.iloc[[0]]
    sample = str(first["sample_id"].iloc[0])
    if kind == "lost":
        work.saved.append(Acknowledged("never written", "ann", sample, "keep"))
    elif kind == "twice":
        work.handed[sample] |= {"ann", "bob"}
    else:  # the second decision says that it has seen the first, which it cannot
        decide(run, first, "keep", reviewer="ann", op_id="1")
        decide(run, first, "remove", reviewer="bob", op_id="2", seen={sample: 10})
    work.check()
    found = {name for name in ("lost", "twice", "unseen") if getattr(told, name)}
    assert found == {kind}
