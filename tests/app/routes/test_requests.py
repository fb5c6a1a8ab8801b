"""Requests that are refused: from other pages, too large, malformed, about samples that are not there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from starlette.testclient import TestClient

from app import queues
from app.routes.requests import MOST_BYTES
from oga_core import Run, decisions
from tests.app.conftest import ORIGIN, behind_the_door
from tests.app.routes.conftest import keep_rows

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


@pytest.mark.parametrize(
    "path", ["image/{run}/90/160", "image/{run}/7/161", "image/nothing/7/160", "text/{run}/90", "why/{run}/90"]
)
def test_what_is_not_there_is_told(client: TestClient, run: Run, queue: queues.Queue, path: str) -> None:
    answer = client.get(f"/oga/{path.format(run=run.id)}?queue={queue.name}")
    assert answer.status_code == 404
    assert answer.json()["error"]


def test_what_nobody_foresaw_is_told_by_a_number_only(client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.routes.decisions.review.decide", lambda *_, **__: dict[str, str]()["a secret"])
    answer = keep_rows(client, run, 1)
    assert answer["status"] == 500
    assert "secret" not in answer["error"]
