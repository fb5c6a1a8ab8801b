"""The review page: what it hands to the browser, and what it takes from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app import queues, state
from app.components import triage
from oga_core import Run, decide
from oga_core.review import Selection, arrange_rows, load_view, save_view, standing_of
from tests.app.conftest import CLASSES, flags_at_first

OpenPage = Callable[..., AppTest]


def handed(at: AppTest) -> dict[str, Any]:
    """What the triage on a page was given."""
    assert not at.exception
    (mounted,) = (e for e in at.get("bidi_component") if e.proto.component_name == "oga_triage")
    found: dict[str, Any] = json.loads(mounted.proto.json)
    return found


def rows_of(at: AppTest) -> np.ndarray:
    queue = queues.find(handed(at)["queue"])
    assert queue is not None
    assert handed(at)["total"] == len(queue.rows)
    return queue.rows


def test_the_flagged_samples_are_handed_over_most_suspicious_first(open_page: OpenPage, run: Run) -> None:
    at = open_page("review", run=run.id)
    np.testing.assert_array_equal(rows_of(at), flags_at_first(run).index)
    assert handed(at)["layout"] == "single"
    assert handed(at)["keyed"] == dict(zip("123", CLASSES, strict=True))


def test_an_empty_selection_is_handed_over_too(open_page: OpenPage, run: Run) -> None:
    save_view(run, Selection("l1", decisions=("remove",)))
    assert len(rows_of(open_page("review", run=run.id))) == 0


def test_what_is_decided_elsewhere_is_told_by_the_version(open_page: OpenPage, run: Run) -> None:
    at = open_page("review", run=run.id)
    assert handed(at)["version"] == 0
    decide(run, flags_at_first(run).head(1), "keep", reviewer="Bob")
    at.run()
    assert handed(at)["version"] == 1


def test_a_decision_does_not_change_the_queue_that_it_was_made_in(open_page: OpenPage, run: Run) -> None:
    at = open_page("review", run=run.id)
    before = handed(at)["queue"]
    decide(run, flags_at_first(run).head(1), "keep", reviewer="Bob")
    assert handed(at.run())["queue"] == before


@pytest.mark.parametrize("order", ["cluster", "uncertainty", "suspicion"])
def test_the_order_is_that_of_the_selection(open_page: OpenPage, run: Run, order: str) -> None:
    save_view(run, Selection("l1", 0.2, order="suspicion" if order != "suspicion" else "cluster"))
    at = open_page("review", run=run.id)
    at.segmented_control(key="review_order").set_value(order).run()
    assert load_view(run, None).order == order
    rows, groups = arrange_rows(run, Selection("l1", 0.2, order=order), standing_of(run), {})
    np.testing.assert_array_equal(rows_of(at), rows)
    queue = queues.find(handed(at)["queue"])
    assert queue is not None
    assert (queue.groups is None) == (groups is None) == (order != "cluster")


def test_after_a_refresh_the_sample_in_the_url_is_shown_again(open_page: OpenPage, run: Run) -> None:
    wanted = flags_at_first(run)["sample_id"].iloc[2]
    at = open_page("review", run=run.id)
    at.query_params["sample"] = wanted
    assert handed(at.run())["focus"] == wanted


def test_the_queue_can_be_shared_once_another_has_decided(open_page: OpenPage, run: Run) -> None:
    at = open_page("review", run=run.id)
    at.text_input(key="reviewer_name").set_value("Ann").run()
    ann = state.reviewer_of(None, "")
    assert ann.name == "Ann"
    decide(run, flags_at_first(run).head(1), "keep", reviewer=ann)
    at.run()
    assert not handed(at)["several"]
    assert not [e for e in at.expander if "Agreement" in e.label]
    decide(run, flags_at_first(run).head(2), "remove", reviewer="Bob")
    at.run()
    assert handed(at)["several"]
    at.session_state["agreement"] = True
    at.run()
    frame = next(d.value for d in at.dataframe if "kappa" in d.value)
    assert frame[["reviewer", "other", "both", "same"]].values.tolist() == [["Ann", "Bob", 1, 0]]


def test_the_map_shows_a_strip(open_page: OpenPage, run: Run) -> None:
    at = AppTest.from_function(_strip).run()
    assert not at.exception
    assert handed(at)["layout"] == "strip"


def _strip() -> None:
    import numpy as np

    from app import state
    from app.components.triage import triage

    run = state.workspace().runs()[0]
    triage(run, np.arange(3), layout="strip", key="strip")


def test_another_layout_is_refused(run: Run) -> None:
    with pytest.raises(ValueError, match="layout must be one of"):
        triage.triage(run, np.arange(3), layout="table", key="x")


class Session(dict[str, Any]):
    """A session whose component has sent a place."""

    def __init__(self, place: object) -> None:
        super().__init__()
        self["review"] = self
        self.place = place


@pytest.mark.parametrize(
    "place",
    [
        None,
        "x",
        3,
        [],
        {},
        {"focus": 3},
        {"focus": "no such sample"},
        {"layout": "table"},
        {"layout": []},
        {"open": "yes"},
        {"turn": "7"},
    ],
)
def test_invalid_place_is_ignored(run: Run, monkeypatch: pytest.MonkeyPatch, place: object) -> None:
    session = Session(place)
    monkeypatch.setattr(triage.st, "session_state", session)
    triage._take(run, "review")
    assert list(session) == ["review"]


def test_where_the_reviewer_is_is_remembered(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session({"turn": 7, "focus": run.table["sample_id"].iloc[4], "layout": "gallery"})
    monkeypatch.setattr(triage.st, "session_state", session)
    triage._take(run, "review")
    assert session[state.FOCUS] == run.table["sample_id"].iloc[4]
    assert session[state.LAYOUT] == "gallery"
    assert session[state.HEARD] == 7


def test_keys_are_the_digits_themselves_where_the_classes_are_digits() -> None:
    assert triage.keys_of_classes(["0", "1", "7"]) == {"0": "0", "1": "1", "7": "7"}
    assert triage.keys_of_classes(["cat", "dog"]) == {"1": "cat", "2": "dog"}
    assert len(triage.keys_of_classes([f"c{i}" for i in range(30)])) == 9
