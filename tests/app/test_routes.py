"""The routes of the review: decisions, who may send them, and the queue."""

from __future__ import annotations

import json
import sqlite3
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from starlette.testclient import TestClient

from app import queues, state
from app.routes import MOST_BYTES
from oga_core import Run, decide, decisions, undo
from oga_core.review import Selection, browser_reviewer, history
from tests.app.conftest import CLASSES, ORIGIN, behind_the_door, named
from tests.app.routes_client import SELECTION, client, ids, keep_rows, post, queue, window

__all__ = ["client", "queue"]


# ---- decisions -------------------------------------------------------------------------------------------------------------
def test_what_is_answered_as_saved_is_on_disk_and_stands(client: TestClient, run: Run) -> None:
    answer = post(client, "/oga/decide", run, action="relabel", label=CLASSES[1], samples=[[4, 0]])
    (stands,) = decisions(run).values()
    assert (stands.sample_id, stands.action, stands.new_label) == (*ids(run, 4), "relabel", CLASSES[1])
    assert answer["status"] == 200
    assert answer["saved"] == 1
    assert answer["version"] == stands.seq
    assert answer["decisions"] == {stands.sample_id: queues.decision(stands)}


def test_the_reviewer_is_whom_the_server_knows_for_the_browser(client: TestClient, run: Run) -> None:
    named("Ann", "b1")
    client.cookies.set(state.BROWSER_COOKIE, "b1")
    keep_rows(client, run, 4, reviewer="Mallory")
    assert [d.reviewer for d in decisions(run).values()] == ["Ann"]


def test_a_repeated_request_counts_once(client: TestClient, run: Run) -> None:
    answers = [keep_rows(client, run, 3, op="the same") for _ in range(3)]
    assert [a["saved"] for a in answers] == [1, 0, 0]
    assert len(history(run, *ids(run, 3))) == 1
    assert answers[2]["decisions"] == answers[0]["decisions"]


def test_what_was_not_seen_is_answered_as_a_conflict(client: TestClient, run: Run) -> None:
    decide(run, run.table.iloc[[3]], "remove", reviewer="Bob")
    seen = decisions(run)[ids(run, 3)[0]].seq
    answer = keep_rows(client, run, 3)
    assert answer["decisions"][ids(run, 3)[0]]["conflict"]
    assert answer["decisions"][ids(run, 3)[0]]["others"] == [["Bob", "remove", ""]]
    undo(run, reviewer=browser_reviewer(state.workspace(), "a browser")._replace(name="x"))
    answer = keep_rows(client, run, 3, samples=[[3, seen]])
    assert not answer["decisions"][ids(run, 3)[0]]["conflict"]


def test_several_samples_are_one_step_and_each_its_suggested_label_is_taken(client: TestClient, run: Run) -> None:
    assert post(client, "/oga/decide", run, action="relabel", label=None, samples=[[r, 0] for r in range(5)])["saved"] == 5
    assert {s: d.new_label for s, d in decisions(run).items()} == dict(
        zip(ids(run, *range(5)), run.table["suggested_label"].iloc[:5], strict=True)
    )
    answer = post(client, "/oga/undo", run)
    assert (answer["saved"], answer["ids"], answer["decisions"]) == (5, ids(run, *range(5)), dict.fromkeys(ids(run, *range(5))))
    assert not decisions(run)


def test_undo_and_redo_go_through_every_step_and_end(client: TestClient, run: Run) -> None:
    for row in range(3):
        keep_rows(client, run, row)
    assert [post(client, "/oga/undo", run)["ids"] for _ in range(4)] == [ids(run, 2), ids(run, 1), ids(run, 0), []]
    assert [post(client, "/oga/redo", run)["ids"] for _ in range(4)] == [ids(run, 0), ids(run, 1), ids(run, 2), []]
    assert len(decisions(run)) == 3


def test_a_decision_does_not_need_a_queue_that_is_still_kept(client: TestClient, run: Run) -> None:
    answer = keep_rows(client, run, 1, queue="gone")
    assert (answer["saved"], answer["progress"]) == (1, None)
    assert post(client, "/oga/undo", run, queue="gone")["saved"] == 1


def test_a_whole_queue_is_decided_as_it_was_seen_and_taken_back_at_once(
    client: TestClient, run: Run, queue: queues.Queue
) -> None:
    decide(run, run.table.iloc[[7]], "remove", reviewer="Bob")
    seen = client.get(f"/oga/shares/{run.id}/{queue.name}").json()
    decide(run, run.table.iloc[[8]], "remove", reviewer="Bob")  # meanwhile
    answer = post(client, "/oga/decide", run, action="keep", label="", queue=queue.name, all=True, version=seen["version"])
    assert (answer["saved"], answer["ids"]) == (90, [])
    assert answer["progress"]["decided"] == 90
    assert {s for s, d in decisions(run).items() if d.conflict} == set(ids(run, 8))
    assert post(client, "/oga/undo", run)["saved"] == 90
    assert set(decisions(run)) == set(ids(run, 7, 8))


def test_the_shares_of_the_classes_are_those_of_the_queue(client: TestClient, run: Run) -> None:
    queue = queues.keep(run, np.arange(10), SELECTION)
    labels = run.table["label"]
    shares = client.get(f"/oga/shares/{run.id}/{queue.name}").json()
    assert {c["class"]: (c["concerned"], c["samples"]) for c in shares["classes"]} == {
        name: (int((labels[:10] == name).sum()), int((labels == name).sum())) for name in CLASSES
    }


@pytest.mark.parametrize("error", [sqlite3.OperationalError("database or disk is full"), OSError(5, "input/output error")])
def test_what_cannot_be_saved_is_told_with_the_reason(
    client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("app.routes.decide", fails)
    answer = keep_rows(client, run, 1)
    assert answer["status"] == 503
    assert str(error) in answer["error"]
    assert "saved" not in answer


def test_what_nobody_foresaw_is_told_by_a_number_only(client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.routes.decide", Mock(side_effect=KeyError("a secret")))
    answer = keep_rows(client, run, 1)
    assert answer["status"] == 500
    assert "secret" not in answer["error"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"action": "explode"}, 400),
        ({"action": "relabel", "label": "no such class"}, 400),
        ({"label": 3}, 400),
        ({"samples": []}, 400),
        ({"samples": [[row, 0] for row in range(61)]}, 400),
        ({"samples": [[0, "x"]]}, 400),
        ({"samples": [[0]]}, 400),
        ({"samples": [[0, 1 << 70]]}, 400),
        ({"samples": [[0, -1]]}, 400),
        ({"samples": [[90, 0]]}, 404),
        ({"samples": [[-1, 0]]}, 404),
        ({"samples": [[True, 0]]}, 404),
        ({"run": "no such run"}, 404),
        ({"op": ""}, 400),
        ({"op": "x" * 1000}, 400),
        ({"all": True, "queue": "gone", "version": 0}, 410),
        ({"all": True, "version": 0}, 410),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_saved(
    client: TestClient, run: Run, sent: dict[str, Any], status: int
) -> None:
    answer = keep_rows(client, run, 1, **sent)
    assert answer["status"] == status
    assert answer["error"]
    assert not decisions(run)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["op", "action", "label", "samples", "queue", "all", "version", "place"]), json_values))
def test_nothing_that_is_sent_breaks_a_route(client: TestClient, run: Run, sent: dict[str, Any]) -> None:
    for path in ("decide", "undo", "redo", "claim"):
        assert client.post(f"/oga/{path}", json={"run": run.id, **sent}).status_code in (200, 400, 404, 410)


# ---- who may send ------------------------------------------------------------------------------------------------------------
BODY = {"action": "keep", "label": "", "op": "1", "samples": [[0, 0]]}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_decisions_are_taken_from_own_pages_only(client: TestClient, run: Run, headers: dict[str, str], status: int) -> None:
    content = json.dumps({"run": run.id, **BODY})
    answer = client.post("/oga/decide", content=content, headers={"content-type": "application/json", **headers})
    assert answer.status_code == status
    assert bool(decisions(run)) == (status == 200)


def test_a_request_that_does_not_say_where_it_comes_from_is_refused(run: Run) -> None:
    with TestClient(behind_the_door(), ORIGIN) as client:
        assert client.post("/oga/decide", json={"run": run.id, **BODY}).status_code == 403
        assert client.get("/oga/decide").status_code == 405


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"x" * (MOST_BYTES + 1), 413), (b"[1]", 400), (b"{", 400), (b"", 400), (b"\xff", 400), (b"[" * 60_000, 400)],
)
def test_a_body_that_is_too_large_or_no_object_is_refused(client: TestClient, run: Run, content: bytes, status: int) -> None:
    answer = client.post("/oga/decide", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["error"]


# ---- the queue -----------------------------------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 100), st.integers(1, 100))
def test_a_part_of_the_queue_is_that_part(client: TestClient, run: Run, queue: queues.Queue, start: int, count: int) -> None:
    found = window(client, run, queue, start=start, count=count)
    assert [i["row"] for i in found["items"]] == run.ranked("l1")[start : start + min(count, 60)].tolist()
    assert found["total"] == 90


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 89), st.integers(1, 60), st.booleans())
def test_a_sample_is_found_with_those_around_it(
    client: TestClient, run: Run, queue: queues.Queue, place: int, count: int, aligned: bool
) -> None:
    sample_id = ids(run, int(queue.rows[place]))[0]
    found = window(client, run, queue, id=sample_id, count=count, **({"aligned": 1} if aligned else {}))
    assert found["place"] == place
    assert found["items"][place - found["start"]]["id"] == sample_id
    assert not aligned or found["start"] % count == 0


def test_a_sample_that_has_left_the_queue_is_sent_alone(client: TestClient, run: Run) -> None:
    short = queues.keep(run, np.arange(10), SELECTION)
    found = window(client, run, short, id=ids(run, 80)[0])
    assert (found["place"], [i["row"] for i in found["alone"]]) == (None, [80])
    assert window(client, run, short, id="no such sample")["alone"] == []


def test_the_first_undecided_sample_is_found_from_a_place_on(client: TestClient, run: Run, queue: queues.Queue) -> None:
    decide(run, run.table.iloc[queue.rows[:20]], "keep", reviewer="Ann")
    decide(run, run.table.iloc[queue.rows[30:90]], "keep", reviewer="Ann")
    assert window(client, run, queue, undecided=0)["place"] == 20
    assert window(client, run, queue, undecided=25)["place"] == 25
    assert window(client, run, queue, undecided=30)["place"] is None
    assert window(client, run, queue, undecided=0)["progress"]["decided"] == 80


def test_an_item_has_what_the_table_has(client: TestClient, run: Run, queue: queues.Queue) -> None:
    decide(run, run.table.iloc[[int(queue.rows[1])]], "unsure", reviewer="Ann")
    scores = run.table["l1"]
    for item in window(client, run, queue, start=0)["items"]:
        entry = run.table.iloc[item["row"]]
        assert (item["id"], item["index"], item["source"]) == (entry["sample_id"], entry["index"], entry["source"])
        assert (item["label"], item["predicted"], item["suggested"]) == (
            entry["label"],
            entry["predicted"],
            entry["suggested_label"],
        )
        assert item["confidence"] == pytest.approx(entry["confidence"])
        assert item["score"] == pytest.approx(entry["l1"])
        assert item["percentile"] == pytest.approx((scores <= entry["l1"]).mean())
        assert item["decision"] == queues.decision(decisions(run).get(entry["sample_id"]))


def test_groups_are_numbered_and_counted(client: TestClient, run: Run) -> None:
    groups = np.array([0, 0, 0, 1, 2, 2])
    queue = queues.keep(run, np.arange(6), Selection("l1", order="cluster"), groups)
    found = window(client, run, queue, start=2)["items"]
    assert [(i["group"], i["alike"]) for i in found] == [(0, 3), (1, 1), (2, 2), (2, 2)]


def test_equal_queues_have_one_name_and_others_another(run: Run) -> None:
    names = {
        queues.keep(run, rows, selection).name
        for rows in (np.arange(5), np.arange(6), np.arange(5)[::-1])
        for selection in (SELECTION, Selection("l2", 0.2))
    }
    assert len(names) == 6
    assert queues.keep(run, np.arange(5, dtype=np.int32), SELECTION).name in names


def test_only_the_latest_queues_are_kept_and_one_that_is_not_is_told(client: TestClient, run: Run) -> None:
    first = queues.keep(run, np.arange(1), SELECTION)
    for n in range(queues.KEPT):
        queues.keep(run, np.arange(n + 2), SELECTION)
    answer = client.get(f"/oga/window/{run.id}/{first.name}")
    assert answer.status_code == 410
    assert "asks for it again" in answer.json()["error"]


def test_two_reviewers_of_a_shared_queue_are_not_handed_the_same_sample(
    client: TestClient, run: Run, queue: queues.Queue
) -> None:
    places: dict[str, list[int]] = {}
    for name in ("Ann", "Bob", "Ann"):
        client.cookies.set(state.BROWSER_COOKIE, name)
        places[name] = post(client, "/oga/claim", run, queue=queue.name, place=10)["places"]
    assert places == {"Ann": list(range(10, 18)), "Bob": list(range(18, 26))}
    decide(run, run.table.iloc[queue.rows[10:88]], "keep", reviewer="Cleo")
    assert post(client, "/oga/claim", run, queue=queue.name, place=10)["places"] == [88, 89, 0, 1, 2, 3, 4, 5]


def test_one_sample_alone_is_claimed_unless_another_reviewer_has_it(client: TestClient, run: Run, queue: queues.Queue) -> None:
    assert post(client, "/oga/claim", run, queue=queue.name, place=10, only=True)["places"] == [10]
    client.cookies.set(state.BROWSER_COOKIE, "another")
    assert post(client, "/oga/claim", run, queue=queue.name, place=10, only=True)["places"] == []
    assert post(client, "/oga/claim", run, queue=queue.name, place=11, only=True)["places"] == [11]
    assert post(client, "/oga/claim", run, queue=queue.name, place=90, only=True)["places"] == [0]
