"""A decision that is answered as saved is on disk; undo, redo and history follow it."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from starlette.testclient import TestClient

from app import queues, state
from oga_core import Run, decide, decisions, undo
from oga_core.review import browser_reviewer, history
from tests.app.conftest import CLASSES, named
from tests.app.routes.conftest import ids, keep_rows, post


def test_what_is_answered_as_saved_is_on_disk_and_stands(client: TestClient, run: Run) -> None:
    answer = post(client, "/oga/decide", run, action="relabel", label=CLASSES[1], samples=[[4, 0]])
    (stands,) = decisions(run).values()
    assert (stands.sample_id, stands.action, stands.new_label) == (*ids(run, 4), "relabel", CLASSES[1])
    assert answer["status"] == 200
    assert answer["saved"] == 1
    assert answer["version"] == stands.seq
    assert answer["decisions"] == {stands.sample_id: queues.describe_decision(stands)}


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


@pytest.mark.parametrize("error", [sqlite3.OperationalError("database or disk is full"), OSError(5, "input/output error")])
def test_what_cannot_be_saved_is_told_with_the_reason(
    client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("app.routes.decisions.review.decide", fails)
    answer = keep_rows(client, run, 1)
    assert answer["status"] == 503
    assert str(error) in answer["error"]
    assert "saved" not in answer


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


def test_the_history_of_a_sample_has_every_event(client: TestClient, run: Run) -> None:
    keep_rows(client, run, 4)
    post(client, "/oga/undo", run)
    found = client.get(f"/oga/history/{run.id}/4").json()
    assert [(e["action"], e["undoes"] is None) for e in found] == [("keep", True), ("undo", False)]
    assert client.get(f"/oga/history/{run.id}/5").json() == []
