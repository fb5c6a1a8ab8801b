"""Who is here: other browsers, and people from beyond this machine, make a name necessary and the queue a shared one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from app import presence, queues, state
from oga_core import Run, decisions
from oga_core.review import Selection
from tests.app.conftest import browser, named

SELECTION = Selection("l1", 0.2, flagged_only=False)


@pytest.fixture
def client(workspace: object) -> Iterator[TestClient]:
    with browser("one") as client:
        yield client


def keep(client: TestClient, run: Run, row: int = 3, op: str = "o") -> Any:
    return client.post("/oga/decide", json={"run": run.id, "op": op, "action": "keep", "label": "", "samples": [[row, 0]]})


def test_a_browser_alone_on_this_machine_decides_under_the_name_of_the_servers_user(client: TestClient, run: Run) -> None:
    answer = keep(client, run)
    assert answer.status_code == 200
    assert (answer.json()["several"], answer.json()["needsName"]) == (False, False)
    (stands,) = decisions(run).values()
    assert stands.reviewer == state.display_name(state.reviewer_of(None, "one"))


def test_two_tabs_of_one_browser_are_one_reviewer(client: TestClient, run: Run) -> None:
    own = state.identity_of(None, "one")
    with presence.count_connection(own), presence.count_connection(own):
        assert not presence.others(own)
        assert keep(client, run).status_code == 200


@pytest.mark.parametrize("path", ["decide", "undo", "redo"])
def test_where_another_browser_is_connected_a_name_is_needed_first(client: TestClient, run: Run, path: str) -> None:
    sent = {"run": run.id, "op": "o", "action": "keep", "label": "", "samples": [[3, 0]]}
    with presence.count_connection(state.identity_of(None, "two")):
        answer = client.post(f"/oga/{path}", json=sent)
        assert (answer.status_code, answer.json()["error"]) == (428, "Enter your name first: others review here too.")
        assert not decisions(run)
        queue = queues.keep(run, run.ranked("l1"), SELECTION)
        window = client.get(f"/oga/window/{run.id}/{queue.name}").json()
        assert (window["several"], window["needsName"]) == (True, True)
        assert client.post("/oga/name", json={"name": " Sam  Doe "}).json() == {"name": "Sam Doe"}
        assert client.post(f"/oga/{path}", json=sent).status_code == 200
    assert {d.reviewer for d in decisions(run).values()} <= {"Sam Doe"}
    assert client.get(f"/oga/window/{run.id}/{queue.name}").json()["several"] is False  # the other has gone


@pytest.mark.parametrize(
    ("address", "origins", "needed"),
    [
        ("127.0.0.1", "", False),
        ("::1", "", False),
        ("127.0.0.1", "http://localhost:9000", False),
        ("127.0.0.1", "https://192.0.2.7", True),
        ("192.0.2.7", "", True),
        ("0.0.0.0", "", True),
        ("", "", True),
    ],
)
def test_beyond_this_machine_a_name_is_needed_first(
    client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch, address: str, origins: str, needed: bool
) -> None:
    monkeypatch.setattr(presence.st, "get_option", {"server.address": address}.__getitem__)
    monkeypatch.setenv("OGA_ORIGINS", origins)
    assert keep(client, run).status_code == (428 if needed else 200)
    named("Ann", "one")
    assert keep(client, run, op="p").status_code == 200


@pytest.mark.parametrize("name", ["", " ", "\n", "x" * 81, None, 3])
def test_what_is_no_name_is_refused(client: TestClient, run: Run, name: object) -> None:
    assert client.post("/oga/name", json={"name": name}).status_code == 400


def test_a_browser_without_cookies_cannot_decide(run: Run) -> None:
    with browser("") as client:
        answer = keep(client, run)
    assert answer.status_code == 403
    assert "Allow cookies" in answer.json()["error"]


def test_no_identity_of_another_reviewer_is_in_any_answer(client: TestClient, run: Run) -> None:
    named("Ann", "one")
    keep(client, run)
    client.cookies.set(state.BROWSER_COOKIE, "two")
    named("Bob", "two")
    answers = [client.post("/oga/decide", json={"run": run.id, "op": "q", "action": "remove", "label": "", "samples": [[3, 0]]})]
    queue = queues.keep(run, run.ranked("l1"), SELECTION)
    answers += [client.get(f"/oga/window/{run.id}/{queue.name}"), client.get(f"/oga/history/{run.id}/3")]
    answers += [client.post("/oga/claim", json={"run": run.id, "queue": queue.name, "place": 0})]
    for answer in answers:
        assert answer.status_code == 200
        assert "browser:" not in answer.text
    assert "Ann" in answers[0].text
