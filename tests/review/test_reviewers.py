"""A reviewer is an identity with a name on it: two people of one name stay two people."""

from __future__ import annotations

import pytest

from oga_core.errors import InputError
from oga_core.review import (
    Reviewer,
    agreement,
    browser_reviewer,
    claim,
    decide,
    history,
    login_reviewer,
    name_reviewer,
    others_decide,
    pace,
    redo,
    standing_of,
    undo,
)
from oga_core.review.reviewers import LONGEST_NAME
from oga_core.runs import Run, Workspace, database

IDS = [f"s{i}" for i in range(6)]
HERE, THERE = Reviewer("browser:1", "sam"), Reviewer("browser:2", "sam")
"""Two browsers, whose reviewers have the same name."""


def test_a_browser_finds_its_name_again_after_a_restart(run: Run) -> None:
    first = browser_reviewer(run.workspace, "cookie")
    assert first.name == ""
    for name in ("ann", " béa  b "):
        name_reviewer(run.workspace, first.identity, name)
    name_reviewer(run.workspace, browser_reviewer(run.workspace, "another").identity, "bob")
    again = Workspace(run.workspace.path)
    assert browser_reviewer(again, "cookie") == Reviewer(first.identity, "béa b")
    assert browser_reviewer(again, "another").name == "bob"


@pytest.mark.parametrize("name", ["", "  ", "\n", "x" * (LONGEST_NAME + 1)])
def test_a_name_that_is_none_is_refused(run: Run, name: str) -> None:
    with pytest.raises(InputError, match="a name of 1 to 80 characters"):
        name_reviewer(run.workspace, "browser:1", name)


@pytest.mark.parametrize("reviewer", ["", " ", Reviewer("browser:1", ""), Reviewer("", "ann")])
def test_nobody_decides_without_name_and_identity(run: Run, reviewer: str | Reviewer) -> None:
    for act in (lambda: decide(run, run.table, "keep", reviewer=reviewer), lambda: undo(run, reviewer=reviewer)):
        with pytest.raises(InputError, match="needs a reviewer"):
            act()


def test_the_cookie_of_a_browser_is_not_in_the_log(run: Run) -> None:
    reviewer = browser_reviewer(run.workspace, "secret-cookie")._replace(name="ann")
    name_reviewer(run.workspace, reviewer.identity, "ann")
    decide(run, run.table, "keep", reviewer=reviewer)
    claim(run, IDS, reviewer, 1)
    assert b"secret-cookie" not in run.workspace.database.read_bytes()


def test_one_name_in_two_browsers_claims_twice_different_samples(run: Run) -> None:
    assert claim(run, IDS, HERE, 2) == ["s0", "s1"]
    assert claim(run, IDS, THERE, 2) == ["s2", "s3"]
    assert claim(run, IDS, Reviewer("browser:1", "renamed meanwhile"), 2) == ["s0", "s1"]


def test_undo_takes_back_only_what_this_identity_decided(run: Run) -> None:
    decide(run, run.table.iloc[[0]], "keep", reviewer=HERE)
    decide(run, run.table.iloc[[1]], "remove", reviewer=THERE)
    assert undo(run, reviewer=HERE) == ["s0"]
    assert undo(run, reviewer=HERE) == []
    assert redo(run, reviewer=THERE) == []
    assert undo(run, reviewer=THERE._replace(name="renamed")) == ["s1"]
    assert redo(run, reviewer=HERE) == ["s0"]
    assert history(run, "s1")["reviewer"].tolist() == ["sam", "renamed"]
    assert "identity" not in history(run, "s1")


def test_a_decision_that_was_not_seen_is_a_conflict_in_spite_of_the_same_name(run: Run) -> None:
    decide(run, run.table.iloc[[0]], "keep", reviewer=HERE)
    decide(run, run.table.iloc[[0]], "remove", reviewer=THERE)
    stands = standing_of(run).by_id["s0"]
    assert (stands.conflict, stands.disputed) == (True, True)
    assert [(word.reviewer, word.identity) for word in stands.others] == [("sam", "browser:1")]


def test_a_reviewer_who_was_renamed_does_not_disagree_with_themselves(run: Run) -> None:
    decide(run, run.table.iloc[[0]], "keep", reviewer=HERE)
    decide(run, run.table.iloc[[0]], "remove", reviewer=HERE._replace(name="samantha"))
    stands = standing_of(run).by_id["s0"]
    assert (stands.conflict, stands.disputed, stands.reviewer) == (False, False, "samantha")


def test_agreement_and_pace_are_of_identities(run: Run) -> None:
    assert not others_decide(run, HERE)
    decide(run, run.table, "keep", reviewer=THERE)
    assert others_decide(run, HERE)
    assert not others_decide(run, THERE)
    decide(run, run.table, "keep", reviewer=HERE)
    assert agreement(run)[["reviewer", "other", "both"]].values.tolist() == [["sam", "sam (2)", len(run.table)]]
    assert pace(run, HERE).actions == 1
    assert pace(run, "sam").actions == 0


def test_a_login_is_one_reviewer_in_every_browser() -> None:
    assert login_reviewer("ann@example.org") == login_reviewer("ann@example.org")
    assert login_reviewer("ann@example.org").identity != Reviewer("ann@example.org", "x").identity


def test_no_browser_can_pass_for_a_login_or_a_name(run: Run) -> None:
    for cookie in ("login:ann@example.org", "ann", ""):
        assert browser_reviewer(run.workspace, cookie).identity.startswith(database.BROWSER)
