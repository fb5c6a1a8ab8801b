"""The review page: decisions by button, saved before it is said, undone without limit, told by whom."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from app.components.decision_buttons import keys_of_classes
from oga_core import Run, decide, decisions
from tests.app.conftest import CLASSES, flags_at_first

OpenPage = Callable[..., AppTest]


def shown(at: AppTest) -> str:
    return str(at.session_state["focus"])


def click(at: AppTest, beginning: str) -> None:
    next(b for b in at.button if b.key and b.key.startswith(beginning)).click().run()
    assert not at.exception


def test_the_most_suspicious_sample_comes_first(open_page: OpenPage, run: Run) -> None:
    at = open_page("review", run=run.id)
    assert shown(at) == flags_at_first(run)["sample_id"].iloc[0]


def test_a_decision_is_in_the_log_when_the_page_says_saved_and_the_next_sample_is_shown(open_page: OpenPage, run: Run) -> None:
    at = open_page("review", run=run.id)
    order = list(flags_at_first(run)["sample_id"])
    at.text_input(key="reviewer_name").set_value("Ann").run()
    click(at, "act_remove")
    assert at.success[0].value.startswith("Saved")
    (decision,) = decisions(run).values()
    assert (decision.sample_id, decision.action, decision.reviewer) == (order[0], "remove", "Ann")
    assert shown(at) == order[1]


def test_relabel_takes_the_suggestion_or_the_class_of_the_key(open_page: OpenPage, run: Run) -> None:
    at = open_page("review", run=run.id)
    flags = flags_at_first(run)
    click(at, "act_relabel_A")
    other = next(c for c in CLASSES if c != flags["label"].iloc[1])
    click(at, f"act_relabel_{CLASSES.index(other) + 1}")
    found = decisions(run)
    assert found[flags["sample_id"].iloc[0]].new_label == flags["suggested_label"].iloc[0]
    assert found[flags["sample_id"].iloc[1]].new_label == other


def test_undo_goes_back_through_every_decision(open_page: OpenPage, run: Run) -> None:
    at = open_page("review", run=run.id)
    order = list(flags_at_first(run)["sample_id"])
    for action in ("act_keep", "act_unsure", "act_remove"):
        click(at, action)
    assert len(decisions(run)) == 3
    for left in (2, 1, 0):
        click(at, "undo")
        assert len(decisions(run)) == left
        assert shown(at) == order[left]
    click(at, "undo")
    assert "Nothing is left to undo" in at.success[0].value


def test_a_refresh_shows_decisions_and_their_reviewer(open_page: OpenPage, run: Run) -> None:
    first = flags_at_first(run).head(1)
    decide(run, first, "keep", reviewer="Bob")
    at = open_page("review", run=run.id)
    assert shown(at) == flags_at_first(run)["sample_id"].iloc[1]
    click(at, "previous")
    assert any("keep, by Bob" in str(b.value).replace("\\", "") for b in at.get("badge") or at.markdown)


def test_a_decision_of_somebody_else_meanwhile_is_shown_as_a_conflict(open_page: OpenPage, run: Run) -> None:
    at = open_page("review", run=run.id)
    at.text_input(key="reviewer_name").set_value("Ann").run()
    decide(run, flags_at_first(run).head(1), "keep", reviewer="Bob")
    click(at, "act_remove")
    click(at, "previous")
    assert any("overtook another reviewer" in w.value for w in at.warning)


def test_a_full_disk_is_told_as_not_saved(open_page: OpenPage, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    at = open_page("review", run=run.id)
    monkeypatch.setattr("app.components.decision_buttons.decide", full)
    click(at, "act_keep")
    assert at.error[0].value.startswith("Not saved")
    assert not decisions(run)


def test_in_the_gallery_ticked_samples_are_decided_in_one_step(open_page: OpenPage, run: Run) -> None:
    at = open_page("review", run=run.id)
    at.select_slider(key="panel_budget").set_value(0.1).run()
    at.segmented_control(key="review_layout").set_value("Gallery").run()
    assert len([c for c in at.checkbox if c.key and c.key.startswith("tick_")]) == 9
    for _ in range(2):
        next(c for c in at.checkbox if not c.value).check().run()
    click(at, "bulk_remove")
    found = decisions(run)
    assert set(found) == set(run.flag("recommended", 0.1)["sample_id"].head(2))
    click(at, "undo")
    assert not decisions(run)


def test_deciding_on_all_selected_asks_first_and_shows_the_classes(open_page: OpenPage, run: Run) -> None:
    at = open_page("review", run=run.id)
    at.segmented_control(key="review_layout").set_value("Gallery").run()
    target = at.selectbox(key="bulk_target")
    target.set_value(target.options[1]).run()
    click(at, "bulk_keep")
    assert not decisions(run)
    next(b for b in at.button if b.label.startswith("Yes, keep")).click().run()
    assert {d.action for d in decisions(run).values()} == {"keep"}
    assert set(decisions(run)) == set(flags_at_first(run)["sample_id"])


def test_keys_are_the_digits_themselves_where_the_classes_are_digits() -> None:
    assert keys_of_classes(["0", "1", "7"]) == {"0": "0", "1": "1", "7": "7"}
    assert keys_of_classes(["cat", "dog"]) == {"1": "cat", "2": "dog"}
    assert len(keys_of_classes([f"c{i}" for i in range(30)])) == 9
